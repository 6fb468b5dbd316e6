#!/usr/bin/env bash
# Table 14: TLM-m on RedPajama-V2, raw and refined by each size of refiner, at five steps; ten tasks.
set -euo pipefail
# shellcheck source=scripts/lib/experiments.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/experiments.sh"
steps() {
    sizes m
    show_sizes 14 m
}
recipe table14 "$@"
