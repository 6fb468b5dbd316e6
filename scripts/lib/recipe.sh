# What every recipe of a table or figure does around its steps: reads the environment, plans, runs, shows.
# shellcheck shell=bash
# shellcheck source=scripts/lib/arms.sh
source "$(dirname "${BASH_SOURCE[0]}")/arms.sh"

recipe_usage() {
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"
    cat <<'END'

usage: [NAME=value ...] scripts/run_<table or figure>.sh [--dry_run | --commands]
  --dry_run          print every step with its cost, and what is still needed, and stop
  --commands         print the commands of its steps, one a line, and stop

  SCALE              nano (two CPU cores, the default), pico (for tests), mini (one GPU) or paper
  RUN                folder of the run (default: runs/paper_<scale>, with CORPUS runs/paper_<scale>_<its name>): recipes
                     that share one share what they make; a folder belongs to one scale and one CORPUS
  CORPUS             config of a corpus in place of the paper's (at nano scale: configs/corpora/package_pages.yaml)
  REDPAJAMA_V2       folder of the downloaded files, with dump_1, dump_2 (paper scale)
  REFINERS           published, or the folder refiners/ of another run (default: made here; at mini scale: published)
  ANNOTATION         training sets for the refiners (scripts/run_annotate.sh); ANNOTATION_MATH: those of OpenWebMath
  ANNOTATOR          config of a language model that makes them here (default at nano scale: the rule-based stand-in)
  TOKENIZERS, BASES  folders with copies: llama2/, gpt_neox/, ... and tinyllama_1b/, llama2_7b/, ... (default: the hub)
  CLASSIFIER         FineWeb-Edu's classifier (default: the hub's)
  BENCHMARKS         mirror folder of the benchmarks (default: the hub's; at nano scale they are left out)
  MATH               clone of ZubinGou/math-evaluation-harness
  YARDSTICK          clean text of your own, JSON lines with id and text, for the stand-ins that nano scale has instead
                     of benchmarks (default: the Python documentation's topics)
  EXECUTOR           local, slurm or ray: where files are read, filtered, refined and tokenised (docs/clusters.md)
  CLUSTER            config with its settings, stacked on these steps; Slurm needs one
  WORKERS            executor local, and statistics: files worked on at once (default: as many as
                     cores, at nano scale 1)
  GPUS               executor local: refiners at once (default: 1)
  JOBS               trainings side by side (default: 2 on a machine without a GPU, else 1)
END
}

# refuse MESSAGE: ends a recipe that is called wrongly.
refuse() {
    printf 'error: %s\n%s --help lists what there is\n' "$1" "$0" >&2
    exit 2
}

read_environment() {
    local name
    for name in CORPUS REDPAJAMA_V2 REFINERS ANNOTATION ANNOTATION_MATH ANNOTATOR TOKENIZERS BASES CLASSIFIER \
        BENCHMARKS MATH CLUSTER YARDSTICK; do
        declare -g "$name=${!name:-}"
    done
    SCALE=${SCALE:-nano} EXECUTOR=${EXECUTOR:-local} GPUS=${GPUS:-1}
    WORKERS=${WORKERS:-$(own_scale && echo 1 || nproc)}
    # Checkpoints are scored every INTERVAL steps, five (ten) a run as in the paper's tables, and for Figure 4 after the
    # first few.
    case $SCALE in
        pico) INTERVAL=2 FIRST_STEP=1 ;;
        nano) INTERVAL=50 FIRST_STEP=25 ;;
        mini) INTERVAL=200 FIRST_STEP=100 ;;
        paper) INTERVAL=2500 FIRST_STEP=500 ;;
        *) refuse "SCALE is '$SCALE': nano, pico, mini or paper" ;;
    esac
    if [ "$SCALE" = mini ] && [ -z "$ANNOTATION$ANNOTATOR" ]; then REFINERS=${REFINERS:-published}; fi
    for name in CORPUS ANNOTATOR CLUSTER YARDSTICK; do
        [ -z "${!name}" ] || [ -f "${!name}" ] || refuse "$name is '${!name}', which is no file"
    done
    for name in REDPAJAMA_V2 ANNOTATION ANNOTATION_MATH TOKENIZERS BASES BENCHMARKS MATH; do
        [ -z "${!name}" ] || [ -d "${!name}" ] || refuse "$name is '${!name}', which is no folder"
    done
    case $REFINERS in
        "" | published) ;;
        *) [ -d "$REFINERS" ] || refuse "REFINERS is '$REFINERS': published, or the folder refiners/ of a run"
           REFINERS=$(realpath "$REFINERS") ;;
    esac
    for name in WORKERS GPUS; do
        case ${!name} in '' | *[!0-9]* | 0) refuse "$name is '${!name}': a number from 1 on" ;; esac
    done
    for name in CORPUS ANNOTATOR CLUSTER YARDSTICK REDPAJAMA_V2 ANNOTATION ANNOTATION_MATH TOKENIZERS BASES BENCHMARKS \
        MATH; do
        if [ -n "${!name}" ]; then declare -g "$name=$(realpath "${!name}")"; fi
    done
    if [ -e "$CLASSIFIER" ]; then CLASSIFIER=$(realpath "$CLASSIFIER"); fi
    ONE_CORPUS=$CORPUS
    if own_scale && [ -z "$CORPUS" ]; then ONE_CORPUS=$ROOT/configs/corpora/package_pages.yaml; fi
    name_corpora
    choose_executor
}

# choose_executor: the options of steps that need no GPU (ON_CPUS), and of refining (ON_GPUS).
choose_executor() {
    local settings=(${CLUSTER:+--config "$CLUSTER"} --executor.kind "$EXECUTOR")
    case $EXECUTOR in
        local) ON_CPUS=(--workers "$WORKERS") ON_GPUS=(--workers "$GPUS") ;;
        ray | slurm)
            if [ "$EXECUTOR" = slurm ] && [ -z "$CLUSTER" ]; then
                refuse "EXECUTOR is slurm: name its settings with CLUSTER=<config>, as docs/clusters.md shows"
            fi
            ON_CPUS=("${settings[@]}" "--executor.$EXECUTOR.gpus_per_task" 0)
            ON_GPUS=("${settings[@]}" "--executor.$EXECUTOR.gpus_per_task" "$(own_scale && echo 0 || echo 1)") ;;
        *) refuse "EXECUTOR is '$EXECUTOR': local, slurm or ray" ;;
    esac
}

# recipe NAME ARGUMENTS: runs the function `steps` twice: first it only writes down its commands, which tells what is
# missing and what all costs, then for real.
recipe() {
    case ${2:-} in
        "" | --dry_run | --commands) ;;
        --help | -h) recipe_usage; exit 0 ;;
        *) refuse "unknown argument '$2'" ;;
    esac
    if [ $# -gt 2 ]; then refuse "unknown argument '$3'"; fi
    read_environment
    RUN=$(realpath -m "${RUN:-$ROOT/runs/paper_$SCALE${CORPUS:+_${NAMES[redpajama_v2]}}}")
    IDENTITY="$SCALE${CORPUS:+ $CORPUS}" CORPUS=${ONE_CORPUS:-"the paper's"}
    PLAN_FILE=$(mktemp)
    trap 'rm -f "$PLANNED"' EXIT
    PLANNED=$PLAN_FILE
    check_run
    "$ROOT/scripts/setup.sh"
    note_what_differs
    all_steps "$1"
    case ${2:-} in
        --commands)
            plan commands
            print_list "to be named before they can run" "${!MISSING[@]}" >&2
            exit 0 ;;
        --dry_run) plan show "$1" "$SCALE" "$RUN" "$ONE_CORPUS" ;;
    esac
    print_list "note" "${!NOTES[@]}"
    if [ "${2:-}" = --dry_run ]; then exec 2>&1; fi  # then what is missing is a part of the answer
    print_list "to be named before it can run" "${!MISSING[@]}" >&2
    local missing=${#MISSING[@]}
    if [ "$missing" = 0 ]; then plan check "$RUN" || missing=1; fi
    if [ "${2:-}" = --dry_run ]; then exit 0; fi
    if [ "$missing" != 0 ]; then exit 2; fi
    PLAN_FILE="" MADE=()
    start_recipe "$1"
    check_run  # while it waited, another one may have begun in an empty folder
    echo "$IDENTITY" >"$RUN/.scale"
    all_steps "$1"
    show_all
    finish_recipe "report" "$RUN/report_$1/report.html"
}

# plan MODE ...: see plan.py. Relative paths in configs mean what they mean to the steps, which run in $ROOT.
plan() { (cd "$ROOT" && "$PYTHON" "$ROOT/scripts/lib/plan.py" "$PLANNED" "$@"); }

# check_run: a folder holds models of one scale, and tables of one CORPUS.
check_run() {
    if [ -f "$RUN/.scale" ] && [ "$(cat "$RUN/.scale")" != "$IDENTITY" ]; then
        refuse "RUN $RUN is a run of '$(cat "$RUN/.scale")', and this is '$IDENTITY' (scale and corpus): give another folder"
    fi
}

# note_what_differs: where a run's arms are not what their names say.
note_what_differs() {
    if own_scale; then
        note "$(basename "$ONE_CORPUS") stands for every corpus of the paper, and its first documents for it all"
    elif [ -n "$ONE_CORPUS" ]; then
        note "$(basename "$ONE_CORPUS") stands for every corpus of the paper"
    elif [ "$SCALE" = mini ]; then
        note "C4 stands for RedPajama-V2, which has to be downloaded by hand"
    fi
    if own_scale && [ "$ONE_CORPUS" != "$ROOT/configs/corpora/package_pages.yaml" ]; then
        note "at nano scale the rules have thresholds made for the package pages \
(configs/scales/nano/refinement_rules*.yaml), not the published ones"
    fi
}

# all_steps NAME: the recipe's own, and the report of the run.
all_steps() {
    SHOWN=() COUNTED=()
    declare -gA BENCHMARKED=() SCORED=()
    steps
    make evaluation report "--runs.$1" "$RUN" --output "$RUN/report_$1"
}

# show_all: the tables, and where the figures lie.
show_all() {
    local file
    local -A done=()
    for file in "${SHOWN[@]}"; do
        if [ -n "${done[$file]:-}" ]; then continue; fi
        done[$file]=yes
        case $file in *.md) if [ -f "$file" ]; then printf '\n%s\n' "$file"; cat "$file"; fi ;; *) echo "$file" ;; esac
    done
}

print_list() {
    if [ $# -gt 1 ]; then printf "$1: %s\n" "${@:2}" | sort; fi
}
