"""What a recipe would run and what that costs, from the commands it recorded.

    plan.py RECORD show NAME SCALE RUN CORPUS   the plan
    plan.py RECORD commands                     the commands as they are run, one a line
    plan.py RECORD check RUN                    status 2 where a corpus or benchmarks that are asked for can't be read

Every command goes through its stage's own parser, so that a plan that prints is a recipe whose options are known.
Training and refining are counted as the paper counts them (`evaluation.flops`, appendix E.2); fine-tuning the refiners,
annotation and evaluation are not. Sizes of corpora are the run's own where token shards lie there, else the paper's
(Table 7) where it is about this corpus and arm, else unknown.
"""

import functools
import importlib
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.flops import chunk_stage_flops, document_stage_flops
from evaluation.published import load_table
from evaluation.suite_configs import SuiteConfig
from pretraining.shapes import SHAPES, ModelShape
from pretraining.train_config import CHECKPOINT_BYTES, PEAK_FLOPS, PLANNED_MFU, TrainConfig
from prox.artifact import committed_fingerprint, is_committed, read_json
from prox.command import CommandConfig, mark_of, parse
from prox.errors import UserError
from prox.flops import training_flops
from refinement.configs import IngestConfig

GPU = "H100"
TOKEN_BYTES, WEIGHT_BYTES = 2, 4
"""A token of a shard (vocabularies below 65,536), a weight of an exported model."""
EXPERIMENTS = {
    "redpajama_v2": ("Table 2, Figure 4", "Figure 5"),
    "redpajama_v2_two_dumps": ("Figure 6",),
    "c4": ("Figure 6",),
    "fineweb": ("Figure 6",),
    "openwebmath": ("Table 5, 1.1B model",),
}
"""Rows of Table 7 by the recipes' corpora. Of Table 2's rules it has one size for four filters, so none is taken."""
RANDOM = ("c4", "random")
"""What Table 3 draws; its row of Table 7 stands for the other arms' budgets too, not for what refining C4 leaves."""
PUBLISHED_REFINER = "gair-prox/"
HUB = "hub"
DONE, CHANGED, TO_DO = "done", "changed", ""
"""Finished; finished with other settings or inputs, so made anew; not finished."""
PLACE = "RUN"
"""Stands for any path below the run's folder."""


@dataclass(frozen=True)
class Step:
    """A command that a recipe recorded."""

    stage: str
    arguments: tuple[str, ...]
    """The verb and its options."""

    @property
    def name(self) -> str:
        """Stage and verb."""
        return f"{self.stage} {self.arguments[0]}"

    def option(self, name: str) -> str:
        """The last value of an option; empty where it is not given."""
        places = [place for place, word in enumerate(self.arguments[:-1]) if word == f"--{name}"]
        return self.arguments[places[-1] + 1] if places else ""

    @property
    def output(self) -> Path:
        """The folder it makes."""
        return Path(self.option("local-dir" if self.stage == HUB else "output"))


@dataclass(frozen=True)
class Row:
    """A step and its cost; None is unknown, 0 none that is counted."""

    name: str
    output: str
    size: str
    flops: float | None
    disk: float | None
    """Bytes."""
    state: str
    """Done, changed or to do."""


def read_steps(record: Path) -> list[Step]:
    """The recorded commands, each once."""
    lines = record.read_text(encoding="utf-8").splitlines()
    words = [line.split("\x1f")[1:] for line in lines]
    return list(dict.fromkeys(Step(stage, tuple(arguments)) for stage, *arguments in words))


@functools.cache
def _parsed(stage: str, arguments: tuple[str, ...]) -> CommandConfig:
    return parse(stage, importlib.import_module(f"{stage}.__main__").VERBS, arguments)[1]


def parse_whole(step: Step) -> CommandConfig:
    """The step's config as it is."""
    return _parsed(step.stage, step.arguments)


def parse_step(step: Step, run: Path) -> CommandConfig:
    """The step's config, without what differs from arm to arm: paths below the run. Parsing takes longest, so arms
    share it.
    """
    words = [PLACE if word.startswith(f"{run}/") else word for word in step.arguments]
    try:
        return _parsed(step.stage, tuple(words))
    except SystemExit:
        print(f"error: the command line refuses this step: {step.name} {' '.join(step.arguments[1:])}", file=sys.stderr)
        raise


def paper_tokens(corpus: str, arm: str) -> float | None:
    """Tokens of an arm by Table 7; an arm is `raw`, `rule`, `random`, or `prox-d` or `prox-d+c` and its refiner."""
    if (corpus, arm) == RANDOM:
        (billions,) = [row["unique_tokens_billion"] for row in load_table(7).rows if row["experiment"] == "Table 3"]
        return float(billions) * 1e9
    method, _, size = arm.partition("_")
    refiner = {"published": "TLM-xs", "": None}.get(size, f"TLM-{size}")
    for row in load_table(7).rows:
        if row["experiment"] not in EXPERIMENTS.get(corpus, ()) or row["corpus"] != corpus.removesuffix("_two_dumps"):
            continue
        # Where Table 7 names none, Table 2's refiner is TLM-s (3.2), Table 5's that of mathematical text.
        default = {"Table 2, Figure 4": "TLM-s", "Table 5, 1.1B model": refiner}.get(str(row["experiment"]))
        is_refined = method.startswith("prox-")
        row_refiner = (row["refiner"] or default) if is_refined else None
        billions = row["unique_tokens_billion"]
        is_filter = corpus == "redpajama_v2" and method == "rule"
        if row["method"] == method and row_refiner == refiner and not is_filter and isinstance(billions, float):
            return billions * 1e9
    return None


class Plan:
    """The steps of a recipe, and what is known of the sizes they work on."""

    def __init__(self, steps: Sequence[Step], run: Path, has_paper_corpora: bool) -> None:
        """``has_paper_corpora`` says that corpora are those of Table 7."""
        self.steps = steps
        self.run = run
        self.has_paper_corpora = has_paper_corpora
        self.configs = {step.output: parse_step(step, run) for step in steps if step.stage != HUB}
        self.states: dict[Path, str] = {}
        for step in steps:
            self.states[step.output] = self._state(step)

    def _state(self, step: Step) -> str:
        """Whether the step would be skipped; those before it are known."""
        if step.stage == HUB:
            return DONE if (step.output / "tokenizer.json").is_file() else TO_DO
        if not is_committed(step.output):
            return TO_DO
        config = parse_whole(step)
        # Inputs are what is there; a folder that is named, as a run's for its report, may hold steps that are to come.
        named = [Path(word) for word in step.arguments if Path(word).is_absolute() and Path(word) != step.output]
        for output in (output for output, state in self.states.items() if state != DONE):
            if any(path == output or output in path.parents or path in output.parents for path in named):
                return CHANGED
        try:
            return DONE if mark_of(step.name, config) == committed_fingerprint(step.output) else CHANGED
        except (OSError, UserError):
            return CHANGED  # an input is gone

    def problems(self) -> list[str]:
        """Why a corpus can't be read, or benchmarks be asked: what is known before anything has run."""
        found: dict[str, None] = {}
        for step in self.steps:
            if self.states[step.output] == DONE or step.stage == HUB:
                continue
            if step.name == "refinement ingest":
                found |= dict.fromkeys(parse_whole(step).problems())
            elif step.stage == "evaluation":
                config = parse_whole(step)
                found |= dict.fromkeys(config.data_problems() if isinstance(config, SuiteConfig) else [])
        return list(found)

    def rows(self) -> list[Row]:
        """One for each step."""
        return [self.row(step) for step in self.steps]

    def row(self, step: Step) -> Row:
        """What a step costs, by its verb."""
        count = COUNTS.get(step.name)
        size, flops, disk = count(self, step) if count else ("", 0.0, 0.0)
        return Row(step.name, self.place(step.output), size, flops, disk, self.states[step.output])

    def place(self, path: Path) -> str:
        """A path below the run's folder."""
        return str(path.relative_to(self.run)) if path.is_relative_to(self.run) else str(path)

    def arm_tokens(self, documents: str) -> tuple[float | None, str]:
        """Tokens of a folder of `corpora/`, and where that is known from."""
        corpus, arm = Path(documents).parts[-2:]
        for stats in sorted((self.run / "tokens" / corpus / arm).glob("*/stats.json")):
            if is_committed(stats.parent):
                return float(read_json(stats)["tokens"]), "counted"
        tokens = paper_tokens(corpus, arm) if self.has_paper_corpora else None
        return tokens, "Table 7"

    def size_of(self, documents: str) -> str:
        """The same in words."""
        tokens, source = self.arm_tokens(documents)
        units = len(list((Path(documents) / "documents").glob("*.parquet")))
        counted = f", {units} units" if units else ""
        return "unknown" + counted if tokens is None else f"{quantity(tokens)} tokens ({source}){counted}"

    def shape_of_refiner(self, checkpoint: str) -> ModelShape | None:
        """The model a refiner was made of; None where its folder is not this run's."""
        if checkpoint.startswith(PUBLISHED_REFINER):
            return SHAPES["tlm-xs"]
        size = Path(checkpoint).parts[-3].replace("math", "xs")
        for folder, config in self.configs.items():
            if isinstance(config, TrainConfig) and folder.parts[-4] == f"tlm_{size}":
                return config.resolved_shape()
        return SHAPES.get(f"tlm-{size}") if self.has_paper_corpora else None


Cost = tuple[str, float | None, float | None]


def cost_of_documents(plan: Plan, step: Step) -> Cost:
    """A corpus is written; how many bytes its text takes is not known."""
    size, config = plan.size_of(str(step.output)), plan.configs[step.output]
    if isinstance(config, IngestConfig) and config.corpus.limit >= 0:
        size += f", at most {config.corpus.limit:,} documents"
    return size, 0.0, None


def cost_of_refining(plan: Plan, step: Step) -> Cost:
    """Equations 11 and 12: the refiner reads the whole input."""
    documents = step.option("documents")
    tokens, shape = plan.arm_tokens(documents)[0], plan.shape_of_refiner(step.option("refiner.checkpoint"))
    count = document_stage_flops if step.arguments[0] == "document" else chunk_stage_flops
    flops = None if tokens is None or shape is None else count(shape.num_parameters_without_embedding(), tokens)
    return f"reads {plan.size_of(documents)}", flops, None


def cost_of_tokenizing(plan: Plan, step: Step) -> Cost:
    """Token shards."""
    documents = step.option("documents")
    tokens = plan.arm_tokens(documents)[0]
    return plan.size_of(documents), 0.0, None if tokens is None else tokens * TOKEN_BYTES


def cost_of_training(plan: Plan, step: Step) -> Cost:
    """Equation 9, and every checkpoint that is kept."""
    config = plan.configs[step.output]
    assert isinstance(config, TrainConfig)
    shape, steps = config.resolved_shape(), config.last_step()
    tokens = steps * config.global_batch_size * config.resolved_sequence_length()
    kept = -(-steps // config.save_interval)
    kept = min(kept, config.keep_checkpoints or kept)
    size = f"{shape.name}: {steps:,} steps, {quantity(tokens)} tokens"
    flops = training_flops(shape.num_parameters_without_embedding(), tokens)
    return size, flops, kept * shape.num_parameters() * CHECKPOINT_BYTES


def cost_of_export(plan: Plan, step: Step) -> Cost:
    """A copy of the weights."""
    config = plan.configs.get(Path(step.option("checkpoint")))
    if not isinstance(config, TrainConfig):
        return "", 0.0, None
    parameters = config.resolved_shape().num_parameters()
    return f"{quantity(parameters)} parameters", 0.0, parameters * WEIGHT_BYTES


def cost_of_import(plan: Plan, step: Step) -> Cost:
    """Another copy of published weights, in the type they come in."""
    models = [plan.configs[one.output] for one in plan.steps if one.option("init_from") == str(step.output)]
    if not models or not isinstance(models[0], TrainConfig):
        return "", 0.0, None
    return f"{quantity(models[0].resolved_shape().num_parameters())} parameters", 0.0, None


def cost_of_scoring(plan: Plan, step: Step) -> Cost:
    """Models that are asked."""
    return f"{len(plan.configs[step.output].models)} models", 0.0, 0.0


COUNTS = {
    "refinement ingest": cost_of_documents,
    "refinement rules": cost_of_documents,
    "refinement document": cost_of_refining,
    "refinement chunk": cost_of_refining,
    "pretraining import": cost_of_import,
    "pretraining tokenize": cost_of_tokenizing,
    "pretraining train": cost_of_training,
    "pretraining export": cost_of_export,
} | {f"evaluation {verb}": cost_of_scoring for verb in ("general", "selection", "math", "bits_per_byte", "choice")}


def quantity(number: float) -> str:
    """A number in words: `62.5 B`."""
    for unit, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if number >= unit:
            return f"{number / unit:.3g} {letter}"
    return f"{number:.0f}"


def gpu_hours(flops: float) -> float:
    """Hours of one GPU at the share of its peak that plans assume."""
    return flops / (PLANNED_MFU * PEAK_FLOPS[GPU]) / 3600


def shown(value: float | None, text: str) -> str:
    """``text``, or a mark where there is nothing to count, or nothing known."""
    return "?" if value is None else text if value else ""


def rounded(number: float) -> str:
    """Two decimals; what they would hide is said to be less."""
    return "<0.01" if 0 < number < 0.005 else f"{number:,.2f}"


def cells(number: int, row: Row) -> list[str]:
    """A row in words."""
    hours = shown(row.flops, rounded(gpu_hours(row.flops or 0)))
    flops, disk = shown(row.flops, f"{row.flops or 0:.2e}"), shown(row.disk, rounded((row.disk or 0) / 1e9))
    return [str(number), row.name, row.output, row.size, flops, hours, disk, row.state]


def total(label: str, rows: Iterable[Row]) -> list[str]:
    """The sum of some rows, and how many of them are not in it."""
    rows = list(rows)
    flops, disk = sum(row.flops or 0 for row in rows), sum(row.disk or 0 for row in rows)
    unknown = sum(row.flops is None for row in rows)
    note = f"FLOPs of {unknown} steps unknown" if unknown else ""
    return ["", label, f"{len(rows)} steps", note, f"{flops:.2e}", rounded(gpu_hours(flops)), rounded(disk / 1e9), ""]


HEADINGS = ["", "step", "makes", "size", "FLOPs", "GPU-hours", "disk (GB)", ""]
RIGHT = (0, 4, 5, 6)


def render(rows: Sequence[Row]) -> str:
    """The plan as text."""
    lines = [cells(number, row) for number, row in enumerate(rows, start=1)]
    totals = [total("all", rows), total("still to do", [row for row in rows if row.state != DONE])]
    widths = [max(len(line[column]) for line in [HEADINGS, *lines, *totals]) for column in range(len(HEADINGS))]

    def aligned(line: Sequence[str]) -> str:
        columns = [
            text.rjust(width) if column in RIGHT else text.ljust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        return "  ".join(columns).rstrip()

    rule = "-" * (sum(widths) + 2 * len(widths) - 2)
    return "\n".join([aligned(HEADINGS), rule, *map(aligned, lines), rule, *map(aligned, totals)])


PEAK = f"{GPU}'s {PEAK_FLOPS[GPU] / 1e12:,.0f} TFLOP/s"
NOTES = f"""\
FLOPs: Equations 9, 11 and 12 (training, both refining stages); fine-tuning, annotation and evaluation are not counted.
GPU-hours: these FLOPs at {PLANNED_MFU:.0%} of an {PEAK} in bf16: assumed, not measured.
Disk: token shards, checkpoints and exported models; the text of corpora (?) is not in it.
Done: finished, and skipped. Changed: finished with other settings or inputs; moved aside, and made anew."""


def main(arguments: Sequence[str]) -> int:
    """Does what the module's docstring says; returns the exit status."""
    record, mode, *more = arguments
    steps = read_steps(Path(record))
    if mode == "commands":
        for step in steps:
            command = [".venv/bin/hf"] if step.stage == HUB else [".venv/bin/python", "-m", step.stage]
            print(shlex.join([*command, *step.arguments]))
        return 0
    if mode == "check":
        problems = Plan(steps, Path(more[0]), False).problems()
        print("".join(f"to be mended before it can run: {problem}\n" for problem in problems), end="", file=sys.stderr)
        return 2 if problems else 0
    name, scale, run, corpus = more
    plan = Plan(steps, Path(run), scale == "paper" and not corpus)
    print(f"plan of {name} at scale {scale}, in {run} (nothing is run)\n")
    print(render(plan.rows()), NOTES, sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
