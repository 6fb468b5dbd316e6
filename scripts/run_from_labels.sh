#!/usr/bin/env bash
# Refiners from scratch, base model included, out of pages whose noise people have marked, on two cores:
#   scripts/run_from_labels.sh --train PATH --valid PATH --output DIR [options]
#
#   --train PATH               labelled pages, files or a glob pattern (several are parted by spaces): Parquet or JSONL
#                              (plain, gz, zst, bz2, xz) with the text in `text`
#   --valid PATH               labelled pages that choose the checkpoint, of other sites than the training pages
#   --test PATH                labelled pages for one score at the end, which nothing is chosen by (default: none)
#   --raw PATH                 more raw text for the base to read, likewise (default: none)
#   --drop PATH                pages that are no good as a whole; with them the document refiner is made, too
#   --output DIR               where everything goes; the refiners are DIR/adaptation/chunk/refiner and
#                              DIR/adaptation/document/refiner, each with its card
#   --noise_lines_column NAME  column of the lines to remove, 0-based numbers (default: noise_lines)
#   --ambiguous_lines_column NAME  column of the lines that the labels leave open (default: none)
#   --clean_column NAME        instead of line numbers, a column of the cleaned text
#
# A rerun skips what is finished; an interrupted run goes on where it stopped.
set -euo pipefail
# shellcheck source=scripts/lib/steps.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/steps.sh"
# shellcheck source=scripts/lib/options.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/options.sh"

TRAIN="" VALID="" TEST="" RAW="" DROP="" OUTPUT=""
NOISE_LINES_COLUMN="" AMBIGUOUS_LINES_COLUMN="" CLEAN_COLUMN=""
read_options "train valid test raw drop output noise_lines_column ambiguous_lines_column clean_column" "" "$@"
[ ${#MORE[@]} -eq 0 ] || fail "nothing may follow --"
for name in TRAIN VALID OUTPUT; do [ -n "${!name}" ] || fail "--${name,,} is missing"; done
if [ -z "$CLEAN_COLUMN$NOISE_LINES_COLUMN" ]; then NOISE_LINES_COLUMN=noise_lines; fi
SCALE=${SCALE:-labels}
"$ROOT/scripts/setup.sh"
RUN=$(realpath -m "$OUTPUT") CORPUS=$TRAIN

PAGES=$RUN/refinement SETS=$RUN/annotation ADAPTATION=$RUN/adaptation/chunk PRETRAINING=$RUN/pretraining
TOKENIZER=$PRETRAINING/tokenizer

# find_files OPTION: the files that an option names, as the array OPTION_FILES.
find_files() {
    local -n found=${1^^}_FILES
    local patterns=${1^^} pattern
    found=()
    for pattern in ${!patterns}; do
        compgen -G "$pattern" >/dev/null || fail "--$1 $pattern: no such file"
        [ ! -d "$pattern" ] || fail "--$1 $pattern is a folder: give its files, as $pattern/*.jsonl.gz"
        mapfile -t -O "${#found[@]}" found < <(compgen -G "$pattern")
    done
}

# link FOLDER FILES: files of several places as one folder, for what reads one corpus.
link() {
    local folder=$1 file
    shift
    rm -rf "$folder"
    mkdir -p "$folder"
    for file in "$@"; do
        # Files of two places may have one name.
        ln -s "$(realpath "$file")" "$folder/$(realpath "$file" | cksum | cut -d' ' -f1)-$(basename "$file")"
    done
}

ingest() {
    step refinement ingest --corpus.path "$1" --corpus.limit -1 --output "$2"
}

# sets NAME VALID: examples of the training pages, and of those that are held out.
sets() {
    local also=()
    if [ -n "$DROP" ]; then also=(--drop_documents "$PAGES/drop"); fi
    step annotation pairs --documents "$PAGES/train" --valid_documents "$PAGES/$2" "${also[@]}" --tokenizer "$TOKENIZER" \
        --noise_lines_column "$NOISE_LINES_COLUMN" --ambiguous_lines_column "$AMBIGUOUS_LINES_COLUMN" \
        --clean_column "$CLEAN_COLUMN" --output "$SETS/$1"
}

for name in train valid test drop raw; do find_files "$name"; done  # before the first step

start_recipe from_labels
for name in train valid test drop; do
    declare -n files=${name^^}_FILES
    if [ ${#files[@]} -gt 0 ]; then
        link "$RUN/files/$name" "${files[@]}"
        ingest "$RUN/files/$name" "$PAGES/$name"
    fi
done
link "$RUN/files/raw" "${TRAIN_FILES[@]}" "${RAW_FILES[@]}"
ingest "$RUN/files/raw" "$PAGES/raw"
step pretraining tokenizer --documents "$PAGES/raw" --output "$TOKENIZER"
sets sets valid

# The base reads the training chunks with a verdict behind each line, and the other raw text.
step adaptation export:chunk --examples "$SETS/sets" --base "$TOKENIZER" --output "$ADAPTATION/examples"
link "$RUN/files/base" "$ADAPTATION/examples/documents.jsonl" "${RAW_FILES[@]}"
ingest "$RUN/files/base" "$PAGES/base"
step pretraining tokenize --documents "$PAGES/base" --tokenizer "$TOKENIZER" --output "$PRETRAINING/tokens"
step pretraining train:base --tokens "$PRETRAINING/tokens" --output "$PRETRAINING/base/train"
step pretraining export --checkpoint "$PRETRAINING/base/train" --tokenizer "$TOKENIZER" --output "$PRETRAINING/base/export"

tune_refiner chunk "$SETS/sets" "$PRETRAINING/base/export"
if [ -n "$DROP" ]; then make_refiner document "$SETS/sets" "$PRETRAINING/base/export"; fi
if [ -n "$TEST" ]; then
    sets test_sets test
    step adaptation validate:chunk --checkpoint "$ADAPTATION/refiner" --examples "$SETS/test_sets" --output "$ADAPTATION/test"
fi
cat "$RUN"/adaptation/*/refiner/README.md
finish_recipe refiners "$RUN/adaptation"
