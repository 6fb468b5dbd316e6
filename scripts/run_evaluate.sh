#!/usr/bin/env bash
# Holds models against the paper's benchmarks: scripts/run_evaluate.sh --models "NAME=MODEL ..." --output DIR [options]
#   [-- more]
#
#   --models "NAME=MODEL ..."  what to score: Hugging Face folders, as `pretraining export` writes them, or hub:OWNER/NAME;
#                              names are table rows, NAME@STEP tells a model's step
#   --output DIR               where everything goes; the table is DIR/evaluation/table/table.md
#   --suites "SUITE ..."       general (ten tasks, lighteval), selection (eight, lm-eval), math (nine, lm-eval)
#                              (default: general)
#   --benchmarks DIR           mirror folder with the questions, as `evaluation mirror` writes it (default: the hub)
#   --math DIR                 clone of ZubinGou/math-evaluation-harness: questions (data/) and worked examples
#                              (prompts/cot/) of the math suite
#   --table NUMBER             the paper's table to lay the scores beside, as 2 (default: a table of these models alone)
#   -- more                    further options of every suite, as `--limit 100`
#
# Each model is an artefact of its own: a rerun, or one model more, scores only what has no record yet.
set -euo pipefail
# shellcheck source=scripts/lib/steps.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/steps.sh"
# shellcheck source=scripts/lib/options.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/options.sh"

MODELS="" OUTPUT="" SUITES=general BENCHMARKS="" MATH="" TABLE=""
read_options "models output suites benchmarks math table" "" "$@"
for name in MODELS OUTPUT; do [ -n "${!name}" ] || fail "--${name,,} is missing"; done
declare -A PLACES=()
NAMES=()
for model in $MODELS; do
    case $model in *?=?*) ;; *) fail "--models: '$model' is no NAME=MODEL" ;; esac
    place=${model#*=}
    case $place in hub:*) ;; *) place=$(realpath -m "$place") ;; esac
    [ -z "${PLACES[${model%%=*}]:-}" ] || fail "--models names ${model%%=*} twice: give each model a name of its own"
    PLACES[${model%%=*}]=$place
    NAMES+=("${model%%=*}")
done
for suite in $SUITES; do
    case $suite in general | selection | math) ;; *) fail "--suites: '$suite' is none of general, selection, math" ;; esac
done
case $TABLE in '' | [2-9] | 1[0-9]) ;; *) fail "--table $TABLE: the paper has tables 2 to 19" ;; esac
[[ " $SUITES " != *" math "* ]] || [ -d "$MATH" ] || fail "--math is missing or no folder: the math suite needs it"
SCALE=${SCALE:-paper}
"$ROOT/scripts/setup.sh"
RUN=$(realpath -m "$OUTPUT") CORPUS=$(echo "$SUITES" | tr ' ' '+')
start_recipe evaluate

for suite in $SUITES; do
    DATA=()
    if [ "$suite" = math ]; then
        MATH=$(realpath "$MATH")
        DATA=(--data "$MATH/data" --prompts "$MATH/prompts/cot")
    elif [ -n "$BENCHMARKS" ]; then
        DATA=(--data "$(realpath -m "$BENCHMARKS")")
    fi
    for name in "${NAMES[@]}"; do
        step evaluation "$suite" "${DATA[@]}" "--models.$name" "${PLACES[$name]}" "${MORE[@]}" \
            --output "$RUN/evaluation/$suite/$name"
    done
done
step evaluation table ${TABLE:+--number "$TABLE"} --results "$RUN/evaluation" --output "$RUN/evaluation/table"
finish_recipe table "$RUN/evaluation/table/table.md"
