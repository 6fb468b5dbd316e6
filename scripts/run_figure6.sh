#!/usr/bin/env bash
# Figure 6: average of ten tasks by corpus (Tables 15 to 17), beside models of other groups (Table 18).
set -euo pipefail
# shellcheck source=scripts/lib/experiments.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/experiments.sh"
steps() {
    local corpus
    for corpus in redpajama_v2_two_dumps c4 fineweb; do large "$corpus"; done
    others
    show figure 6 large
}
recipe figure6 "$@"
