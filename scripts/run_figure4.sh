#!/usr/bin/env bash
# Figure 4: average of ten tasks by training step (those of Table 10, and one soon after the start).
set -euo pipefail
# shellcheck source=scripts/lib/experiments.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/experiments.sh"
steps() {
    filtering every
    filtering first
    show figure 4 filtering
}
recipe figure4 "$@"
