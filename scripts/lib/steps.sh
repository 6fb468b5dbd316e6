# Functions the recipes share. A recipe sets RUN, SCALE and CORPUS, then calls `step` once per command.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
PYTHON=$ROOT/.venv/bin/python

# Hub access is for the configs that name a hub data set or model; nothing here phones home on its own.
export TOKENIZERS_PARALLELISM=${TOKENIZERS_PARALLELISM:-false}

STEP_NUMBER=0

# configs STAGE VERB [VARIANT]: the --config options of a command, one word a line. The paper's settings come first
# (configs/STAGE/VERB.yaml), then the variant's, then the same two of the scale; a file that does not exist is left out.
configs() {
    local stage=$1 names=("$2") files=() scale name
    if [ -n "${3:-}" ]; then names+=("$2_$3"); fi
    for name in "${names[@]}"; do files+=("$ROOT/configs/$stage/$name.yaml"); done
    for scale in $(scales); do
        for name in "${names[@]}"; do files+=("$ROOT/configs/scales/$scale/${stage}_$name.yaml"); done
    done
    for name in "${files[@]}"; do
        if [ -f "$name" ]; then printf -- '--config\n%s\n' "$name"; fi
    done
}

# scales: a scale may build on another; configs/scales/pico only says where it differs from nano.
scales() {
    case $SCALE in
        pico) echo nano pico ;;
        *) echo "$SCALE" ;;
    esac
}

# step STAGE VERB[:VARIANT] [OPTIONS]: runs one command; its output goes to the terminal and to $RUN/logs/.
# A finished step whose config and inputs are unchanged says so and is skipped by the command itself.
step() {
    local stage=$1 verb=${2%%:*} variant=""
    if [ "$2" != "$verb" ]; then variant=${2#*:}; fi
    shift 2
    STEP_NUMBER=$((STEP_NUMBER + 1))
    local log
    log=$RUN/logs/$(printf '%02d' "$STEP_NUMBER")-$stage-$verb.log
    mkdir -p "$RUN/logs"
    local options
    mapfile -t options < <(configs "$stage" "$verb" "$variant")
    local command=("$PYTHON" -m "$stage" "$verb" "${options[@]}" "$@")
    printf '\n[%d] %s %s -> %s\n' "$STEP_NUMBER" "$stage" "$verb" "$(output_of "$@")"
    if ! (cd "$ROOT" && "${command[@]}") 2>&1 | tee "$log"; then
        {
            printf '\nstep %d failed; its log: %s\nto repeat it alone:\n  ' "$STEP_NUMBER" "$log"
            printf '%q ' "${command[@]}"
            printf '\n'
        } >&2
        exit 1
    fi
}

# output_of OPTIONS: the value of --output among a command's options.
output_of() {
    while [ $# -gt 0 ]; do
        if [ "$1" = --output ]; then echo "$2"; return; fi
        shift
    done
}

# start_recipe NAME / finish_recipe WHAT WHERE: say what is run where, and what came out after how long.
start_recipe() {
    RECIPE_START=$SECONDS
    mkdir -p "$RUN"
    exec 8>"$RUN/.lock"
    flock -n 8 || { echo "error: another recipe is running in $RUN: wait for it, or choose another RUN" >&2; exit 1; }
    printf '%s at scale %s, corpus %s, in %s\n' "$1" "$SCALE" "$(basename "$CORPUS" .yaml)" "$RUN"
}

finish_recipe() {
    printf '\nfinished in %d s; %s: %s\n' "$((SECONDS - RECIPE_START))" "$1" "$2"
}

# tokenize_arm ARM DOCUMENTS: the arm's token shards.
tokenize_arm() {
    step pretraining tokenize --documents "$2" --tokenizer "$RUN/pretraining/tokenizer" \
        --output "$RUN/pretraining/$1/tokens"
}

# pretrain_arm ARM: a model from scratch on the arm's tokens, exported to Hugging Face format.
pretrain_arm() {
    step pretraining train --tokens "$RUN/pretraining/$1/tokens" --output "$RUN/pretraining/$1/train" \
        --tracking.group "$(basename "$RUN")" --tracking.name "$1"
    step pretraining export --checkpoint "$RUN/pretraining/$1/train" --tokenizer "$RUN/pretraining/tokenizer" \
        --output "$RUN/pretraining/$1/export"
}

# make_refiner TASK EXAMPLES BASE: export, fine-tune, score every checkpoint, keep the best as adaptation/TASK/refiner.
make_refiner() {
    local out=$RUN/adaptation/$1
    step adaptation "export:$1" --examples "$2" --base "$3" --output "$out/examples"
    step adaptation "train:$1" --data "$out/examples" --base "$3" --output "$out/train"
    step adaptation "validate:$1" --checkpoints "$out/train" --examples "$2" --output "$out/validate"
    step adaptation select --metrics "$out/validate" --output "$out/refiner"
}
