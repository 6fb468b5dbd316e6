#!/usr/bin/env bash
# Table 17: TLM-m on 50 B tokens of FineWeb, raw and refined, at ten steps; ten tasks.
set -euo pipefail
# shellcheck source=scripts/lib/experiments.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/experiments.sh"
steps() {
    large fineweb
    show_large 17 fineweb
}
recipe table17 "$@"
