# Functions the recipes share. A recipe sets RUN, SCALE and CORPUS, then calls `step` once per command.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
PYTHON=$ROOT/.venv/bin/python

# Hub access is for the configs that name a hub data set or model; nothing here phones home on its own.
export TOKENIZERS_PARALLELISM=${TOKENIZERS_PARALLELISM:-false}

# Waiting threads sleep instead of spinning, which starves whatever runs beside them (docs/decisions.md).
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}

# How many steps run side by side where a recipe allows it. Small CPU steps leave a second core half idle
# (docs/decisions.md); a GPU is left to one step at a time.
if [ -z "${JOBS:-}" ]; then
    if command -v nvidia-smi >/dev/null 2>&1 || [ "$(nproc)" -lt 2 ]; then JOBS=1; else JOBS=2; fi
fi

# configs STAGE VERB [VARIANT]: the --config options of a command, one word a line. The paper's settings come first
# (configs/STAGE/VERB.yaml), then the variant's, then the same two of the scale; a file that does not exist is left out.
# A variant may build on another: `tagger:taught` has the configs of `tagger`, then those of `tagger_taught`.
configs() {
    local stage=$1 names=("$2") variant=${3:-} files=() scales=("$SCALE") scale name part
    for part in ${variant//:/ }; do names+=("${names[-1]}_$part"); done
    for name in "${names[@]}"; do files+=("$ROOT/configs/$stage/$name.yaml"); done
    # A scale may build on another: configs/scales/pico only says where it differs from nano, labels_pico where it
    # differs from labels. Paper is what configs/<stage>/ says already.
    case $SCALE in
        pico) scales=(nano pico) ;;
        labels_pico) scales=(labels labels_pico) ;;
    esac
    for scale in "${scales[@]}"; do
        for name in "${names[@]}"; do files+=("$ROOT/configs/scales/$scale/${stage}_$name.yaml"); done
    done
    for name in "${files[@]}"; do
        if [ -f "$name" ]; then printf -- '--config\n%s\n' "$name"; fi
    done
}

check_scale() {
    if [ "$SCALE" != paper ] && [ ! -d "$ROOT/configs/scales/$SCALE" ]; then
        echo "error: SCALE is '$SCALE'; there are: paper $(ls "$ROOT/configs/scales" | tr '\n' ' ')" >&2
        exit 2
    fi
}

# step STAGE VERB[:VARIANT] [OPTIONS]: runs one command; its output goes to the terminal and to $RUN/logs/.
# A finished step whose config and inputs are unchanged says so and is skipped by the command itself.
# Where PLAN_FILE is set, the command is only written there: a line each, its words behind unit separators.
step() {
    : "${SCALE:?}" "${RUN:?}"  # where configs are looked up, a missing one would pass unseen
    local stage=$1 verb=${2%%:*} variant="" options OUTPUT
    if [ "$2" != "$verb" ]; then variant=${2#*:}; fi
    shift 2
    output_of "$@"
    mapfile -t options < <(configs "$stage" "$verb" "$variant")
    local command=("$PYTHON" -m "$stage" "$verb" "${options[@]}" "$@")
    if [ -n "${PLAN_FILE:-}" ]; then
        { printf '\037%s' "${command[@]:2}"; echo; } >>"$PLAN_FILE"
        return
    fi
    run_logged "$stage $verb" "$OUTPUT" "${command[@]}"
}

# run_logged NAME OUTPUT COMMAND...: runs it, with a log of its own; one that fails ends the recipe, with its log named
# and the command that repeats it. In W&B a recipe's steps are one group, each under the name of its place in the run.
run_logged() {
    local name=$1 place=${2#"$RUN/"} log
    log=$RUN/logs/${place//\//-}.log
    mkdir -p "$RUN/logs"
    printf '== %s -> %s\n' "$name" "${2#"$ROOT/"}"
    shift 2
    if ! (
        cd "$ROOT"
        export WANDB_RUN_GROUP=${WANDB_RUN_GROUP:-$(basename "$RUN")} WANDB_NAME=$place
        "$@"
    ) 2>&1 | tee -a "$log"; then
        {
            printf '\n%s failed; its log: %s\nto repeat it alone (in %s):\n  ' "$name" "$log" "$ROOT"
            printf '%q ' "$@"
            printf '\n'
        } >&2
        exit 1
    fi
}

# background NAME FUNCTION [ARGUMENTS]: runs steps beside others, each line of their output marked with NAME; waits
# while JOBS of them are running. all_done: waits for every one, and ends the recipe if one has failed.
# A job leaves a mark when it succeeds: of a process that ended hours ago bash may no longer know how, once its id is
# another's.
JOB_NAMES=()

background() {
    local name=$1 marks=$RUN/logs/.jobs
    shift
    if [ -n "${PLAN_FILE:-}" ]; then "$@"; return; fi
    if [ ${#JOB_NAMES[@]} -eq 0 ]; then rm -rf "$marks"; fi
    mkdir -p "$marks"
    while [ "$(jobs -rp | wc -l)" -ge "$JOBS" ]; do sleep 0.5; done
    JOB_NAMES+=("$name")
    (
        export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((JOBS < $(nproc) ? $(nproc) / JOBS : 1))}
        "$@" 2>&1 | sed -u "s/^/[$name] /"
        : >"$marks/${#JOB_NAMES[@]}"
    ) &
}

# end_jobs: ends the background steps with all their processes.
end_jobs() {
    local id
    for id in $(jobs -rp); do end_tree "$id"; done
}

end_tree() {
    local child
    for child in $(ps -o pid= --ppid "$1"); do end_tree "$child"; done
    kill "$1" 2>/dev/null || true
}

all_done() {
    local number failed=""
    wait
    for number in "${!JOB_NAMES[@]}"; do
        if [ ! -f "$RUN/logs/.jobs/$((number + 1))" ]; then failed="$failed [${JOB_NAMES[$number]}]"; fi
    done
    JOB_NAMES=()
    rm -rf "$RUN/logs/.jobs"
    if [ -n "$failed" ]; then
        echo "error: a step failed; see the lines marked$failed above, or the logs in $RUN/logs" >&2
        exit 1
    fi
}

# output_of OPTIONS: sets OUTPUT to the value of --output among a command's options.
output_of() {
    while [ "$1" != --output ]; do shift; done
    OUTPUT=$2
}

# start_recipe NAME / finish_recipe WHAT WHERE: say what is run where, and what came out after how long.
start_recipe() {
    RECIPE_START=$SECONDS
    if [ -e "$RUN" ] && [ ! -d "$RUN" ]; then echo "error: $RUN is a file: choose another folder" >&2; exit 2; fi
    check_scale
    case $JOBS in '' | *[!0-9]* | 0) echo "error: JOBS is '$JOBS': give a number from 1 on" >&2; exit 2 ;; esac
    # Ended from outside, a recipe takes the steps beside it along.
    trap 'end_jobs; exit 143' TERM
    trap 'end_jobs; exit 130' INT
    mkdir -p "$RUN"
    exec 8>"$RUN/.lock"
    flock -n 8 || { echo "waiting for another recipe in $RUN, or for the last step of one that was killed"; flock 8; }
    local scale=" at scale $SCALE"
    if [ "$1" = refine ]; then scale=""; fi  # one's own files, as many as there are
    printf '%s%s, corpus %s, in %s\n' "$1" "$scale" "$(basename "$CORPUS" .yaml)" "$RUN"
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
    step pretraining train --tokens "$RUN/pretraining/$1/tokens" --output "$RUN/pretraining/$1/train"
    step pretraining export --checkpoint "$RUN/pretraining/$1/train" --tokenizer "$RUN/pretraining/tokenizer" \
        --output "$RUN/pretraining/$1/export"
}

# annotate_documents DOCUMENTS TOKENIZER OUTPUT OPTIONS: scores and programs by an annotator (these options), and the
# training sets OUTPUT/split.
annotate_documents() {
    step annotation score "${@:4}" --documents "$1" --output "$3/score"
    step annotation program "${@:4}" --documents "$1" --scores "$3/score" --tokenizer "$2" --output "$3/program"
    step annotation split --documents "$1" --scores "$3/score" --programs "$3/program" --output "$3/split"
}

# make_refiner TASK[:VARIANT] EXAMPLES BASE [OPTIONS]: export, fine-tune (with these options), score every checkpoint,
# keep the best as TASK/refiner below ADAPTATION; the configs are those of the variant, by default the task's.
# tune_refiner: the same of examples that are exported already.
make_refiner() {
    step adaptation "export:${1#*:}" --examples "$2" --base "$3" \
        --output "${ADAPTATION:-$RUN/adaptation}/${1%%:*}/examples"
    tune_refiner "$@"
}

tune_refiner() {
    local out=${ADAPTATION:-$RUN/adaptation}/${1%%:*} variant=${1#*:}
    step adaptation "train:$variant" --data "$out/examples" --base "$3" --output "$out/train" "${@:4}"
    step adaptation "validate:$variant" --checkpoints "$out/train" --examples "$2" --output "$out/validate"
    step adaptation select --metrics "$out/validate" --output "$out/refiner"
}
