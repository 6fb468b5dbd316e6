#!/usr/bin/env bash
# Table 10: Table 2's models at five steps.
set -euo pipefail
# shellcheck source=scripts/lib/experiments.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/experiments.sh"
steps() {
    filtering every
    show table 10 filtering
}
recipe table10 "$@"
