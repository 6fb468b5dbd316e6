#!/usr/bin/env bash
# Table 4: refiners made of TLM-xs, -s and -m: F1 on their valid sets, and what they keep of RedPajama-V2.
set -euo pipefail
# shellcheck source=scripts/lib/experiments.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/experiments.sh"
steps() {
    refining
    show_refiners
}
recipe table4 "$@"
