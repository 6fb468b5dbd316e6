#!/usr/bin/env bash
# Trains a language model on your corpus: scripts/run_pretrain.sh --input FILES --output DIR [options] [-- more]
#
#   --input FILES              a documents artefact (what refinement wrote), or files as of scripts/run_refine.sh
#   --output DIR               where everything goes; the model is DIR/pretraining/export, in Hugging Face format
#   --config FILE              model and schedule: a file of configs/pretraining (default: that of TLM-xs)
#   --tokenizer DIR            folder with a tokenizer.json (default: one is trained on the corpus)
#   --init_from MODEL          folder or hub name of the weights to go on from (continual pre-training)
#   --text_column NAME         where the text is (default: text)
#   --validation FILES         held-out documents, for the loss while training
#   -- more                    further options of `pretraining train`, as `--devices 8 --strategy fsdp`
#
# A rerun skips what is finished; an interrupted training goes on from its last checkpoint. SCALE=nano trains the
# quickstart's model on a laptop.
set -euo pipefail
# shellcheck source=scripts/lib/steps.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/steps.sh"
# shellcheck source=scripts/lib/options.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/options.sh"

INPUT="" OUTPUT="" CONFIG="" TOKENIZER="" INIT_FROM="" TEXT_COLUMN=text VALIDATION=""
read_options "input output config tokenizer init_from text_column validation" "" "$@"
require_paths
[ -z "$CONFIG" ] || [ -f "$CONFIG" ] || fail "--config $CONFIG does not exist: give a file, as configs/pretraining/tlm_s.yaml"
[ -z "$TOKENIZER" ] || [ -f "$TOKENIZER/tokenizer.json" ] || fail "--tokenizer $TOKENIZER has no tokenizer.json"
[ -z "$INIT_FROM" ] || [ -n "$TOKENIZER" ] || fail "--init_from needs --tokenizer: the tokenizer of that model"
[ -z "$CONFIG" ] || [ "${SCALE:-paper}" = paper ] || fail "--config says what is trained: leave SCALE=$SCALE out"
SCALE=${SCALE:-paper}
"$ROOT/scripts/setup.sh"
resolve_paths
TRAINING=("${MORE[@]}")
if [ -n "$CONFIG" ]; then TRAINING=(--config "$(realpath "$CONFIG")" "${TRAINING[@]}"); fi
if [ -n "$VALIDATION" ]; then VALIDATION=$(realpath -m "$VALIDATION"); fi
start_recipe pretrain

# documents NAME FILES: the artefact that holds these documents, in DOCUMENTS.
documents() {
    if [ -d "$2/documents" ]; then
        DOCUMENTS=$2
    else
        DOCUMENTS=$RUN/refinement/$1
        step refinement ingest --corpus.path "$2" --corpus.text_column "$TEXT_COLUMN" --corpus.limit -1 \
            --output "$DOCUMENTS"
    fi
}

# What the training will be, before hours are spent on its data; a wrong option ends here.
mapfile -t OPTIONS < <(configs pretraining train)
(cd "$ROOT" && "$PYTHON" -m pretraining train "${OPTIONS[@]}" "${TRAINING[@]}" --tokens "$RUN/pretraining/tokens" \
    --output "$RUN/pretraining/train" --dry_run true) || exit
case " ${MORE[*]} " in *" --dry_run true "* | *" --dry_run=true "*) exit 0 ;; esac

documents train "$INPUT"
if [ -n "$TOKENIZER" ]; then
    TOKENIZER=$(realpath "$TOKENIZER")
else
    TOKENIZER=$RUN/pretraining/tokenizer
    step pretraining tokenizer --documents "$DOCUMENTS" --output "$TOKENIZER"
fi
step pretraining tokenize --documents "$DOCUMENTS" --tokenizer "$TOKENIZER" --output "$RUN/pretraining/tokens"
if [ -n "$VALIDATION" ]; then
    documents validation "$VALIDATION"
    step pretraining tokenize --documents "$DOCUMENTS" --tokenizer "$TOKENIZER" \
        --output "$RUN/pretraining/validation_tokens"
    TRAINING=(--validation "$RUN/pretraining/validation_tokens" "${TRAINING[@]}")
fi
if [ -n "$INIT_FROM" ]; then
    if [ -e "$INIT_FROM" ]; then INIT_FROM=$(realpath "$INIT_FROM"); fi
    step pretraining import --checkpoint "$INIT_FROM" --output "$RUN/pretraining/import"
    TRAINING=(--init_from "$RUN/pretraining/import" "${TRAINING[@]}")
fi
step pretraining train --tokens "$RUN/pretraining/tokens" "${TRAINING[@]}" --output "$RUN/pretraining/train"
step pretraining export --checkpoint "$RUN/pretraining/train" --tokenizer "$TOKENIZER" --output "$RUN/pretraining/export"
finish_recipe model "$RUN/pretraining/export"
