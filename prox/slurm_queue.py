"""What Slurm's queue says of an output: jobs in it that write there, found by their names.

A job's name holds hashes of the output folder and of the settings. While jobs may be there, a file in the output says
so; without it no queue is asked, as there may be none.
"""

import hashlib
import logging
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from prox.errors import UserError

log = logging.getLogger("prox")

TRIES = 4
PAUSE_SECONDS = 5.0
SQUEUE_SECONDS = 60


def _mark_of_folder(output: Path) -> str:
    return hashlib.blake2b(str(output.resolve()).encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()


def job_name(label: str, output: Path, fingerprint: str | None) -> str:
    """The name of the jobs that work on ``label`` for this output under these settings."""
    return f"{label.replace(',', '').replace(' ', '-')}-{_mark_of_folder(output)}-{fingerprint}"


def submitted(output: Path) -> Path:
    """The file that stands while jobs may be writing into ``output``."""
    return output / "tasks" / "slurm_jobs"


def queued(output: Path) -> set[str] | None:
    """Names of the jobs in the queue that write into ``output``, whatever their settings; None: it can't be told."""
    try:
        done = subprocess.run(
            ["squeue", "--me", "--noheader", "--format=%j"],
            capture_output=True,
            text=True,
            check=True,
            timeout=SQUEUE_SECONDS,
        )
    except subprocess.CalledProcessError as error:
        log.warning("squeue failed (%s)", error.stderr.strip())
        return None
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("squeue failed (%s)", error)
        return None
    names = {line.strip() for line in done.stdout.splitlines()}
    return {name for name in names if name.split("-")[-2:-1] == [_mark_of_folder(output)]}


def surely_queued(output: Path) -> set[str]:
    """As ``queued``, asked several times; ``UserError`` where it still can't be told. Where there are none it is
    recorded.
    """
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE_SECONDS)
        names = queued(output)
        if names is not None:
            if not names:
                submitted(output).unlink(missing_ok=True)
            return names
    over = f"; if it is known that none does, delete {submitted(output)}" if submitted(output).is_file() else ""
    raise UserError(
        f"squeue failed {TRIES} times, so it can't be told whether jobs are writing into {output}: nothing was changed "
        f"or submitted; run the same command again where `squeue` works{over}"
    )


def refuse(output: Path, names: Iterable[str]) -> None:
    """``UserError`` if there are ``names`` of jobs: what they write would be lost, or taken for another's."""
    listed = sorted(names)
    if listed:
        commands = " and ".join(f"`scancel --name={name}`" for name in listed)
        raise UserError(
            f"Slurm jobs write into {output} ({', '.join(listed)}): wait until they are done, or end them with "
            f"{commands}; then run the same command again"
        )


def require_none(output: Path) -> None:
    """``UserError`` while jobs that an earlier call submitted write into ``output``, or may do so."""
    if submitted(output).is_file():
        refuse(output, surely_queued(output))
