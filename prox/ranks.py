"""Which process of a distributed run this one is, before any library has been told."""

import os

# torchrun, Lightning's own launcher, srun: each sets its own.
VARIABLES = ("RANK", "LOCAL_RANK", "SLURM_PROCID")


def process_rank() -> int:
    """0 in the main process, and where nothing says otherwise."""
    for name in VARIABLES:
        value = os.environ.get(name, "")
        if value.isdigit():
            if name == "LOCAL_RANK" and int(os.environ.get("NODE_RANK", "0") or 0) > 0:
                return max(1, int(value))  # the first process of another node
            return int(value)
    return 0


def is_main_process() -> bool:
    """True in the one process that speaks, and that keeps the artefact's books."""
    return process_rank() == 0
