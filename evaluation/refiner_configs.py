"""Config of `evaluation refiners`. Imports no heavy library: a skipped step must start at once."""

import contextlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation.records import sha256_of_files
from evaluation.refiner_artifacts import REFINER_SCORES, read_metrics, read_tokens_kept
from prox.command import CommandConfig
from prox.confusion import best_checkpoint
from prox.errors import UserError

# A refiner's name has a row; unlike a model's, it is in no file name.
REFINER_NAME = re.compile(r"\w[\w.+-]*")
STATISTICS = "statistics"
PAPER_REFINERS = Path(__file__).parent / "published" / "table_4.yaml"


@dataclass
class RefinersConfig(CommandConfig):
    """Settings of ``evaluation refiners``."""

    refiners: dict[str, Path] = field(default_factory=dict)
    """Artefacts of each refiner, any of three by its name and a part: `NAME.document` and `NAME.chunk` (of `adaptation
    validate`), `NAME.statistics` (of `refinement stats`), e.g. `--refiners.tlm-xs.chunk FOLDER`; names are rows."""
    arm: str = "prox-d+c"
    """The arm in the statistics that the refiner made; what it kept is shown as a share of the arm `raw`, in tokens."""

    def problems(self) -> list[str]:
        found = []
        if not self.refiners:
            found.append("--refiners is empty: name at least one artefact, e.g. --refiners.tlm-xs.document FOLDER")
        for key, folder in self.refiners.items():
            name, _, part = key.rpartition(".")
            if not REFINER_NAME.fullmatch(name) or part not in (*REFINER_SCORES, STATISTICS):
                found.append(
                    f"--refiners.{key} {folder} names no part of a refiner: give NAME.document, NAME.chunk or "
                    "NAME.statistics, with letters, digits, '.', '_', '-' and '+' in the name"
                )
                continue
            try:
                if part == STATISTICS:
                    read_tokens_kept(folder, f"refiners.{key}", self.arm)
                else:
                    read_metrics(folder, f"refiners.{key}", part)
            except UserError as error:
                found.append(str(error))
        return found

    def parts(self) -> dict[str, dict[str, Path]]:
        """The artefacts by refiner and part, refiners in the order they were given."""
        found: dict[str, dict[str, Path]] = {}
        for key, folder in self.refiners.items():
            name, _, part = key.rpartition(".")
            found.setdefault(name, {})[part] = folder
        return found

    def inputs(self) -> list[Path]:
        return [*self.refiners.values(), *self.checkpoints()]

    def checkpoints(self) -> list[Path]:
        """Folders of the best checkpoints, as far as they are still here: sizes are read from them."""
        found = []
        for key, folder in self.refiners.items():
            part = key.rpartition(".")[2]
            if part in REFINER_SCORES:
                with contextlib.suppress(UserError):  # problems() reports it
                    found.append(
                        Path(
                            best_checkpoint(read_metrics(folder, f"refiners.{key}", part)["checkpoints"])["checkpoint"]
                        )
                    )
        return [path for path in found if path.is_dir()]

    def input_marks(self) -> list[str]:
        return [f"published:{sha256_of_files(PAPER_REFINERS)}"]

    def plan(self) -> dict[str, Any]:
        return {"refiners": ", ".join(self.parts()), "arm": self.arm}
