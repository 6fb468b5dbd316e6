#!/usr/bin/env bash
# Table 3: data selection on C4 with Pythia-410M and -1B, at random and by ProX's document stage; eight tasks, 0 and 2
# shots.
set -euo pipefail
# shellcheck source=scripts/lib/experiments.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/experiments.sh"
steps() {
    selection
    show table 3 selection
}
recipe table3 "$@"
