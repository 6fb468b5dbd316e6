#!/usr/bin/env bash
# Table 15: TLM-m on 50 B tokens of RedPajama-V2, raw and refined, at ten steps; ten tasks.
set -euo pipefail
# shellcheck source=scripts/lib/experiments.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/experiments.sh"
steps() {
    large redpajama_v2_two_dumps
    show_large 15 redpajama_v2_two_dumps
}
recipe table15 "$@"
