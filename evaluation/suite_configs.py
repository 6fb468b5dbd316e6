"""Configs of the paper's suites. Imports no heavy library: a skipped step must start at once."""

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from evaluation.benchmark_data import SOURCES, TaskData, lay_down, missing_splits, sources
from evaluation.configs import HARNESSES, TASK_DEFINITIONS, ModelsConfig, hub_model, installed_version
from evaluation.math_questions import TASKS as MATH_TASKS
from evaluation.math_questions import examples_file, examples_in, lay_down_math, question_file
from evaluation.published import GENERAL, MATH, SELECTION
from evaluation.records import sha256_of_files
from prox.command import CommandConfig
from prox.engines.base import VllmConfig

# Raise it when what the project does around the tasks' definitions changes scores (the draw of questions, means, how
# a harness is asked), so that old and new scores refuse to share a table.
DEFINITION_VERSION = "1"


@dataclass
class SuiteConfig(ModelsConfig):
    """What the suites share."""

    SUITE: ClassVar[str]
    HARNESS: ClassVar[str]
    MODULE: ClassVar[str]
    """The module that asks a model."""
    DATA_REMEDY: ClassVar[str] = "give a mirror folder, or leave it unset for the hub"
    TASKS: ClassVar[tuple[str, ...]]

    data: Path | None = None
    """Mirror folder with the questions (<repository, / as __>/<config>/<split>.parquet); unset: the Hugging Face hub,
    at the commits in evaluation/tasks/sources.yaml."""
    tasks: list[str] = field(default_factory=list)
    """Tasks to ask; empty for all of the suite."""
    splits: dict[str, str] = field(default_factory=dict)
    """Split to ask by task, where it is not the usual one (`--splits.sciq validation`)."""
    limit: int = 0
    """Most questions of a task (of each subject of MMLU), drawn as lighteval draws them; 0 for all."""

    def asked(self) -> list[str]:
        """The tasks, in the suite's order."""
        return [task for task in self.TASKS if not self.tasks or task in self.tasks]

    def shots_of(self, task: str) -> list[int]:
        """Numbers of worked examples before a task's questions; each is an evaluation of its own."""
        return [0]

    def split_of(self, task: str) -> str:
        """The split that is asked of a task."""
        return self.splits.get(task) or sources()[task].evaluation_split(self.SUITE)

    def definition_of(self, task: str) -> list[Path]:
        """The files that define a task."""
        raise NotImplementedError

    def lay_down(self, task: str, folder: Path) -> TaskData:
        """Writes a task's questions to ``folder``."""
        with_fewshot = max(self.shots_of(task)) > 0
        return lay_down(task, self.split_of(task), self.data, self.limit, folder, with_fewshot)

    def settings(self) -> dict[str, Any]:
        """What of this config decides scores beside tasks and questions."""
        return {"dtype": self.dtype, "limit": self.limit or None}

    def data_problems(self) -> list[str]:
        """What is missing of the questions."""
        if self.data is None:
            return []
        missing = (missing_splits(task, self.split_of(task), self.data) for task in self.asked())
        return [reason for reason in missing if reason is not None]

    def data_files(self) -> list[Path]:
        """The files of the questions."""
        if self.data is None:
            return []
        return sorted({file for task in self.asked() for file in sources()[task].splits(self.data).values()})

    def problems(self) -> list[str]:
        found = super().problems()
        for task in sorted(set(self.tasks) - set(self.TASKS)):
            found.append(f"{task!r} is no task of {self.SUITE}: choose from {', '.join(self.TASKS)}")
        # Splits of other suites' tasks are let pass: one list of options may go to all suites.
        for task in sorted(set(self.splits) - set(sources())):
            found.append(f"--splits.{task}: no such task has splits to choose from: {', '.join(sources())}")
        if self.limit < 0:
            found.append(f"--limit {self.limit} is negative: give a number of questions, or 0 for all")
        if self.data is not None and not self.data.is_dir():
            found.append(f"--data {self.data} is not a folder: {self.DATA_REMEDY}")
        else:
            found += self.data_problems()
        if installed_version(self.HARNESS) is None:
            found.append(f"{HARNESSES[self.HARNESS]} is not installed: run scripts/setup.sh")
        return found

    def inputs(self) -> list[Path]:
        return [*super().inputs(), *self.data_files()]

    def input_marks(self) -> list[str]:
        hub = [str(place) for place in self.models.values() if hub_model(place) is not None]
        definitions = {file for task in self.asked() for file in self.definition_of(task)}
        return [
            f"definition:{DEFINITION_VERSION}",
            f"tasks:{sha256_of_files(SOURCES, *sorted(definitions))}",
            f"harness:{installed_version(self.HARNESS)}",
            *hub,
        ]

    def volatile_fields(self) -> frozenset[str]:
        # The rows that are read are inputs of their own.
        return super().volatile_fields() | {"data"}

    def plan(self) -> dict[str, Any]:
        return {
            **super().plan(),
            "tasks": ", ".join(f"{task} ({self.split_of(task)})" for task in self.asked()),
            "questions_per_task": f"at most {self.limit:,}" if self.limit else "all",
            "data": self.data or "the Hugging Face hub",
        }


@dataclass
class GeneralConfig(SuiteConfig):
    """Settings of ``evaluation general``: ten tasks, zero-shot, through lighteval (section C.1)."""

    SUITE = "general"
    HARNESS = "lighteval"
    MODULE = "evaluation.harness_lighteval"
    TASKS = GENERAL

    limit: int = 1000
    """Most questions of a task (of each subject of MMLU), drawn as lighteval draws them; 0 for all."""

    def definition_of(self, task: str) -> list[Path]:
        return [TASK_DEFINITIONS / "general.py"]


@dataclass
class SelectionConfig(SuiteConfig):
    """Settings of ``evaluation selection``: eight tasks with and without worked examples, through lm-eval (Table 3)."""

    SUITE = "selection"
    HARNESS = "lm_eval"
    MODULE = "evaluation.harness_lm_eval"
    TASKS = SELECTION

    num_fewshot: list[int] = field(default_factory=lambda: [0, 2])
    """Numbers of worked examples before a question; each is an evaluation of its own."""
    fewshot_seed: int = 1234
    """Seed of the draw of worked examples (lm-eval's own default)."""

    def definition_of(self, task: str) -> list[Path]:
        return [TASK_DEFINITIONS / "selection" / f"{task}.yaml"]

    def shots_of(self, task: str) -> list[int]:
        return self.num_fewshot

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "fewshot_seed": self.fewshot_seed}

    def problems(self) -> list[str]:
        found = super().problems()
        if not self.num_fewshot or min(self.num_fewshot) < 0:
            found.append(f"--num_fewshot {self.num_fewshot}: give numbers from 0, as [0,2]")
        elif len(set(self.num_fewshot)) < len(self.num_fewshot):
            found.append(f"--num_fewshot {self.num_fewshot} names a number twice: leave one out")
        return found

    def plan(self) -> dict[str, Any]:
        return {**super().plan(), "worked_examples": ", ".join(map(str, self.num_fewshot))}


@dataclass
class MathConfig(SuiteConfig):
    """Settings of ``evaluation math``: nine tasks with worked examples, greedy, through lm-eval (section C.2)."""

    SUITE = "math"
    HARNESS = "lm_eval"
    MODULE = "evaluation.harness_math"
    DATA_REMEDY = "give the folder data/ of a clone of ZubinGou/math-evaluation-harness"
    TASKS = MATH

    data: Path | None = None
    """Folder of the harness's question files (<name>/test.jsonl or <name>.test.jsonl.gz)."""
    prompts: Path | None = None
    """Folder of the worked examples (gsm8k.md, minerva_math.md, mathqa.md, mmlu_stem.md)."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """What generates: vLLM for models of billions of parameters on a GPU."""
    vllm: VllmConfig = field(default_factory=VllmConfig)
    """Settings of engine `vllm`."""
    max_new_tokens: int = 1024
    """Longest answer, in tokens; at most half of the model's context."""

    def definition_of(self, task: str) -> list[Path]:
        code = Path(__file__).parent
        files = [
            TASK_DEFINITIONS / "math.yaml",
            *(code / f"math_{name}.py" for name in ("answers", "equality", "questions")),
        ]
        return files if self.prompts is None else [*files, examples_file(task, self.prompts)]

    def shots_of(self, task: str) -> list[int]:
        path = None if self.prompts is None else examples_file(task, self.prompts)
        return [examples_in(path) if path is not None and path.is_file() else 0]

    def lay_down(self, task: str, folder: Path) -> TaskData:
        source = None if self.data is None else question_file(task, self.data)
        assert source is not None  # problems() refuses it
        assert self.prompts is not None
        return lay_down_math(task, source, self.prompts, self.limit, folder)

    def plan(self) -> dict[str, Any]:
        shots = (f"{task} {self.shots_of(task)[0]} (the paper's {MATH_TASKS[task].shots})" for task in self.asked())
        return {**super().plan(), "worked_examples": ", ".join(shots)}

    def split_of(self, task: str) -> str:
        return "test"

    def problems(self) -> list[str]:
        found = super().problems()
        if self.max_new_tokens < 1:
            found.append(f"--max_new_tokens {self.max_new_tokens} is below 1: 1024 is the paper's")
        if self.engine == "vllm" and importlib.util.find_spec("vllm") is None:
            found.append("--engine vllm: vLLM is not installed: run scripts/setup.sh, or take --engine transformers")
        return found + [f"--vllm.{problem}" for problem in self.vllm.problems()]

    def data_problems(self) -> list[str]:
        clone = "of a clone of ZubinGou/math-evaluation-harness"
        found = []
        if self.data is None:
            found.append(f"--data is not set: give the folder data/ {clone}")
        else:
            for task in self.asked():
                if question_file(task, self.data) is None:
                    name = MATH_TASKS[task].file
                    found.append(f"--data {self.data} has no {name}/test.jsonl for {task}: give data/ {clone}")
        if self.prompts is None:
            found.append(f"--prompts is not set: give the folder prompts/cot/ {clone}, or worked examples of your own")
            return found
        for task in self.asked():
            if self.shots_of(task) == [0]:
                path = examples_file(task, self.prompts)
                found.append(f"{path} has no worked example for {task}: mend it, or give another --prompts")
        return found

    def data_files(self) -> list[Path]:
        if self.data is None or self.prompts is None:
            return []
        files = [question_file(task, self.data) for task in self.asked()]
        prompts = {examples_file(task, self.prompts) for task in self.asked()}
        return [*(file for file in files if file is not None), *sorted(path for path in prompts if path.is_file())]

    def volatile_fields(self) -> frozenset[str]:
        return super().volatile_fields() | {"prompts", "vllm"}


@dataclass
class MirrorConfig(CommandConfig):
    """Settings of ``evaluation mirror``."""

    tasks: list[str] = field(default_factory=list)
    """Tasks to fetch; empty for all of the general and selection suites."""

    def asked(self) -> list[str]:
        """The tasks."""
        return [task for task in sources() if not self.tasks or task in self.tasks]

    def problems(self) -> list[str]:
        unknown = sorted(set(self.tasks) - set(sources()))
        return [
            f"{task!r} is no task with questions on the hub: choose from {', '.join(sources())}" for task in unknown
        ]

    def input_marks(self) -> list[str]:
        return [f"sources:{sha256_of_files(SOURCES)}"]

    def plan(self) -> dict[str, Any]:
        return {"tasks": ", ".join(self.asked())}
