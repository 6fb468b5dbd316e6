#!/usr/bin/env bash
# Makes the refiners' training sets out of your own files: scripts/run_annotate.sh --input PATH --output DIR
#   --annotator FILE [options] [-- more]
#
#   --input PATH               file, folder, glob pattern or URL: Parquet, JSONL (plain, gz, zst,
#                              bz2, xz), WARC/WET, text files
#   --output DIR               where everything goes; the sets are DIR/split/*.jsonl, described in DIR/split/card.md
#   --format NAME              parquet, jsonl, warc or text, where the files' names don't say it (default: auto)
#   --text_column NAME         column or key that holds the text (default: text)
#   --annotator FILE           config of the large model: `annotator:` its name, `engine:` its address and limits,
#                              `spending:` prices and budget of each step (default: rules, which only show the way)
#   --second FILE              config of a second one, of whose programs only head and tail of documents are taken
#   --score_config FILE        config of scoring alone, as `prompts: {edu: my_edu.txt}`
#   --program_config FILE      config of programming alone, as `prompts: {navigation: ..., links: ..., footer: ...}`
#   --tokenizer MODEL          folder or hub name of the refiner's base: chunks are measured in its tokens
#                              (default: in words)
#   --num_documents N          documents to score, drawn at random (default: 51000, the paper's; -1 for all)
#   --num_chunks N             chunks of kept documents to annotate, drawn at random (default: 57000; -1 for all)
#   --num_valid N              documents held out for validation (default: a tenth)
#   --plan                     read the files, say what would be asked and what it would cost, and stop
#   -- more                    further options of scoring and programming, as `--spending.budget 200`
#
# A rerun skips what is finished and pays for no answer twice; an interrupted run goes on where it stopped.
set -euo pipefail
# shellcheck source=scripts/lib/steps.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/steps.sh"
# shellcheck source=scripts/lib/options.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/options.sh"

INPUT="" OUTPUT="" FORMAT=auto TEXT_COLUMN=text ANNOTATOR=$ROOT/configs/annotation/stand_in.yaml SECOND=""
SCORE_CONFIG="" PROGRAM_CONFIG="" TOKENIZER="" NUM_DOCUMENTS="" NUM_CHUNKS="" NUM_VALID="" PLAN=false
read_options "input output format text_column annotator second score_config program_config tokenizer \
num_documents num_chunks num_valid" "plan" "$@"
set -- "${MORE[@]}"
require_paths
for file in ANNOTATOR SECOND SCORE_CONFIG PROGRAM_CONFIG; do
    [ -z "${!file}" ] && continue
    [ -f "${!file}" ] || fail "${!file} does not exist: give a config file"
    declare "$file=$(realpath "${!file}")"
done
SCALE=${SCALE:-paper}
"$ROOT/scripts/setup.sh"

resolve_paths
if [ -e "$TOKENIZER" ]; then TOKENIZER=$(realpath "$TOKENIZER"); fi
start_recipe annotate

SCORE=(--config "$ANNOTATOR") PROGRAM=(--config "$ANNOTATOR")
if [ -n "$SCORE_CONFIG" ]; then SCORE+=(--config "$SCORE_CONFIG"); fi
if [ -n "$PROGRAM_CONFIG" ]; then PROGRAM+=(--config "$PROGRAM_CONFIG"); fi
SCORE+=(--documents "$RUN/ingest" "$@") PROGRAM+=(--documents "$RUN/ingest" "$@")
SECOND_STEP=(--config "$SECOND" --documents "$RUN/ingest" "$@" --merge_into "$RUN/program" --output "$RUN/program_second")
if [ -n "$NUM_DOCUMENTS" ]; then SCORE+=(--num_documents "$NUM_DOCUMENTS"); fi
if [ -n "$NUM_CHUNKS" ]; then PROGRAM+=(--num_chunks "$NUM_CHUNKS"); fi
if [ -n "$TOKENIZER" ]; then
    PROGRAM+=(--tokenizer "$TOKENIZER")
else
    echo "note: chunks are measured in words; name the refiner's base with --tokenizer to be sure that they fit it" >&2
fi
VALID=(--num_valid -1 --valid_share 0.1)
if [ -n "$NUM_VALID" ]; then VALID=(--num_valid "$NUM_VALID"); fi

# What a later step refuses is better known before the first one is paid for: check VARIANT OPTIONS.
check() {
    local options
    mapfile -t options < <(configs annotation program "$1")
    shift
    (cd "$ROOT" && "$PYTHON" -m annotation program "${options[@]}" "$@" --print_config >/dev/null) \
        || fail "annotation program does not take these options"
}
check "" "${PROGRAM[@]}" --output "$RUN/program"
if [ -n "$SECOND" ]; then check second "${SECOND_STEP[@]}"; fi

step refinement ingest --corpus.format "$FORMAT" --corpus.path "$INPUT" --corpus.text_column "$TEXT_COLUMN" \
    --corpus.limit -1 --output "$RUN/ingest"
if [ "$PLAN" = true ]; then
    step annotation score "${SCORE[@]}" --output "$RUN/score" --dry_run true
    if [ -f "$RUN/score/_SUCCESS" ]; then PROGRAM+=(--scores "$RUN/score"); fi
    step annotation program "${PROGRAM[@]}" --output "$RUN/program" --dry_run true
    if [ -n "$SECOND" ] && [ -f "$RUN/program/_SUCCESS" ]; then
        step annotation program:second "${SECOND_STEP[@]}" --dry_run true
    elif [ -n "$SECOND" ]; then
        echo "the second annotator: planned once the first has written its programs (two chunks a document at most)"
    fi
    exit 0
fi
step annotation score "${SCORE[@]}" --output "$RUN/score"
step annotation program "${PROGRAM[@]}" --scores "$RUN/score" --output "$RUN/program"
PROGRAMS=$RUN/program
if [ -n "$SECOND" ]; then
    PROGRAMS=$RUN/program_second
    step annotation program:second "${SECOND_STEP[@]}"
fi
step annotation split --documents "$RUN/ingest" --scores "$RUN/score" --programs "$PROGRAMS" "${VALID[@]}" \
    --output "$RUN/split"
cat "$RUN/split/card.md"
finish_recipe "training sets" "$RUN/split"
