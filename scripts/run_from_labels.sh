#!/usr/bin/env bash
# Refiners from scratch, base model included, out of pages whose noise people have marked, on two cores:
#   scripts/run_from_labels.sh --train PATH --valid PATH --output DIR [options] [-- more]
#
#   --train PATH               labelled pages: JSON lines (plain, gz, zst, bz2, xz) with the text in `text`; a file or a
#                              glob pattern, several parted by spaces
#   --valid PATH               labelled pages that choose the checkpoint, of other sites than the training pages
#   --test PATH                labelled pages for one score at the end, which nothing is chosen by (default: none)
#   --raw PATH                 more raw text for the base to read, likewise (default: none); of the sites of --valid and
#                              --test, neither this nor --unlabelled should have pages
#   --drop PATH                pages that are no good as a whole; with them the document refiner is made, too
#   --output DIR               where everything goes; the refiners are DIR/adaptation/chunk/refiner and
#                              DIR/adaptation/document/refiner, each with its card
#   --kind tagger|generative   the chunk refiner judges every line in one prefill, or writes programs, as the paper's do
#                              (default: tagger; docs/refiners.md says when to prefer which)
#   --teacher none|trees       of a tagger: boosted trees made of the same labels judge every line of the training pages, too,
#                              and the tagger is taught once more by both (default: none; docs/refiners.md)
#   --teacher_weight SHARE     how much the teacher counts beside labels, up to 1 (default: the scale's, 0.5)
#   --unlabelled PATH          raw pages like the training pages, for that teacher to judge (default: none)
#   --noise_lines_column NAME  column of the lines to remove, 0-based numbers (default: noise_lines)
#   --ambiguous_lines_column NAME  column of the lines that the labels leave open (default: none)
#   --clean_column NAME        instead of line numbers, a column of the cleaned text
#   -- more                    further options of every `adaptation train`, as `--num_epochs 1`; with a teacher there are two
#                              of the chunk refiner
#
# A rerun skips what is finished; an interrupted run goes on where it stopped. SCALE=labels_pico in front takes a few steps of
# everything, to see it work.
set -euo pipefail
# shellcheck source=scripts/lib/steps.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/steps.sh"
# shellcheck source=scripts/lib/options.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/options.sh"

TRAIN="" VALID="" TEST="" RAW="" DROP="" OUTPUT=""
NOISE_LINES_COLUMN="" AMBIGUOUS_LINES_COLUMN="" CLEAN_COLUMN="" KIND=tagger TEACHER=none TEACHER_WEIGHT="" UNLABELLED=""
read_options "train valid test raw drop output kind noise_lines_column ambiguous_lines_column clean_column teacher \
teacher_weight unlabelled" "" "$@"
for name in TRAIN VALID OUTPUT; do [ -n "${!name}" ] || fail "--${name,,} is missing"; done
if [ -n "$CLEAN_COLUMN" ] && [ -n "$NOISE_LINES_COLUMN$AMBIGUOUS_LINES_COLUMN" ]; then
    fail "--clean_column is given: leave the columns of line numbers out"
fi
if [ -z "$CLEAN_COLUMN$NOISE_LINES_COLUMN" ]; then NOISE_LINES_COLUMN=noise_lines; fi

# CHUNK: the configs of the chunk refiner's steps.
case $KIND in
    tagger) CHUNK=tagger NOT_CHOSEN=(--choose_threshold false) ;;
    generative) CHUNK=chunk NOT_CHOSEN=(--keep_penalties "[]") ;;
    *) fail "--kind is '$KIND': tagger or generative" ;;
esac

case $TEACHER in
    none)
        [ -z "$UNLABELLED" ] || fail "--unlabelled is given, and no teacher to judge these pages: add --teacher trees"
        [ -z "$TEACHER_WEIGHT" ] || fail "--teacher_weight is given, and no teacher: add --teacher trees"
        ;;
    trees)
        [ "$KIND" = tagger ] || fail "--teacher trees judges lines, and --kind is $KIND: leave it out"
        [ -z "$CLEAN_COLUMN" ] || fail "--teacher trees learns from labelled lines: leave --clean_column out"
        [[ $TEACHER_WEIGHT =~ ^(|0?\.[0-9]+|[01]|[01]\.0*)$ ]] ||
            fail "--teacher_weight is '$TEACHER_WEIGHT': a number above 0, up to 1"
        [[ ! $TEACHER_WEIGHT =~ ^0*\.?0+$ ]] || fail "--teacher_weight is 0, and a teacher is made: leave --teacher out"
        ;;
    *) fail "--teacher is '$TEACHER': none or trees" ;;
esac

# find_files OPTION: the files that an option names, as the array OPTION_FILES.
find_files() {
    local -n found=${1^^}_FILES
    local patterns=${1^^} pattern file
    found=()
    for pattern in ${!patterns}; do
        [ ! -d "$pattern" ] || fail "--$1 $pattern is a folder: give its files, as $pattern/*.jsonl.gz"
        compgen -G "$pattern" >/dev/null || fail "--$1 $pattern: no such file"
        while read -r file; do
            case $file in
                *.jsonl | *.json | *.jsonl.* | *.json.*) found+=("$(realpath "$file")") ;;
                *) fail "--$1 $file: give JSON lines (.jsonl, .jsonl.gz, ...)" ;;
            esac
        done < <(compgen -G "$pattern")
    done
}

# Pages that score a refiner may not have trained it, nor its base.
apart() {
    local option file
    for file in "${VALID_FILES[@]}" "${TEST_FILES[@]}"; do
        for option in train raw drop unlabelled; do
            local -n others=${option^^}_FILES
            [[ " ${others[*]} " != *" $file "* ]] || fail "$file is named under --$option, and to score with: leave it out of one"
        done
    done
    for file in "${VALID_FILES[@]}"; do
        [[ " ${TEST_FILES[*]} " != *" $file "* ]] || fail "$file is named under --valid and --test: leave it out of one"
    done
}

for name in train valid test drop raw unlabelled; do find_files "$name"; done
apart
SCALE=${SCALE:-labels}
"$ROOT/scripts/setup.sh"
RUN=$(realpath -m "$OUTPUT") CORPUS=$TRAIN
start_recipe from_labels

PAGES=$RUN/refinement SETS=$RUN/annotation ADAPTATION=$RUN/adaptation PRETRAINING=$RUN/pretraining
TOKENIZER=$PRETRAINING/tokenizer

# ingest_files NAME FILES: files of several places as one corpus; two of them may have one name.
ingest_files() {
    local name=$1 file
    shift
    rm -rf "$RUN/files/$name"
    mkdir -p "$RUN/files/$name"
    for file in "$@"; do
        ln -sf "$file" "$RUN/files/$name/$(echo "$file" | cksum | cut -d' ' -f1)-$(basename "$file")"
    done
    step refinement ingest --corpus.path "$RUN/files/$name" --corpus.limit -1 --output "$PAGES/$name"
}

# sets NAME VALID [OPTIONS]: examples of the training pages, and of those that are held out.
sets() {
    step annotation "pairs:$CHUNK" --documents "${TAUGHT:-$PAGES/train}" --valid_documents "$PAGES/$2" --tokenizer "$TOKENIZER" \
        --noise_lines_column "$NOISE_LINES_COLUMN" --ambiguous_lines_column "$AMBIGUOUS_LINES_COLUMN" \
        --clean_column "$CLEAN_COLUMN" "${@:3}" --output "$SETS/$1"
}

for name in train valid test drop unlabelled; do
    declare -n files=${name^^}_FILES
    if [ ${#files[@]} -gt 0 ]; then ingest_files "$name" "${files[@]}"; fi
done
ingest_files raw "${TRAIN_FILES[@]}" "${RAW_FILES[@]}"
step pretraining tokenizer --documents "$PAGES/raw" --output "$TOKENIZER"
sets sets valid

# The base reads the training chunks with a verdict behind each line, and the other raw text.
FIRST=chunk
if [ "$TEACHER" != none ]; then FIRST=first; fi
step adaptation "export:$CHUNK" --examples "$SETS/sets" --base "$TOKENIZER" --output "$ADAPTATION/$FIRST/examples"
ingest_files base "$ADAPTATION/$FIRST/examples/documents.jsonl" "${RAW_FILES[@]}"
step pretraining tokenize --documents "$PAGES/base" --tokenizer "$TOKENIZER" --output "$PRETRAINING/tokens"
step pretraining train:base --tokens "$PRETRAINING/tokens" --output "$PRETRAINING/base/train"
step pretraining export --checkpoint "$PRETRAINING/base/train" --tokenizer "$TOKENIZER" --output "$PRETRAINING/base/export"

tune_refiner "$FIRST:$CHUNK" "$SETS/sets" "$PRETRAINING/base/export" "${MORE[@]}"
if [ "$TEACHER" = trees ]; then
    step annotation trees --documents "$PAGES/train" ${UNLABELLED:+--unlabelled_documents "$PAGES/unlabelled"} \
        --noise_lines_column "$NOISE_LINES_COLUMN" --ambiguous_lines_column "$AMBIGUOUS_LINES_COLUMN" --output "$SETS/trees"
    TAUGHT=$SETS/trees sets taught_sets valid --teacher_column teacher
    make_refiner "chunk:$CHUNK:taught" "$SETS/taught_sets" "$ADAPTATION/first/refiner" \
        ${TEACHER_WEIGHT:+--teacher_weight "$TEACHER_WEIGHT"} "${MORE[@]}"
fi
cat "$ADAPTATION/chunk/refiner/README.md"
if [ -n "$DROP" ]; then
    # Sets of their own: the base and the chunk refiner don't depend on them.
    sets document_sets valid --drop_documents "$PAGES/drop"
    make_refiner document "$SETS/document_sets" "$PRETRAINING/base/export" "${MORE[@]}"
    cat "$ADAPTATION/document/refiner/README.md"
fi
if [ -n "$TEST" ]; then
    sets test_sets test
    # As it was chosen on the valid pages: nothing is chosen here.
    step adaptation "validate:$CHUNK" --checkpoint "$ADAPTATION/chunk/refiner" --examples "$SETS/test_sets" \
        "${NOT_CHOSEN[@]}" --output "$ADAPTATION/chunk/test"
fi
finish_recipe refiner "$ADAPTATION/chunk/refiner${DROP:+, $ADAPTATION/document/refiner}"
