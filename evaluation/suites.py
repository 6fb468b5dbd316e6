"""``evaluation general``, ``selection`` and ``math``: the paper's suites, task by task, for any number of models."""

import importlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

from evaluation.answers import TaskScores, answers_path, write_answers, write_example
from evaluation.benchmark_data import TaskData
from evaluation.configs import installed_version
from evaluation.models import commit_of, describe, step_of
from evaluation.offline import quiet_libraries
from evaluation.records import Record, model_and_step, path_of, read_record, sha256_of_files, write_record
from evaluation.suite_configs import DEFINITION_VERSION, SuiteConfig
from prox.errors import UserError

log = logging.getLogger("prox")


@dataclass(frozen=True)
class Unit:
    """One task with one number of worked examples; what is scored, and resumed, at once."""

    task: str
    num_fewshot: int
    definition: Path
    """The file that defines the task for its harness."""

    @property
    def name(self) -> str:
        """For log lines."""
        return f"{self.task} {self.num_fewshot}-shot" if self.num_fewshot else self.task


def units_of(config: SuiteConfig) -> list[Unit]:
    """All that is to be scored for each model."""
    rounds = max(len(config.shots_of(task)) for task in config.asked())
    return [
        Unit(task, config.shots_of(task)[number], config.definition_of(task)[0])
        for number in range(rounds)
        for task in config.asked()
    ]


def score_suite(config: SuiteConfig) -> dict[str, Any]:
    """Scores every model on every unit that has no record yet; each record is written as soon as it is there.

    What fails stops neither other tasks nor other models; ``UserError`` at the end names all that failed, and leaves
    the artefact uncommitted, so that a rerun measures only those.
    """
    units = units_of(config)
    scratch = config.output / "scratch"
    with quiet_libraries(scratch, with_network=config.data is None or config.has_hub_models()):
        harness = importlib.import_module(config.MODULE)
        # Questions are laid down when first asked, once for all models.
        laid_down = cache(lambda task: config.lay_down(task, scratch.resolve() / "data" / task))
        records: list[Record] = []
        failures: list[str] = []
        for name, place in config.models.items():
            load = partial(harness.load, name, place, config, scratch.resolve())
            for record, failure in score_model(config, harness, name, place, load, units, laid_down):
                records += [record] if record is not None else []
                failures += [failure] if failure is not None else []
    if failures:
        raise UserError(
            f"{len(records)} of {len(units) * len(config.models)} evaluations have a score; what failed: "
            + "; ".join(failure.rstrip(". ") for failure in failures)
            + ". Records that are there are kept: mend these and run the same command again"
        )
    return averages(records, by_shots=config.SUITE == "selection")


def score_model(
    config: SuiteConfig,
    harness: ModuleType,
    name: str,
    place: Path,
    load: Callable[[], Any],
    units: list[Unit],
    laid_down: Callable[[str], TaskData],
) -> Iterator[tuple[Record | None, str | None]]:
    """One model's records, or what went wrong, unit by unit; ``load`` is called once there is something to score."""
    begin, asked, model = time.monotonic(), 0, None
    for number, unit in enumerate(units, start=1):
        path = path_of(config.output, name, config.SUITE, unit.task, unit.num_fewshot)
        if path.is_file():
            log.info("%s %s: %s is there already", config.SUITE, unit.name, path.name)
            yield read_record(path), None
            continue
        try:
            model = load() if model is None else model
        except Exception as error:
            # Whatever a library raises for a model that is none, or does not fit.
            log.exception("%s: %s can't be loaded", config.SUITE, name)
            yield None, f"{name} ({place}) can't be loaded: {type(error).__name__}: {error}"
            return
        try:
            data = laid_down(unit.task)
            scores = harness.score_task(model, unit, data, config)
            record = record_of(config, name, place, unit, data, scores)
        except Exception as error:
            # Whatever a library raises for one task (questions that can't be read, out of memory).
            log.exception("%s %s: %s failed", config.SUITE, unit.name, name)
            yield None, f"{name} ({place}) on {unit.name}: {type(error).__name__}: {error}"
            continue
        answers = answers_path(config.output, name, config.SUITE, unit.task, unit.num_fewshot)
        write_answers(answers, scores.answers)
        write_example(answers, scores.example)
        write_record(config.output, record, name)
        asked += 1
        left = (time.monotonic() - begin) / asked * (len(units) - number)
        place_in_row = f"{number}/{len(units)}"
        log.info("%s %s %s %s: %s, ETA %.0f s", config.SUITE, name, place_in_row, unit.name, describe(record), left)
        yield record, None


def record_of(config: SuiteConfig, name: str, place: Path, unit: Unit, data: TaskData, scores: TaskScores) -> Record:
    """The record of one score."""
    commit = commit_of(place)
    details = {"model_commit": commit} if commit else {}
    return Record(
        model=model_and_step(name)[0],
        suite=config.SUITE,
        suite_version=f"{config.HARNESS} {installed_version(config.HARNESS)}, definition {DEFINITION_VERSION}",
        task=unit.task,
        metrics=scores.metrics,
        headline=scores.headline,
        num_samples=sum(data.subsets.values()),
        stderr_method="standard error of the mean over questions; of a mean of subsets, theirs taken together",
        task_hash=sha256_of_files(*config.definition_of(unit.task)),
        data=data.description,
        data_hash=data.digest,
        model_path=str(place),
        num_fewshot=unit.num_fewshot,
        step=step_of(name, place),
        settings={**config.settings(), **scores.settings},
        details={**details, **data.details, **scores.details},
    )


def averages(records: list[Record], by_shots: bool) -> dict[str, float]:
    """Each model's mean over its tasks in percent; with ``by_shots``, for each number of worked examples."""
    groups: dict[str, list[float]] = {}
    for record in records:
        label = record.model if record.step is None else f"{record.model}@{record.step}"
        label += f" {record.num_fewshot}-shot" if by_shots else ""
        groups.setdefault(label, []).append(record.metrics[record.headline].value)
    return {label: round(100 * sum(values) / len(values), 2) for label, values in groups.items()}
