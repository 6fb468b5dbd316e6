#!/usr/bin/env bash
# Figure 5: average of ten tasks by size of model and of refiner (Tables 12 to 14).
set -euo pipefail
# shellcheck source=scripts/lib/experiments.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/experiments.sh"
steps() {
    local size
    for size in xs s m; do sizes "$size"; done
    show figure 5 sizes
}
recipe figure5 "$@"
