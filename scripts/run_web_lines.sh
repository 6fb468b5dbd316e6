#!/usr/bin/env bash
# Trains the refiner that ships with the project (refiners/web-lines) anew: scripts/run_web_lines.sh --web DIR
#   --corpus DIR --output DIR
#
#   --web DIR      weblines_train.jsonl.gz, _valid and _test: pages with `noise_lines`, `ambiguous_lines` and `source`
#   --corpus DIR   web_raw.jsonl.gz and c4_sample.jsonl.gz: raw text, the former with `source` and `split`
#   --output DIR   where everything goes; the refiner is DIR/refiner
#
# Of the labelled pages and the raw text only those are read whose licence is clear: the labels of WCXB (CC BY 4.0) and of
# scrapinghub's article-extraction-benchmark (MIT), raw pages of repositories under the MIT or Apache-2.0 licence, and C4
# (ODC-BY). The checkpoint is chosen on the valid pages of these sources; the score is on all test pages, CleanEval's (whose
# licence is not stated) included.
set -euo pipefail
# shellcheck source=scripts/lib/steps.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/steps.sh"
# shellcheck source=scripts/lib/options.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/options.sh"

LABELS=wcxb,scrapinghub
RAW=adbar/trafilatura,postlight/parser,codelucas/newspaper,mozilla/readability,goose3/goose3,AndyTheFactory/newspaper4k

WEB="" CORPUS="" OUTPUT=""
read_options "web corpus output" "" "$@"
for name in WEB CORPUS OUTPUT; do [ -n "${!name}" ] || fail "--${name,,} is missing"; done
case $OUTPUT in *[[:space:]]*) fail "--output $OUTPUT has white space in it: choose another" ;; esac
for file in "$WEB"/weblines_{train,valid,test}.jsonl.gz "$CORPUS"/{web_raw,c4_sample}.jsonl.gz; do
    [ -f "$file" ] || fail "$file does not exist"
done
"$ROOT/scripts/setup.sh"
RUN=$(realpath -m "$OUTPUT")
export SCALE=${SCALE:-labels}
mkdir -p "$RUN/data"

# keep NAME FIELD VALUES FILES: the rows of these files whose field is one of the values.
keep() { "$PYTHON" "$ROOT/scripts/lib/select_rows.py" "${@:2}" "$RUN/data/$1.jsonl.gz"; }

keep train source "$LABELS" "$WEB/weblines_train.jsonl.gz"
keep valid source "$LABELS" "$WEB/weblines_valid.jsonl.gz"
keep test source "$LABELS,cleaneval" "$WEB/weblines_test.jsonl.gz"
# Sites are split alike in all files: raw pages of those that choose or test are left out.
keep raw_pages source "$RAW" "$CORPUS/web_raw.jsonl.gz"
keep raw split train "$RUN/data/raw_pages.jsonl.gz"
"$ROOT/scripts/run_from_labels.sh" --kind tagger --train "$RUN/data/train.jsonl.gz" --valid "$RUN/data/valid.jsonl.gz" \
    --raw "$RUN/data/raw.jsonl.gz $CORPUS/c4_sample.jsonl.gz" --teacher trees --unlabelled "$RUN/data/raw.jsonl.gz" \
    --ambiguous_lines_column ambiguous_lines --output "$RUN"

# The refiner in half the bytes, and the one score on the test pages.
CORPUS=$WEB
start_recipe web_lines
step adaptation select --metrics "$RUN/adaptation/chunk/validate" --dtype bfloat16 --output "$RUN/refiner"
step refinement ingest --corpus.path "$RUN/data/test.jsonl.gz" --corpus.limit -1 --output "$RUN/refinement/test"
step annotation pairs:tagger --documents "$RUN/refinement/train" --valid_documents "$RUN/refinement/test" \
    --tokenizer "$RUN/pretraining/tokenizer" --noise_lines_column noise_lines \
    --ambiguous_lines_column ambiguous_lines --output "$RUN/annotation/test_sets"
step adaptation validate:tagger --checkpoint "$RUN/refiner" --examples "$RUN/annotation/test_sets" \
    --choose_threshold false --output "$RUN/test"
finish_recipe refiner "$RUN/refiner"
