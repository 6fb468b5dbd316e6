#!/usr/bin/env bash
# Figure 8: FLOPs of training and refining up to a comparable average (Tables 12 to 14).
set -euo pipefail
# shellcheck source=scripts/lib/experiments.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/experiments.sh"
steps() {
    local size refiner row
    refining
    for size in xs s m; do
        sizes "$size"
        costs_of "TLM-${size}_raw=$(model_of "tlm_$size" redpajama_v2 raw)"
        for refiner in $(refiner_sizes); do
            row=TLM-${size}_prox-d+c_TLM-$refiner
            costs_of "$row=$(model_of "tlm_$size" redpajama_v2 "prox-d+c_$refiner")"
            refining_cost "$row" "$RUN/statistics/${NAMES[redpajama_v2]}/refined_by_$refiner"
        done
    done
    show figure 8 sizes "${COSTS[@]}"
}
recipe figure8 "$@"
