#!/usr/bin/env bash
# Refines your own files: scripts/run_refine.sh --input PATH --output DIR [options] [-- more]
#
#   --input PATH               file, folder, glob pattern or URL: Parquet, JSONL (plain, gz, zst,
#                              bz2, xz), WARC/WET, text files
#   --output DIR               where everything goes; the refined corpus is DIR/chunk/documents/*.parquet
#   --format NAME              parquet, jsonl, warc or text, where the files' names don't say it (default: auto)
#   --text_column NAME         column or key that holds the text (default: text)
#   --chunk_refiner MODEL      folder or hub name of the chunk refiner (default: refiners/web-lines, which comes with the
#                              project; for English web pages)
#   --document_refiner MODEL   folder or hub name of a document refiner, which drops whole pages first (default: none)
#   --engine local|vllm|server what runs the refiners (default: local, the only one for a tagger as the default is)
#   --document_url URL         server of the document refiner, up to and including /v1 (engine server)
#   --chunk_url URL            server of the chunk refiner (engine server)
#   --executor local|ray|slurm where files are read and units refined (default: local, on this machine)
#   --workers N                files read at once, then units refined at once; each has a process of its own, and when
#                              refining a refiner of its own (executor local; default: 1)
#   -- more                    further options of both refining steps, as `--executor.slurm.partition gpu`; reading the
#                              files takes those of `--executor.` too, but no GPUs, and what only one step knows
#                              (`--threshold`; `--remove_threshold`, `--guards.`, ...) goes to it alone
#
# A rerun skips what is finished; an interrupted run goes on where it stopped.
set -euo pipefail
# shellcheck source=scripts/lib/steps.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/steps.sh"
# shellcheck source=scripts/lib/options.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/options.sh"

INPUT="" OUTPUT="" FORMAT=auto TEXT_COLUMN=text ENGINE=local DOCUMENT_URL="" CHUNK_URL="" EXECUTOR=local WORKERS=1
DOCUMENT_REFINER="" CHUNK_REFINER=$ROOT/refiners/web-lines
read_options "input output format document_refiner chunk_refiner text_column engine document_url chunk_url \
executor workers" "" "$@"
set -- "${MORE[@]}"
case $ENGINE in local | vllm | server) ;; *) fail "--engine is '$ENGINE': local, vllm or server" ;; esac
case $FORMAT in
    auto | parquet | jsonl | warc | text) ;;
    *) fail "--format is '$FORMAT': auto, parquet, jsonl, warc or text" ;;
esac
case $EXECUTOR in local | ray | slurm) ;; *) fail "--executor is '$EXECUTOR': local, ray or slurm" ;; esac
case $WORKERS in '' | *[!0-9]* | 0) fail "--workers is '$WORKERS': a number from 1 on" ;; esac
if [ "$ENGINE" != local ] && grep -qs '"kind": "tagger"' "$CHUNK_REFINER/dialogue.json"; then
    fail "--engine $ENGINE can't run $CHUNK_REFINER, a tagger: leave --engine out, or name another --chunk_refiner"
fi
if [ "$ENGINE" = server ]; then
    [ -n "$CHUNK_URL" ] || fail "--engine server needs --chunk_url"
    [ -z "$DOCUMENT_REFINER" ] || [ -n "$DOCUMENT_URL" ] || fail "--engine server needs --document_url"
fi
require_paths

# The paper's settings, lowered to what a refiner was taught with and its context takes.
SCALE=${SCALE:-paper}
# The published chunk refiner reads two BOS tokens, as its authors' script gives it.
CHUNK=chunk
case $CHUNK_REFINER in gair-prox/*) CHUNK=chunk:published ;; esac
"$ROOT/scripts/setup.sh"

resolve_paths
for refiner in DOCUMENT_REFINER CHUNK_REFINER; do
    if [ -n "${!refiner}" ] && [ -e "${!refiner}" ]; then
        declare "$refiner=$(realpath "${!refiner}")"
    elif [[ ${!refiner} != "$ROOT"/* && (${!refiner} == [./~]* || ${!refiner} == */*/*) ]]; then  # a name on the hub has one slash
        fail "--${refiner,,} ${!refiner} does not exist"
    fi
done
start_recipe refine

# What of the further options holds for reading too: where it runs, without the refiners' GPUs; and what for one step only.
WHERE=(--executor.kind "$EXECUTOR" --workers "$WORKERS")
HOW=(--engine.kind "$ENGINE" "${WHERE[@]}") OF_CHUNKS=() OF_DOCUMENTS=()
while [ $# -gt 0 ]; do
    OPTION=("$1")
    shift
    case ${OPTION[0]} in *=*) ;; --*) while [ $# -gt 0 ] && [[ $1 != --* ]]; do OPTION+=("$1"); shift; done ;; esac
    case ${OPTION[0]} in
        --remove_threshold* | --guards.* | --document_guards.* | --window* | --max_calls* | --constrained* | --engine.compile*)
            OF_CHUNKS+=("${OPTION[@]}")
            continue
            ;;
        --threshold* | --decision* | --excerpt* | --max_prompt_tokens*)
            OF_DOCUMENTS+=("${OPTION[@]}")
            continue
            ;;
        --executor.*.gpus_per_task | --executor.*.gpus_per_task=*) ;;
        --executor.*) WHERE+=("${OPTION[@]}") ;;
    esac
    HOW+=("${OPTION[@]}")
done

step refinement ingest --corpus.format "$FORMAT" --corpus.path "$INPUT" --corpus.text_column "$TEXT_COLUMN" \
    --corpus.limit -1 "${WHERE[@]}" --output "$RUN/ingest"
ARMS=(--arms.raw "$RUN/ingest") LEFT=$RUN/ingest REFINED=prox-c
if [ -n "$DOCUMENT_REFINER" ]; then
    step refinement document --documents "$LEFT" --refiner.checkpoint "$DOCUMENT_REFINER" \
        --engine.base_url "$DOCUMENT_URL" "${HOW[@]}" "${OF_DOCUMENTS[@]}" --output "$RUN/document"
    ARMS+=(--arms.prox-d "$RUN/document") LEFT=$RUN/document REFINED=prox-d+c
fi
step refinement "$CHUNK" --documents "$LEFT" --refiner.checkpoint "$CHUNK_REFINER" \
    --engine.base_url "$CHUNK_URL" "${HOW[@]}" "${OF_CHUNKS[@]}" --output "$RUN/chunk"
step refinement stats --tokenizer "$CHUNK_REFINER" --workers "$WORKERS" --output "$RUN/stats" \
    "${ARMS[@]}" "--arms.$REFINED" "$RUN/chunk"
printf 'card, counts, lengths and cost: %s\n' "$RUN/stats"
LEFT_OUT=$(sed -n 's/^ *"left_out": \([1-9][0-9]*\),*$/\1/p' "$RUN/ingest/_SUCCESS" 2>/dev/null || true)
[ -z "$LEFT_OUT" ] || printf '%s records could not be read and were left out; why: %s\n' "$LEFT_OUT" "$RUN/ingest/dropped"
finish_recipe "refined corpus" "$RUN/chunk/documents"
