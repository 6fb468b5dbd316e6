#!/usr/bin/env bash
# Table 19: Table 5 with the document stage alone, too.
set -euo pipefail
# shellcheck source=scripts/lib/experiments.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/experiments.sh"
steps() {
    continual document
    show table 19 continual
}
recipe table19 "$@"
