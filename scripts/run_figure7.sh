#!/usr/bin/env bash
# Figure 7: lengths of documents in four corpora, raw and refined.
set -euo pipefail
# shellcheck source=scripts/lib/experiments.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/experiments.sh"
steps() {
    refined_corpora
    show_lengths
}
recipe figure7 "$@"
