#!/usr/bin/env bash
# Table 6: FineWeb-Edu's classifier against ProX on FineWeb, TLM-s; ten tasks.
set -euo pipefail
# shellcheck source=scripts/lib/experiments.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/experiments.sh"
steps() {
    fineweb_edu
    show table 6 fineweb_edu --statistics "$RUN/statistics/${NAMES[fineweb]}/against_fineweb_edu"
}
recipe table6 "$@"
