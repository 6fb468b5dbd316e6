#!/usr/bin/env bash
# Table 13: TLM-s on RedPajama-V2, raw and refined by each size of refiner, at five steps; ten tasks.
set -euo pipefail
# shellcheck source=scripts/lib/experiments.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/experiments.sh"
steps() {
    sizes s
    show_sizes 13 s
}
recipe table13 "$@"
