#!/usr/bin/env bash
# Sets up the environment and runs the tests: scripts/run_tests.sh [fast] [vllm] [chain] [slow] (default: fast vllm chain)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh

export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
# Fast tests run side by side, one thread each; the others are whole programs, which take the machine themselves.
cores=$(nproc)
side_by_side=(-n "$((cores < 4 ? cores : 4))" --dist loadfile)
status=0
for suite in ${*:-fast vllm chain}; do
    options=() threads=2
    case $suite in
        fast) selection="not slow and not vllm and not chain" options=("${side_by_side[@]}") threads=1 ;;
        vllm | chain | slow) selection=$suite ;;
        *) echo "run_tests: unknown suite '$suite' (known: fast, vllm, chain, slow)" >&2; exit 2 ;;
    esac
    echo "run_tests: $suite" >&2
    OMP_NUM_THREADS=${OMP_NUM_THREADS:-$threads} .venv/bin/python -m pytest -q -m "$selection" "${options[@]}" || status=1
done
exit $status
