#!/usr/bin/env bash
# Table 11: Table 3's models task by task.
set -euo pipefail
# shellcheck source=scripts/lib/experiments.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/experiments.sh"
steps() {
    selection
    show table 11 selection
}
recipe table11 "$@"
