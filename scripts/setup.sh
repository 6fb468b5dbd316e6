#!/usr/bin/env bash
# Makes or reuses the one environment of the project, .venv: scripts/setup.sh [--flash-attn]
#
#   PROX_DEVICE=cpu|cuda   which lock to install (default: cuda where nvidia-smi finds a GPU, else cpu)
#   PROX_PYTHON=...        the Python 3.11 to use (default: python3.11)
#
# The environment carries a mark that is written last; without it, or when the lock has changed, it is made anew.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ENVIRONMENT=.venv
BEGUN=$ENVIRONMENT/prox-setup-begun
MARK=$ENVIRONMENT/prox-setup-complete
LOG=$PWD/.setup.log

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "failed: $*"; exit 1; }

want_flash_attn=false
for argument in "$@"; do
    case $argument in
        --flash-attn) want_flash_attn=true ;;
        *) fail "unknown argument '$argument' (known: --flash-attn)" ;;
    esac
done

# A finished environment keeps the device it was made for.
device=${PROX_DEVICE:-$(cut -d' ' -f1 "$MARK" 2>/dev/null || true)}
if [ -z "$device" ]; then
    if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q GPU; then device=cuda; else device=cpu; fi
fi
lock=requirements/$device.lock
[ -f "$lock" ] || fail "PROX_DEVICE is '$device': it must be cpu or cuda"
if $want_flash_attn && [ "$device" != cuda ]; then fail "--flash-attn needs a CUDA machine, this one is set up for $device"; fi

python=${PROX_PYTHON:-python3.11}
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null \
    || fail "'$python' is not Python 3.11: install it, or point PROX_PYTHON at one"

mark="$device $(sha256sum <"$lock" | cut -c1-16)"

# Two commands started at once must not build the same environment.
exec 9>.setup.lock
flock -n 9 || { say "waiting for another setup to finish"; flock 9; }

# Runs an installation step; its output goes to the log, whose end is shown on failure.
quietly() { "$@" >>"$LOG" 2>&1 || { tail -n 15 "$LOG" >&2; fail "see $LOG; run scripts/setup.sh again once mended"; }; }

if [ "$(cat "$MARK" 2>/dev/null)" != "$mark" ] || ! "$ENVIRONMENT/bin/python" -c 'import prox, torch' 2>/dev/null; then
    if [ -e "$ENVIRONMENT" ]; then
        [ -e "$BEGUN" ] || fail "$ENVIRONMENT was not made by this script: move it away, then run scripts/setup.sh again"
        say "$ENVIRONMENT is unfinished, broken or from another lock: making it anew"
        rm -rf "$ENVIRONMENT"
    fi
    say "installing $(wc -l <"$lock") packages of $lock into $ENVIRONMENT (about 4 GB on CPU, 15 GB with CUDA; minutes)"
    : >"$LOG"
    mkdir -p "$ENVIRONMENT" && touch "$BEGUN"
    quietly "$python" -m venv "$ENVIRONMENT"
    say "1/3 torch with its dependencies"
    quietly "$ENVIRONMENT/bin/python" -m pip install "$(grep -E '^torch==' "$lock")"
    say "2/3 everything else"
    quietly "$ENVIRONMENT/bin/python" -m pip install --no-deps -r "$lock"
    say "3/3 the project itself, and a look whether everything imports"
    quietly "$ENVIRONMENT/bin/python" -m pip install --no-deps --no-build-isolation -e . --config-settings editable_mode=compat
    quietly "$ENVIRONMENT/bin/python" -c 'import datatrove, lighteval, lightning, litgpt, llamafactory, lm_eval, prox, vllm, wandb'
    printf '%s\n' "$mark" >"$MARK"
    say "done"
fi

if $want_flash_attn && ! "$ENVIRONMENT/bin/python" -c 'import flash_attn' 2>/dev/null; then
    say "compiling flash-attn (up to hours where no wheel fits)"
    quietly "$ENVIRONMENT/bin/python" -m pip install --no-build-isolation "flash-attn==2.8.3.post2"
fi
