#!/usr/bin/env bash
# Fine-tunes refiners on your training sets: scripts/run_adapt.sh --examples DIR --base MODEL --output DIR [options]
#   [-- more]
#
#   --examples DIR             training sets: the split/ of scripts/run_annotate.sh, or what `annotation pairs` wrote
#   --base MODEL               folder or hub name of any causal language model of Hugging Face's; a refiner's folder, with
#                              its --task, is adapted further and asked as it was taught (the paper's math refiners, 3.4)
#   --output DIR               where everything goes; the refiners are DIR/adaptation/document/refiner and
#                              DIR/adaptation/chunk/refiner, each with its card
#   --task document|chunk|both which refiners (default: both)
#   --kind generative|tagger   the chunk refiner writes programs, or judges every line in one prefill (docs/refiners.md;
#                              default: generative)
#   --config FILE              config of the training, as configs/adaptation/train_tlm_m.yaml
#   -- more                    further options of `adaptation train`, as `--devices 8 --micro_batch_size 4`
#
# A rerun skips what is finished; an interrupted training goes on from its last epoch.
set -euo pipefail
# shellcheck source=scripts/lib/steps.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/steps.sh"
# shellcheck source=scripts/lib/options.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/options.sh"

EXAMPLES="" BASE="" OUTPUT="" TASK=both KIND=generative CONFIG=""
read_options "examples base output task kind config" "" "$@"
for name in EXAMPLES BASE OUTPUT; do [ -n "${!name}" ] || fail "--${name,,} is missing"; done
case $TASK in
    both) TASKS=(document chunk) ;;
    document | chunk) TASKS=("$TASK") ;;
    *) fail "--task is '$TASK': document, chunk or both" ;;
esac
case $KIND in
    generative) CHUNK=chunk ;;
    tagger) CHUNK=chunk:tagger ;;
    *) fail "--kind is '$KIND': generative or tagger" ;;
esac
[ -z "$CONFIG" ] || [ -f "$CONFIG" ] || fail "$CONFIG does not exist: give a config file"
if [ -f "$BASE/dialogue.json" ] && [ "$TASK" = both ]; then
    fail "--base $BASE is a refiner: name its --task, and adapt the other one from its own"
fi
SCALE=${SCALE:-paper}
"$ROOT/scripts/setup.sh"

RUN=$(realpath -m "$OUTPUT") EXAMPLES=$(realpath -m "$EXAMPLES") CORPUS=$EXAMPLES
if [ -e "$BASE" ]; then BASE=$(realpath "$BASE"); fi
TRAINING=("${MORE[@]}")
if [ -n "$CONFIG" ]; then TRAINING=(--config "$(realpath "$CONFIG")" "${TRAINING[@]}"); fi
start_recipe adapt

for task in "${TASKS[@]}"; do make_refiner "${task/chunk/$CHUNK}" "$EXAMPLES" "$BASE" "${TRAINING[@]}"; done
for task in "${TASKS[@]}"; do cat "$RUN/adaptation/$task/refiner/README.md"; done
finish_recipe refiners "$RUN/adaptation"
