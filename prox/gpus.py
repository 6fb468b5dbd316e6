"""Which GPUs a worker process may see. CUDA itself is not asked: whoever asks it can't be given others any more."""

import os
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path

VARIABLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus(environment: Mapping[str, str] = os.environ, devices: Path = Path("/dev")) -> list[str]:
    """CUDA's names of the GPUs this process may use, in its order: those it is restricted to, else all there are."""
    listed = environment.get(VARIABLE)
    if listed is None:
        return [str(number) for number, _ in enumerate(devices.glob("nvidia[0-9]*"))]
    # CUDA stops reading at the first name that is none.
    return list(takewhile(lambda name: name and not name.startswith("-"), map(str.strip, listed.split(","))))


def gpus_of_worker(worker: int, gpus: Sequence[str], each: int = 1) -> list[str]:
    """The ``each`` GPUs of worker number ``worker``, counted from 0; where there are too few, workers share them."""
    groups = max(1, len(gpus) // each)
    first = worker % groups * each
    return list(gpus[first : first + each])
