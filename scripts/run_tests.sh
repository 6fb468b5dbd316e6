#!/usr/bin/env bash
# Sets up the environment and runs the tests: scripts/run_tests.sh [fast] [vllm] [chain] [slow] (default: fast vllm chain)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh

export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-2} TOKENIZERS_PARALLELISM=false
status=0
for suite in ${*:-fast vllm chain}; do
    case $suite in
        fast) selection="not slow and not vllm and not chain" ;;
        vllm | chain | slow) selection=$suite ;;
        *) echo "run_tests: unknown suite '$suite' (known: fast, vllm, chain, slow)" >&2; exit 2 ;;
    esac
    echo "run_tests: $suite" >&2
    .venv/bin/python -m pytest -q -m "$selection" || status=1
done
exit $status
