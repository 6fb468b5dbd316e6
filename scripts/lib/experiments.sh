# The experiments of the paper: which models it trains and scores, and the tables and figures that show them. A recipe
# calls one or more of these; what two of them have in common is made once.
# shellcheck shell=bash
# shellcheck source=scripts/lib/recipe.sh
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"

# score_models SUITE GROUP WHEN MODEL CORPUS ROW=ARM...: trained models, each under the name of a table's row; WHEN is
# final; every: at earlier steps too; or first: also where Figure 4 begins.
score_models() {
    local suite=$1 group=$2 when=$3 model=$4 corpus=$5 pair models=()
    for pair in "${@:6}"; do models+=("${pair%%=*}=$(model_of "$model" "$corpus" "${pair#*=}")/export"); done
    score "$suite" "$group/final" "${models[@]}"
    case $when in
        every) score_steps "$suite" "$group/earlier" "$(earlier_steps "$model")" "${@:4}" ;;
        first) score_steps "$suite" "$group/first" "$FIRST_STEP" "${@:4}" ;;
    esac
}

# score_steps SUITE GROUP STEPS MODEL CORPUS ROW=ARM...: the same models as they were at these steps.
score_steps() {
    local suite=$1 group=$2 steps=$3 model=$4 corpus=$5 pair folder step models=()
    for pair in "${@:6}"; do
        folder=$(model_of "$model" "$corpus" "${pair#*=}")
        for step in $steps; do
            make pretraining export --checkpoint "$folder/train" --step "$step" --tokenizer "$(tokenizer_of "$model")" \
                --output "$folder/export-$step"
            models+=("${pair%%=*}@$step=$folder/export-$step")
        done
    done
    score "$suite" "$group" "${models[@]}"
}

# score SUITE[:VARIANT] GROUP ROW=FOLDER...: on the suite's benchmarks; where these are not at hand, by bits per byte and
# the yardstick's choice task. A variant's config may name models itself.
score() {
    local verb=$1 suite=${1%%:*} group=$2 pair mirror=BENCHMARKS models=() options=() output=$RUN/evaluation/$2
    if [ "$suite" = math ]; then mirror=MATH; fi
    for pair in "${@:3}"; do models+=("--models.${pair%%=*}" "${pair#*=}"); done
    case $suite:$SCALE in
        math:*)
            options=(--data "$MATH/data" --prompts "$MATH/prompts/cot")
            if [ "$SCALE" = paper ]; then options+=(--engine vllm); fi ;;
        *)
            if [ -n "$BENCHMARKS" ]; then
                options=(--data "$BENCHMARKS")
                look_for BENCHMARKS "$BENCHMARKS/allenai__ai2_arc"
            fi ;;
    esac
    if own_scale && [ -z "${!mirror}" ]; then
        note "the benchmarks of $suite are left out (name them with $mirror=<folder>): bits per byte and the \
yardstick's choice task stand in, and the paper's numbers stand alone"
        SCORED[${group%%/*}]=yes
        make evaluation yardstick ${YARDSTICK:+--text "$YARDSTICK"} --output "$RUN/evaluation/yardstick"
        for suite in bits_per_byte choice; do
            make evaluation "$suite" --yardstick "$RUN/evaluation/yardstick" "${models[@]}" --output "$output/$suite"
        done
        return
    fi
    if [ "$suite" = math ] && [ -z "$MATH" ]; then
        provide MATH "a clone of ZubinGou/math-evaluation-harness (configs/evaluation/math.yaml)"
    elif [ "$suite" = math ]; then
        look_for MATH "$MATH/data"
        look_for MATH "$MATH/prompts/cot"
    fi
    BENCHMARKED[${group%%/*}]=yes SCORED[${group%%/*}]=yes
    make evaluation "$verb" "${models[@]}" "${options[@]}" --output "$output/$suite"
}

# show table|figure NUMBER GROUP [OPTIONS]: the paper's numbers with the group's scores beside them (options about
# which need such), or where no benchmark was run a table of the stand-ins.
show() {
    local results=$RUN/evaluation/$3 output=$RUN/$1s/$2
    if [ -n "${BENCHMARKED[${3%%/*}]:-}" ]; then
        make evaluation "$1" --number "$2" --results "$results" "${@:4}" --output "$output"
    else
        make evaluation "$1" --number "$2" --output "$output"
        if [ -n "${SCORED[${3%%/*}]:-}" ]; then
            make evaluation table --results "$results" "${COUNTED[@]}" --output "$RUN/tables/own_${3//\//_}"
            SHOWN+=("$RUN/tables/own_${3//\//_}/table.md")
        fi
    fi
    SHOWN+=("$output/$1.md")
}

# --- experiments

# FILTERED: the arms of Table 2 by its rows.
FILTERED=(raw=raw gopher=gopher c4=c4 fineweb=fineweb gopher+c4+fineweb=gopher+c4+fineweb prox-d=prox-d_s
    prox-d+c=prox-d+c_s)

# filtering WHEN: TLM-s on RedPajama-V2 raw, by rules, and refined by TLM-s (Tables 2 and 10, Figures 4 and 13).
filtering() {
    pretrain_all tlm_s redpajama_v2 "${FILTERED[@]#*=}"
    score_models general filtering "$1" tlm_s redpajama_v2 "${FILTERED[@]}"
    if own_scale; then count_filtered; fi
}

# count_filtered: how much each of them is; COUNTED puts it beside the scores of a table of one's own.
count_filtered() {
    statistics by_method redpajama_v2 "${FILTERED[@]}"
    COUNTED=(--statistics "$RUN/statistics/${NAMES[redpajama_v2]}/by_method")
}

# selection: Pythia models on C4, documents at random and by the document stage (Tables 3 and 11). Section 3.2 names no
# refiner of its own for C4, so it is the section's: TLM-s.
selection() {
    pretrain_all pythia_410m c4 random prox-d_s
    pretrain_all pythia_1b c4 random prox-d_s
    score_models selection selection/410m final pythia_410m c4 Pythia-410M_random=random Pythia-410M_prox-d=prox-d_s
    score_models selection selection/1b final pythia_1b c4 Pythia-1B_random=random Pythia-1B_prox-d=prox-d_s
}

# sizes SIZE: TLM-SIZE on RedPajama-V2 raw, and as refined by each size (Tables 12 to 14, Figures 5 and 8).
sizes() {
    local refiner rows=("TLM-$1_raw=raw") arms=(raw)
    for refiner in $(refiner_sizes); do
        rows+=("TLM-$1_prox-d+c_TLM-$refiner=prox-d+c_$refiner") arms+=("prox-d+c_$refiner")
    done
    pretrain_all "tlm_$1" redpajama_v2 "${arms[@]}"
    score_models general "sizes/tlm_$1" every "tlm_$1" redpajama_v2 "${rows[@]}"
}

# show_sizes NUMBER SIZE: their table, whose rows leave out the model.
show_sizes() {
    local refiner names=("--names.TLM-$2_raw" raw)
    for refiner in $(refiner_sizes); do names+=("--names.TLM-$2_prox-d+c_TLM-$refiner" "prox-d+c_TLM-$refiner"); done
    show table "$1" "sizes/tlm_$2" "${names[@]}"
}

# large CORPUS: TLM-m on 50 B tokens, raw and refined by TLM-xs (Tables 15 to 17, Figures 1 and 6).
large() {
    local row
    row=$(large_row "$1")
    pretrain_all tlm_m_50b "$1" raw prox-d+c_xs
    score_models general "large/trained/$row" every tlm_m_50b "$1" "${row}_raw=raw" "${row}_prox-d+c=prox-d+c_xs"
}

# large_row CORPUS: what the rows of Figures 1 and 6 call it. show_large NUMBER CORPUS: its table.
large_row() { echo "${NAMES[$1]%_two_dumps}"; }
show_large() {
    local row
    row=$(large_row "$2")
    show table "$1" "large/trained/$row" "--names.${row}_raw" raw "--names.${row}_prox-d+c" prox-d+c
}

# fineweb_edu: TLM-s on FineWeb by FineWeb-Edu's classifier, and refined by TLM-s (Table 6: it keeps 28.0 %, what
# section 3.3 says of refiners larger than TLM-xs).
fineweb_edu() {
    local rows=(prox-d+c=prox-d+c_s)
    if own_scale && [ -z "$CLASSIFIER" ]; then
        note "the arm fineweb-edu is left out: name its classifier with CLASSIFIER=<folder or hub name>"
    else
        rows+=(fineweb-edu=fineweb-edu)
    fi
    pretrain_all tlm_s fineweb "${rows[@]#*=}"
    statistics against_fineweb_edu fineweb raw=raw "${rows[@]}"
    score_models general fineweb_edu final tlm_s fineweb "${rows[@]}"
}

# others: models of other groups, as published (Table 18, Figure 6).
others() {
    if own_scale; then
        note "the models of Table 18 are left out: SCALE=mini or paper takes them from the hub"
        return
    fi
    score general:reference large/others
}

# continual [document]: four models continued on OpenWebMath, raw and refined, TinyLlama also by rules (Table 5); with
# `document` the document stage alone, too (Table 19).
CONTINUED=(tinyllama_1b=TinyLlama_1-1B llama2_7b=Llama-2_7B codellama_7b=CodeLlama_7B mistral_7b=Mistral_7B)
continual() {
    local pair model arm rows=() document_rows=() arms
    for pair in "${CONTINUED[@]}"; do
        model=${pair%%=*} arms=(raw prox-d+c_math)
        if [ "$model" = tinyllama_1b ]; then arms+=(rule); fi
        pretrain_all "$model" openwebmath "${arms[@]}"
        rows+=("refinement_${pair#*=}_base=$(scored_base "$model")")
        for arm in "${arms[@]}"; do
            rows+=("refinement_${pair#*=}_${arm%_math}=$(model_of "$model" openwebmath "$arm")/export")
        done
        if [ "${1:-}" = document ]; then
            pretrain_all "$model" openwebmath prox-d_math
            document_rows+=("refinement_${pair#*=}_prox-d=$(model_of "$model" openwebmath prox-d_math)/export")
        fi
    done
    score math continual/both_stages "${rows[@]}"
    if [ "${1:-}" = document ]; then score math continual/document_stage "${document_rows[@]}"; fi
}

# scored_base MODEL: what the evaluation calls the weights that a continued model starts from.
scored_base() {
    local base
    base=$(base_of "$1")
    if [[ $base == /* ]]; then echo "$base"; else echo "hub:$base"; fi
}

# refining: refiners of three sizes on RedPajama-V2, and what they keep of it (Table 4).
refining() {
    local size
    for size in $(refiner_sizes); do
        statistics "refined_by_$size" redpajama_v2 raw=raw "prox-d=prox-d_$size" "prox-d+c=prox-d+c_$size"
    done
}

show_refiners() {
    local size row parts=()
    for size in $(refiner_sizes); do
        row=TLM-$size
        parts+=("--refiners.$row.statistics" "$RUN/statistics/${NAMES[redpajama_v2]}/refined_by_$size")
        if [ "$REFINERS" != published ]; then
            parts+=("--refiners.$row.document" "${REFINERS:-$RUN/refiners}/$size/document/validate")
            parts+=("--refiners.$row.chunk" "${REFINERS:-$RUN/refiners}/$size/chunk/validate")
        fi
    done
    make evaluation table --number 4 "${parts[@]}" --output "$RUN/tables/4"
    SHOWN+=("$RUN/tables/4/table.md")
}

# refined_corpora: the four corpora of Figure 7 and Table 7, each raw and refined as for its experiment.
REFINED=(redpajama_v2_two_dumps=xs c4=xs fineweb=xs openwebmath=math)
refined_corpora() {
    local pair size rows
    for pair in "${REFINED[@]}"; do
        size=${pair#*=} rows=(raw=raw "prox-d=prox-d_$size" "prox-d+c=prox-d+c_$size")
        if [ "$size" = math ]; then rows+=(rule=rule); fi
        statistics "refined_by_$size" "${pair%%=*}" "${rows[@]}"
    done
}

show_lengths() {
    local pair name
    for pair in "${REFINED[@]}"; do
        name=${NAMES[${pair%%=*}]}/refined_by_${pair#*=}
        make evaluation figure --number 7 --statistics "$RUN/statistics/$name" --output "$RUN/figures/7/$name"
        SHOWN+=("$RUN/figures/7/$name/figure.svg")
    done
}

# show_counts CORPUS NAME [ARM ROW ...]: Table 7 with the arms of one statistics in its rows; corpora that are not the
# paper's, or not whole, get rows of their own.
show_counts() {
    local name names=()
    name=${NAMES[$1]}/$2
    if [ -z "$ONE_CORPUS" ] && [ "$SCALE" = paper ]; then
        for ((pair = 3; pair < $#; pair += 2)); do names+=("--names.${!pair}" "${@:pair+1:1}"); done
    fi
    make evaluation table --number 7 --statistics "$RUN/statistics/$name" "${names[@]}" --output "$RUN/tables/7/$name"
    SHOWN+=("$RUN/tables/7/$name/table.md")
}

# costs_of ROW=FOLDER...: size and tokens a step of trained models, as Figures 1 and 8 want them, added to COSTS.
COSTS=()
costs_of() {
    local pair parameters tokens
    if [ -n "${PLAN_FILE:-}" ]; then return; fi
    for pair in "$@"; do
        read -r parameters tokens < <("$PYTHON" "$ROOT/scripts/lib/facts.py" model "${pair#*=}/train")
        COSTS+=("--parameters.${pair%%=*}" "$parameters" "--tokens_per_step.${pair%%=*}" "$tokens")
    done
}

# refining_cost ROW STATISTICS: what refining took of a run's whole corpus, added to COSTS.
refining_cost() {
    if [ -n "${PLAN_FILE:-}" ]; then return; fi
    COSTS+=("--refining_flops.$1" "$("$PYTHON" "$ROOT/scripts/lib/facts.py" refining "$2" prox-d+c)")
}
