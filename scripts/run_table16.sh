#!/usr/bin/env bash
# Table 16: TLM-m on 50 B tokens of C4, raw and refined, at ten steps; ten tasks.
set -euo pipefail
# shellcheck source=scripts/lib/experiments.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/experiments.sh"
steps() {
    large c4
    show_large 16 c4
}
recipe table16 "$@"
