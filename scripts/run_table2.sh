#!/usr/bin/env bash
# Table 2: TLM-s on RedPajama-V2, raw, filtered by rules, and refined by ProX; ten tasks.
set -euo pipefail
# shellcheck source=scripts/lib/experiments.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/experiments.sh"
steps() {
    filtering final
    show table 2 filtering/final
}
recipe table2 "$@"
