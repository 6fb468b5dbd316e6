#!/usr/bin/env bash
# Table 7: the corpora of all experiments, and what filters and refiners leave of them. Nothing is pre-trained but the
# bases of the refiners.
set -euo pipefail
# shellcheck source=scripts/lib/experiments.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/experiments.sh"
steps() {
    local corpus size
    count_filtered
    show_counts redpajama_v2 by_method raw Table-2-Figure-4_redpajama_v2_raw \
        prox-d Table-2-Figure-4_redpajama_v2_prox-d prox-d+c Table-2-Figure-4_redpajama_v2_prox-d+c
    refining
    for size in $(refiner_sizes); do
        show_counts redpajama_v2 "refined_by_$size" raw Figure-5_redpajama_v2_raw \
            prox-d+c "Figure-5_redpajama_v2_prox-d+c_TLM-$size"
    done
    refined_corpora
    for corpus in redpajama_v2_two_dumps c4 fineweb; do
        show_counts "$corpus" refined_by_xs raw "Figure-6_$(large_row "$corpus")_raw" \
            prox-d+c "Figure-6_$(large_row "$corpus")_prox-d+c_TLM-xs"
    done
    show_counts openwebmath refined_by_math raw Table-5-1-1B-model_openwebmath_raw \
        rule Table-5-1-1B-model_openwebmath_rule prox-d Table-5-1-1B-model_openwebmath_prox-d \
        prox-d+c Table-5-1-1B-model_openwebmath_prox-d+c
}
recipe table7 "$@"
