#!/usr/bin/env bash
# All five stages on one machine, CPU or GPU, without any download: scripts/run_quickstart.sh
#
#   SCALE=nano|pico|paper  nano is the quickstart; pico is the same chain in a few minutes, for tests; paper has the
#                      paper's settings, a cluster's work (default: nano)
#   RUN=runs/<name>    where everything goes (default: runs/quickstart)
#   CORPUS=...         another corpus config (default: configs/corpora/package_pages.yaml)
#   ANNOTATOR=...      another annotator config, e.g. a file that names your OpenAI-compatible server
#                      (default: configs/annotation/stand_in.yaml, the rule-based stand-in)
#
# Finished steps are skipped on a rerun; an interrupted one goes on where it stopped.
set -euo pipefail
if [ $# -gt 0 ]; then sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; [ "$1" = --help ] && exit 0 || exit 2; fi
# shellcheck source=scripts/lib/steps.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/steps.sh"
"$ROOT/scripts/setup.sh"

SCALE=${SCALE:-nano}
RUN=$(realpath -m "${RUN:-$ROOT/runs/quickstart}")
CORPUS=$(realpath -m "${CORPUS:-$ROOT/configs/corpora/package_pages.yaml}")
ANNOTATOR=$(realpath -m "${ANNOTATOR:-$ROOT/configs/annotation/stand_in.yaml}")
for file in "$CORPUS" "$ANNOTATOR"; do
    [ -f "$file" ] || { echo "error: $file does not exist: correct CORPUS or ANNOTATOR" >&2; exit 2; }
done
case $SCALE in
    nano | pico | paper) ;;
    *) echo "error: SCALE is '$SCALE': nano, pico or paper" >&2; exit 2 ;;
esac
start_recipe quickstart

REFINEMENT=$RUN/refinement ANNOTATION=$RUN/annotation ADAPTATION=$RUN/adaptation
PRETRAINING=$RUN/pretraining EVALUATION=$RUN/evaluation

# The corpus in units, its tokens, and the clean text that no stage but the evaluation reads.
step refinement ingest --config "$CORPUS" --output "$REFINEMENT/ingest"
step evaluation yardstick --output "$EVALUATION/yardstick"
step pretraining tokenizer --documents "$REFINEMENT/ingest" --output "$PRETRAINING/tokenizer"
tokenize_arm raw "$REFINEMENT/ingest"

# The base of the refiners: a small model pre-trained on the raw corpus.
base() {
    step pretraining train:base --tokens "$PRETRAINING/raw/tokens" --output "$PRETRAINING/base/train"
    step pretraining export --checkpoint "$PRETRAINING/base/train" --tokenizer "$PRETRAINING/tokenizer" \
        --output "$PRETRAINING/base/export"
}

# Seed data for the refiners.
annotate() {
    annotate_documents "$REFINEMENT/ingest" "$PRETRAINING/tokenizer" "$ANNOTATION" --config "$ANNOTATOR"
}

# The arms: each a corpus, and a model pre-trained on it with as many tokens as the others.
raw() {
    pretrain_arm raw
}

rules() {
    step refinement rules --documents "$REFINEMENT/ingest" --output "$REFINEMENT/rules"
    tokenize_arm rules "$REFINEMENT/rules"
    pretrain_arm rules
}

prox_d() {
    make_refiner document "$ANNOTATION/split" "$PRETRAINING/base/export"
    step refinement document --documents "$REFINEMENT/ingest" \
        --refiner.checkpoint "$ADAPTATION/document/refiner" --output "$REFINEMENT/document"
    tokenize_arm prox-d "$REFINEMENT/document"
    pretrain_arm prox-d
}

chunk_refiner() {
    make_refiner chunk "$ANNOTATION/split" "$PRETRAINING/base/export"
    # A yardstick: the refiner that ships, made for web pages, on the same examples.
    step adaptation validate --checkpoint "$ROOT/refiners/web-lines" --examples "$ANNOTATION/split" \
        --output "$ADAPTATION/chunk/shipped"
}

prox_d_and_c() {
    step refinement chunk --documents "$REFINEMENT/document" \
        --refiner.checkpoint "$ADAPTATION/chunk/refiner" --output "$REFINEMENT/chunk"
    tokenize_arm prox-d+c "$REFINEMENT/chunk"
    pretrain_arm prox-d+c
}

background base base
background annotation annotate
background rules rules
background raw raw
all_done
background chunk-refiner chunk_refiner
background prox-d prox_d
all_done
prox_d_and_c
step refinement stats --tokenizer "$PRETRAINING/tokenizer" --output "$REFINEMENT/stats" \
    --arms.raw "$REFINEMENT/ingest" --arms.rules "$REFINEMENT/rules" \
    --arms.prox-d "$REFINEMENT/document" --arms.prox-d+c "$REFINEMENT/chunk"

# The models measured, and the table.
MODELS=()
for arm in raw rules prox-d prox-d+c; do MODELS+=("--models.$arm" "$PRETRAINING/$arm/export"); done
background bits-per-byte step evaluation bits_per_byte --yardstick "$EVALUATION/yardstick" "${MODELS[@]}" \
    --output "$EVALUATION/bits_per_byte"
background lm-eval step evaluation choice --harness lm_eval --yardstick "$EVALUATION/yardstick" "${MODELS[@]}" \
    --output "$EVALUATION/lm_eval"
background lighteval step evaluation choice --harness lighteval --yardstick "$EVALUATION/yardstick" "${MODELS[@]}" \
    --output "$EVALUATION/lighteval"
all_done
step evaluation table --results "$EVALUATION" --statistics "$REFINEMENT/stats" --output "$EVALUATION/table"
step evaluation report --runs.quickstart "$RUN" --output "$EVALUATION/report"
cp "$EVALUATION/table/table.md" "$EVALUATION/table.md"
cat "$EVALUATION/table.md"
finish_recipe "table and report" "$EVALUATION/table.md, $EVALUATION/report/report.html"
