"""Which process of a distributed run this one is, before any library has been told."""

import os


def process_rank() -> int:
    """0 in the main process, and where nothing says otherwise.

    torchrun and Lightning's own launcher say it, then srun. Lightning's launcher leaves the first process of each node
    as it is; another node than the first is known by NODE_RANK.
    """
    for name in ("RANK", "SLURM_PROCID"):
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    local, node = (int(os.environ.get(name) or 0) for name in ("LOCAL_RANK", "NODE_RANK"))
    return local if node == 0 else max(1, local)


def is_main_process() -> bool:
    """True in the one process that speaks, and that keeps the artefact's books."""
    return process_rank() == 0


def launched_processes() -> int | None:
    """How many processes torchrun or srun has started; None where neither has."""
    for rank, number in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS")):
        if rank in os.environ and os.environ.get(number, "").isdigit():
            return int(os.environ[number])
    return None
