#!/usr/bin/env bash
# Table 18: models of other groups, as they are on the hub; ten tasks.
set -euo pipefail
# shellcheck source=scripts/lib/experiments.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/experiments.sh"
steps() {
    others
    show table 18 large/others
}
recipe table18 "$@"
