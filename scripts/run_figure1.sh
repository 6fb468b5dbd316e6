#!/usr/bin/env bash
# Figure 1: training FLOPs and average of ten tasks, TLM-m on three corpora (Tables 15 to 17).
set -euo pipefail
# shellcheck source=scripts/lib/experiments.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/experiments.sh"
steps() {
    local corpus row
    for corpus in redpajama_v2_two_dumps c4 fineweb; do
        large "$corpus"
        row=$(large_row "$corpus")
        costs_of "${row}_raw=$(model_of tlm_m_50b "$corpus" raw)" \
            "${row}_prox-d+c=$(model_of tlm_m_50b "$corpus" prox-d+c_xs)"
    done
    show figure 1 large/trained "${COSTS[@]}"
}
recipe figure1 "$@"
