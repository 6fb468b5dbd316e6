# Corpora, refiners and models of the paper's experiments. Each function makes what it needs first, and a recipe makes
# each thing once. Corpora lie in $RUN/corpora/CORPUS/ARM, token shards in $RUN/tokens/CORPUS/ARM, refiners in
# $RUN/refiners/SIZE, models in $RUN/models/MODEL/CORPUS/ARM.
#
# ARM is raw, a filter (gopher, c4, fineweb, gopher+c4+fineweb, rule, random, fineweb-edu), prox-d_SIZE or
# prox-d+c_SIZE; SIZE is the refiner's: xs, s or m (from TLM-xs, -s, -m), or math (xs adapted further to mathematical
# text, 3.4).
# shellcheck shell=bash
# shellcheck source=scripts/lib/steps.sh
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"

declare -A MADE=() MISSING=() NOTES=()

# make STAGE VERB[:VARIANT] OPTIONS: a step, unless this recipe has made its output already.
make() {
    output_of "$@"
    if [ -z "${MADE[$OUTPUT]:-}" ]; then
        MADE[$OUTPUT]=yes
        step "$@"
    fi
}

# provide NAME WHAT: something that the user has to name, which a run can't do without. note SENTENCE: what is not
# done here, or is not what it is called. Both are shown with the plan, before anything is run.
provide() { MISSING["$1: $2"]=yes; }
note() { NOTES["$1"]=yes; }

# look_for NAME FILE: what a folder that the user has named must hold.
look_for() { [ -e "$2" ] || provide "$1" "$2 is not there"; }

# own_scale: nano and pico, which need nothing from outside.
own_scale() { [ "$SCALE" = nano ] || [ "$SCALE" = pico ]; }

# --- corpora

# config_of CORPUS: its config. One CORPUS for all where one is named; at mini scale RedPajama-V2, which has to be
# downloaded by hand, is replaced by C4.
config_of() {
    case $ONE_CORPUS:$SCALE:$1 in
        :mini:redpajama_v2*) echo "$ROOT/configs/corpora/c4.yaml" ;;
        :*:redpajama_v2_two_dumps) echo "$ROOT/configs/corpora/redpajama_v2.yaml" ;;
        :*) echo "$ROOT/configs/corpora/$1.yaml" ;;
        *) echo "$ONE_CORPUS" ;;
    esac
}

# name_corpora: what their folders are called, in NAMES.
name_corpora() {
    local corpus config
    declare -gA NAMES=()
    for corpus in redpajama_v2 redpajama_v2_two_dumps c4 fineweb openwebmath; do
        config=$(config_of "$corpus")
        config=${config##*/}
        config=${config%.*}
        NAMES[$corpus]=${config//[^[:alnum:]_-]/_}  # it becomes part of a model's name
        if [ -z "$ONE_CORPUS" ] && [ "$SCALE" = paper ]; then NAMES[$corpus]=$corpus; fi
    done
}

# place_of CORPUS ARM: where everything of it lies, in PLACE. The published refiners of general text are the same for
# every SIZE. folder_of CORPUS ARM: its documents.
place_of() {
    local arm=$2
    case $REFINERS:$arm in
        published:*_math) arm=${arm%_*}_published-math ;;
        published:prox-*) arm=${arm%_*}_published ;;
    esac
    PLACE=${NAMES[$1]}/$arm
}

folder_of() {
    place_of "$@"
    echo "$RUN/corpora/$PLACE"
}

ingest() {
    local path=()
    if [ -z "$ONE_CORPUS" ] && [ "$SCALE" = paper ]; then
        if [[ $1 == redpajama_v2* ]] && [ -z "$REDPAJAMA_V2" ]; then
            provide REDPAJAMA_V2 "the downloaded files (configs/corpora/redpajama_v2.yaml), a folder dump_1, dump_2 \
for each of the paper's dumps of 62.5 B tokens"
        elif [[ $1 == redpajama_v2* ]]; then
            look_for REDPAJAMA_V2 "$REDPAJAMA_V2/dump_1"
            if [ "$1" = redpajama_v2_two_dumps ]; then look_for REDPAJAMA_V2 "$REDPAJAMA_V2/dump_2"; fi
        fi
        case $1 in
            redpajama_v2) path=(--corpus.path "$REDPAJAMA_V2/dump_1") ;;
            redpajama_v2_two_dumps) path=(--corpus.path "$REDPAJAMA_V2" --corpus.glob "dump_[12]/**/en_[hm]*.json.gz") ;;
        esac
    fi
    make refinement ingest --config "$(config_of "$1")" "${path[@]}" "${ON_CPUS[@]}" --output "$(folder_of "$1" raw)"
}

# documents CORPUS ARM
documents() {
    local output arm=${2%_*} size=${2##*_}
    output=$(folder_of "$@")
    if [ -n "${MADE[$output]:-}" ]; then return; fi
    case $arm in
        raw) ingest "$1"; return ;;
        prox-d+c)
            documents "$1" "prox-d_$size"
            make refinement "$(chunk_verb)" --documents "$(folder_of "$1" "prox-d_$size")" \
                --refiner.checkpoint "$(refiner_of "$size" chunk)" "${ON_GPUS[@]}" --output "$output"
            return ;;
    esac
    ingest "$1"
    case $arm in
        prox-d)
            refiner "$size"
            make refinement document --documents "$(folder_of "$1" raw)" \
                --refiner.checkpoint "$(refiner_of "$size" document)" "${ON_GPUS[@]}" --output "$output"
            return ;;
        gopher+c4+fineweb) local verb=rules options=() ;;
        rule) local verb=rules:math options=() ;;
        fineweb-edu) local verb=rules:fineweb_edu options=(${CLASSIFIER:+--classifier.model "$CLASSIFIER"}) ;;
        gopher | c4 | fineweb | random) local verb=rules:$arm options=() ;;
        *) echo "error: there is no arm '$2'" >&2; exit 2 ;;
    esac
    # A classifier wants a GPU as refiners do; rules don't.
    local where=("${ON_CPUS[@]}")
    if [ "$arm" = fineweb-edu ]; then where=("${ON_GPUS[@]}"); fi
    make refinement "$verb" --documents "$(folder_of "$1" raw)" "${options[@]}" "${where[@]}" --output "$output"
}

# statistics NAME CORPUS ROW=ARM...: sizes, lengths and cost of arms, in $RUN/statistics/CORPUS/NAME. They are counted
# where the recipe runs, by WORKERS processes, whatever the executor.
statistics() {
    local pair arms=() corpus=$2
    for pair in "${@:3}"; do
        documents "$corpus" "${pair#*=}"
        arms+=("--arms.${pair%%=*}" "$(folder_of "$corpus" "${pair#*=}")")
    done
    tokenizer tlm_s
    make refinement stats --tokenizer "$(tokenizer_of tlm_s)" "${arms[@]}" --workers "$WORKERS" \
        --output "$RUN/statistics/${NAMES[$corpus]}/$1"
}

# --- refiners

# refiner_of SIZE TASK: a checkpoint. chunk_verb: the published one reads two BOS tokens, as from its authors' script.
refiner_of() {
    case $REFINERS:$1:$2 in
        published:math:document) echo gair-prox/math-doc-refining-lm ;;
        published:math:chunk) echo gair-prox/math-chunk-refining-lm ;;
        published:*:document) echo gair-prox/web-doc-refining-lm ;;
        published:*:chunk) echo gair-prox/web-chunk-refining-lm ;;
        *) echo "${REFINERS:-$RUN/refiners}/$1/$2/refiner" ;;
    esac
}
chunk_verb() { if [ "$REFINERS" = published ]; then echo chunk:published; else echo chunk; fi; }

# refiner_sizes: the sizes there are; the published refiners have one, that of TLM-xs.
refiner_sizes() { if [ "$REFINERS" = published ]; then echo xs; else echo xs s m; fi; }

# refiner SIZE: both refiners out of the model that was pre-trained on the raw corpus (2.3); math goes on from xs (3.4).
refiner() {
    if [ "$REFINERS" = published ]; then
        note "the published refiners (0.3 B parameters, TLM-xs) stand in for those of every size: arms of the \
others are left out, and so is their F1"
        return
    fi
    if [ -n "${MADE[refiner $1]:-}" ]; then return; fi
    MADE["refiner $1"]=yes
    local task base options=() ADAPTATION=$RUN/refiners/$1
    if [ -n "$REFINERS" ]; then
        for task in document chunk; do look_for REFINERS "$(refiner_of "$1" "$task")/config.json"; done
        return
    fi
    if [ "$1" = math ]; then refiner xs; else pretrain "tlm_$1" redpajama_v2 raw; fi
    examples "$([ "$1" = math ] && echo openwebmath || echo redpajama_v2)"
    if [ "$SCALE" = paper ]; then options=(--config "$ROOT/configs/adaptation/train_tlm_${1/math/xs}.yaml"); fi
    for task in document chunk; do
        base=$(model_of "tlm_$1" redpajama_v2 raw)/export
        if [ "$1" = math ]; then base=$(refiner_of xs "$task"); fi
        make_refiner "$task" "$EXAMPLES" "$base" "${options[@]}"
    done
}

# examples CORPUS: training sets for refiners of this corpus, in EXAMPLES: those of ANNOTATION (ANNOTATION_MATH), else
# annotated here by ANNOTATOR, at nano and pico scale by the rule-based stand-in.
examples() {
    local given=ANNOTATION annotator=$ANNOTATOR output
    if [ "$1" = openwebmath ]; then given=ANNOTATION_MATH; fi
    EXAMPLES=${!given}
    if [ -n "$EXAMPLES" ]; then
        look_for "$given" "$EXAMPLES/_SUCCESS"
        return
    fi
    if [ -z "$annotator" ] && own_scale; then annotator=$ROOT/configs/annotation/stand_in.yaml; fi
    if [ -z "$annotator" ]; then
        EXAMPLES="<$given>"
        provide "$given" "the split/ that scripts/run_annotate.sh wrote of $1; or ANNOTATOR=<config of a language \
model>, which annotates it here; or REFINERS=published, or the refiners/ of another run"
        return
    fi
    output=$RUN/annotation/${NAMES[$1]}
    EXAMPLES=$output/split
    if [ -z "${MADE[$output]:-}" ]; then
        MADE[$output]=yes
        ingest "$1"
        tokenizer tlm_s
        annotate_documents "$(folder_of "$1" raw)" "$(tokenizer_of tlm_s)" "$output" --config "$annotator"
    fi
}

# --- models

# tokenizer_of MODEL: its folder. tokenizer MODEL: makes it, trained on the general corpus at nano and pico scale, else
# as published (TLMs have Llama 2's; TinyLlama's repository holds it without asking for an account).
tokenizer_of() {
    if own_scale; then echo "$RUN/tokenizers/${NAMES[redpajama_v2]}"; return; fi
    case $1 in
        pythia_*) echo "${TOKENIZERS:-$RUN/tokenizers}/gpt_neox" ;;
        codellama_7b) echo "${TOKENIZERS:-$RUN/tokenizers}/codellama" ;;
        mistral_7b) echo "${TOKENIZERS:-$RUN/tokenizers}/mistral" ;;
        *) echo "${TOKENIZERS:-$RUN/tokenizers}/llama2" ;;
    esac
}

tokenizer() {
    local folder
    folder=$(tokenizer_of "$1")
    if own_scale; then
        ingest redpajama_v2
        make pretraining tokenizer --documents "$(folder_of redpajama_v2 raw)" --output "$folder"
    elif [ -z "$TOKENIZERS" ]; then
        case ${folder##*/} in
            gpt_neox) download EleutherAI/pythia-410m "$folder" ;;
            codellama) download codellama/CodeLlama-7b-hf "$folder" ;;
            mistral) download mistralai/Mistral-7B-v0.1 "$folder" ;;
            llama2) download "$(hub_name tinyllama_1b)" "$folder" ;;
        esac
    else
        look_for TOKENIZERS "$folder/tokenizer.json"
    fi
}

# download REPOSITORY FOLDER: a tokenizer of the hub.
download() {
    if [ -n "${MADE[$2]:-}" ]; then return; fi
    MADE[$2]=yes
    local arguments=(download "$1" --include "tokenizer*" --include "special_tokens_map.json" --local-dir "$2")
    if [ -n "${PLAN_FILE:-}" ]; then
        { printf '\037%s' hub "${arguments[@]}"; echo; } >>"$PLAN_FILE"
    elif [ ! -f "$2/tokenizer.json" ]; then
        run_logged "download of $1 (TOKENIZERS names a copy)" "$2" "$ROOT/.venv/bin/hf" "${arguments[@]}"
    fi
}

# hub_name MODEL: where the weights of a continued model come from.
hub_name() {
    case $1 in
        tinyllama_1b) echo TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T ;;
        llama2_7b) echo meta-llama/Llama-2-7b-hf ;;
        codellama_7b) echo codellama/CodeLlama-7b-hf ;;
        mistral_7b) echo mistralai/Mistral-7B-v0.1 ;;
    esac
}

# base_of MODEL: the weights that a continued model starts from: BASES/MODEL, else the hub's; below paper scale this
# run's own TLM-s. Nothing for a model from scratch.
base_of() {
    if [ -z "$(hub_name "$1")" ]; then return; fi
    if [ "$SCALE" != paper ]; then echo "$(model_of tlm_s redpajama_v2 raw)/export"; return; fi
    if [ -n "$BASES" ]; then echo "$BASES/$1"; else hub_name "$1"; fi
}

# model_of MODEL CORPUS ARM: its folder.
model_of() {
    place_of "$2" "$3"
    echo "$RUN/models/$1/$PLACE"
}

# tokens MODEL CORPUS ARM: the arm's token shards, in TOKENS.
tokens() {
    local tokenizer
    documents "$2" "$3"
    tokenizer "$1"
    tokenizer=$(tokenizer_of "$1")
    place_of "$2" "$3"
    TOKENS=$RUN/tokens/$PLACE/${tokenizer##*/}
    make pretraining tokenize --documents "$(folder_of "$2" "$3")" --tokenizer "$tokenizer" "${ON_CPUS[@]}" \
        --output "$TOKENS"
}

# pretrain MODEL CORPUS ARM: from scratch, or from the weights of its name; the final model in Hugging Face format.
pretrain() {
    local folder options=() base
    folder=$(model_of "$@")
    if [ -n "${MADE[$folder]:-}" ]; then return; fi
    MADE[$folder]=yes
    tokens "$@"
    base=$(base_of "$1")
    if [[ -n $BASES && $base == "$BASES"/* ]]; then look_for BASES "$base/config.json"; fi
    if [ "$SCALE" = paper ]; then
        options=(--config "$ROOT/configs/pretraining/$1.yaml")
    else
        options=(--save_interval "$FIRST_STEP" --keep_checkpoints 0)
    fi
    if [ -n "$base" ]; then
        if [ "$SCALE" != paper ]; then
            note "below paper scale the models that are continued are this run's TLM-s, whatever they are called"
            pretrain tlm_s redpajama_v2 raw
            tokens "$@"
        elif [ -z "$BASES" ]; then
            note "Llama-2 and Mistral ask for an account on the hub: accept their terms there and log in (hf auth \
login) before, or name copies with BASES"
        fi
        make pretraining import --checkpoint "$base" --output "$RUN/bases/$1"
        options+=(--init_from "$RUN/bases/$1")
    fi
    make pretraining "train:$1" --tokens "$TOKENS" "${options[@]}" --output "$folder/train"
    make pretraining export --checkpoint "$folder/train" --tokenizer "$(tokenizer_of "$1")" --output "$folder/export"
}

# pretrain_all MODEL CORPUS ARM...: the trainings side by side where the machine takes that (JOBS).
pretrain_all() {
    local arm
    for arm in "${@:3}"; do tokens "$1" "$2" "$arm"; done
    if [ -n "$(base_of "$1")" ]; then pretrain "$1" "$2" "$3"; fi  # the weights to go on from are imported once
    for arm in "${@:3}"; do background "$1 $arm" pretrain "$1" "$2" "$arm"; done
    all_done
    for arm in "${@:3}"; do MADE["$(model_of "$1" "$2" "$arm")"]=yes; done
}

# earlier_steps MODEL: those before the last that the paper's tables show, or as many at other scales.
earlier_steps() {
    local count=4 step
    if [ "$1" = tlm_m_50b ]; then count=9; fi
    for ((step = 1; step <= count; step++)); do echo $((step * INTERVAL)); done
}
