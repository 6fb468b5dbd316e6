#!/usr/bin/env bash
# Table 12: TLM-xs on RedPajama-V2, raw and refined by each size of refiner, at five steps; ten tasks.
set -euo pipefail
# shellcheck source=scripts/lib/experiments.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/experiments.sh"
steps() {
    sizes xs
    show_sizes 12 xs
}
recipe table12 "$@"
