"""The ways documents took through a run: from the corpus through each step with programs, as `report` browses them."""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.report_counts import ledger_kind
from evaluation.report_sources import Source, arm_names, way_to


@dataclass(frozen=True)
class Step:
    """A step of a chain; ``kind`` is that of its ledger (``document``, ``chunk``), None for rules and the like."""

    arm: str
    source: Source
    kind: str | None


@dataclass(frozen=True)
class Chain:
    """A corpus and the steps that lead from it to an arm."""

    run: str
    arm: str
    root: Source
    steps: tuple[Step, ...]
    beside: tuple[Step, ...] = ()
    """Steps of other arms that read the same corpus and only keep or drop."""


def find_chains(sources: Sequence[Source]) -> tuple[list[Chain], list[str]]:
    """One chain for each last step with programs; without any, for each last step that drops documents."""
    steps = [source for source in sources if source.is_step()]
    # What can't be read is told where it is counted.
    kinds = {source.folder: ledger_kind(source, []) for source in steps}
    ways = {source.folder: way_to(source, sources) for source in steps}
    names = arm_names(sources)
    problems = []

    def step(source: Source) -> Step:
        return Step(names.get(source.folder.resolve(), source.name), source, kinds.get(source.folder))

    asked = [source for source in steps if kinds[source.folder]]
    candidates = asked or [source for source in steps if len(ways[source.folder]) > 1]
    passed = {one.folder for source in candidates for one in ways[source.folder][:-1]}
    chains = []
    for source in candidates:
        if source.folder in passed:
            continue
        root, *way = ways[source.folder]
        if not way:
            recorded = source.config.get("documents", "its documents")
            problems.append(f"{source.run}: {source.name} can't be browsed: {recorded}, which it read, is not there")
            continue
        on_the_way = {one.folder for one in way}
        beside = [
            other
            for other in steps
            if not kinds[other.folder] and ways[other.folder][:-1] == [root] and other.folder not in on_the_way
        ]
        chains.append(Chain(source.run, step(source).arm, root, tuple(map(step, way)), tuple(map(step, beside))))
    return chains, problems
