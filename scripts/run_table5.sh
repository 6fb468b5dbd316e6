#!/usr/bin/env bash
# Table 5: TinyLlama, Llama-2, CodeLlama and Mistral continued on OpenWebMath; nine math tasks.
set -euo pipefail
# shellcheck source=scripts/lib/experiments.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/experiments.sh"
steps() {
    continual
    show table 5 continual/both_stages
}
recipe table5 "$@"
