#!/usr/bin/env bash
# Figure 4: average of ten tasks by training step (Table 10).
set -euo pipefail
# shellcheck source=scripts/lib/experiments.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/experiments.sh"
steps() {
    filtering every
    show figure 4 filtering
}
recipe figure4 "$@"
