"""Train and valid sets for the two refiners: who is on which side, which examples are drawn, and the files.

Ids, classes and domains are held while the sets are drawn; texts are only streamed past, when the files are written.
"""

import functools
import logging
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from annotation import seeds, tables
from annotation.card import ExampleCounts
from annotation.set_configs import Balance, SetsConfig
from annotation.tables import Row, RowWriter
from prox.errors import UserError
from prox.progress import track

if TYPE_CHECKING:
    from tldextract import TLDExtract

log = logging.getLogger("prox")

Side = Literal["train", "valid"]
SIDES: tuple[Side, ...] = ("train", "valid")
TASKS = ("document", "chunk")


@dataclass(frozen=True, slots=True)
class Page:
    """What is held of a document. ``domain`` is empty without an address; ``side`` is where its source puts it."""

    id: str
    program: str
    domain: str = ""
    side: Side | None = None


class ChunkLabel(NamedTuple):
    """What is held of a chunk."""

    id: str
    first_line: int
    is_untouched: bool


Key = tuple[str, int]
"""A document's id and a chunk's first line; 0 for a document."""
Members = dict[str, set[Key]]
"""Which examples each set holds, by its name: ``document_train``, ``document_valid``, ``chunk_train``, ..."""


def domain_of(url: Any) -> str:
    """The registrable domain of an address (``b.co.uk``), the host of a number; empty for what is no address.

    Hosts of a common owner count as one (``github.io``): it is the coarser choice, which leaks less.
    """
    if not isinstance(url, str):
        return ""
    parts = _domains()(url.strip())
    if parts.suffix:
        return parts.top_domain_under_public_suffix.lower()
    labels = [*parts.subdomain.split(".")[-1:], parts.domain]  # the list's own rule for endings that it lacks
    return ".".join(filter(None, labels)).lower()


@functools.cache
def _domains() -> "TLDExtract":
    from tldextract import TLDExtract

    return TLDExtract(suffix_list_urls=(), cache_dir=None)  # the list that came with it: never the network


def assign_sides(config: SetsConfig, pages: Iterable[Page]) -> dict[str, Side]:
    """The side of each document (or of each domain's documents).

    A document of the train side whose domain is on the valid side has none: it must go. By share, adding documents
    never moves an id that was there to the other side.

    Raises:
        UserError: nothing to split by, or fewer documents than are to be held out.
    """
    pages = list(pages)
    by_domain = config.split_by == "domain"
    if by_domain and not any(page.domain for page in pages):
        raise UserError(
            f"--split_by domain: no document has an address in its metadata {config.url_column!r}: name the key with "
            "--url_column, or split by document"
        )
    groups = {page.id: seeds.key_of("domain", page.domain) if by_domain and page.domain else page.id for page in pages}
    sizes: dict[str, int] = {}
    fixed: dict[str, Side] = {}
    for page in pages:
        group = groups[page.id]
        sizes[group] = sizes.get(group, 0) + 1
        if page.side is not None and fixed.get(group) != "valid":
            fixed[group] = page.side
    drawn = _draw_valid(config, {group: size for group, size in sizes.items() if group not in fixed})
    sides: dict[str, Side] = {}
    for page in pages:
        group = groups[page.id]
        side = fixed.get(group) or ("valid" if group in drawn else "train")
        if page.side in (None, side):
            sides[page.id] = side
    return sides


def _draw_valid(config: SetsConfig, sizes: Mapping[str, int]) -> set[str]:
    """Groups (of ``sizes`` documents each) to hold out."""
    ranks = {group: seeds.random_rank(config.seed, "valid", group) for group in sizes}
    if config.num_valid < 0:
        return {group for group, rank in ranks.items() if rank < config.valid_share * 2**64}
    total = sum(sizes.values())
    if config.num_valid >= total:
        raise UserError(
            f"--num_valid {config.num_valid} leaves none of {total} documents to train on: give a smaller number"
        )
    drawn, left = set(), config.num_valid
    for group in sorted(ranks, key=lambda group: (ranks[group], group)):
        if sizes[group] <= left:
            drawn.add(group)
            left -= sizes[group]
        if not left:
            break
    return drawn


def draw_sets(
    config: SetsConfig, pages: Iterable[Page], sides: Mapping[str, Side], chunks: Iterable[ChunkLabel]
) -> Members:
    """Which examples the four sets hold; chunks of documents without a side are left out.

    Raises:
        UserError: a set is empty: it would fail only after a refiner has been trained.
    """
    classes: dict[str, tuple[list[Key], list[Key]]] = {f"{task}_{side}": ([], []) for task in TASKS for side in SIDES}
    for page in pages:
        if page.id in sides:
            classes[f"document_{sides[page.id]}"][page.program == tables.KEEP_DOC].append((page.id, 0))
    for chunk in chunks:
        if chunk.id in sides:
            classes[f"chunk_{sides[chunk.id]}"][chunk.is_untouched].append((chunk.id, chunk.first_line))
    limits: dict[str, tuple[Balance, int]] = {
        "document_train": (config.document_balance, config.max_train_documents),
        "document_valid": ("natural", -1),
        "chunk_train": (config.chunk_balance, config.max_train_chunks),
        "chunk_valid": ("natural", config.max_valid_chunks),
    }
    members = {name: _draw(classes[name], *limits[name], config.seed) for name in classes}
    _require_examples(config, members)
    for name in config.two_class_sets():
        if not all(classes[name]):
            log.warning("%s has examples of one class only: a refiner can't learn to tell two apart from it", name)
    return members


def _draw(classes: tuple[list[Key], list[Key]], balance: Balance, limit: int, seed: int) -> set[Key]:
    """The keys; where balance is asked for, the larger class cut at random to the size of the smaller one."""
    if balance == "natural":
        return _draw_keys([*classes[0], *classes[1]], limit, seed, "size")
    size = min(len(members) for members in classes)
    if limit >= 0:
        size = min(size, limit // 2)
    return set().union(*(_draw_keys(members, size, seed, "balance") for members in classes))


def _draw_keys(keys: list[Key], count: int, seed: int, purpose: str) -> set[Key]:
    if count == -1 or count >= len(keys):
        return set(keys)
    by_name = {seeds.key_of(*key): key for key in keys}
    return {by_name[name] for name in seeds.draw(by_name, count, seed, purpose)}


def _require_examples(config: SetsConfig, members: Members) -> None:
    if all(members.values()):
        return
    counts = ", ".join(f"{name} {len(keys)}" for name, keys in members.items())
    held_out = f"--num_valid {config.num_valid}" if config.num_valid >= 0 else f"--valid_share {config.valid_share}"
    balanced = "balanced" in (config.document_balance, config.chunk_balance)
    raise UserError(
        f"a set is empty ({counts}): annotate more documents (see what is set aside, and why), or change {held_out} "
        "(larger for an empty valid set, smaller for an empty train set; --num_valid names a number)"
        + ("; `balanced` empties a set that lacks one class" if balanced else "")
    )


def write_sets(
    folder: Path, members: Members, domains: Mapping[str, str], documents: Iterable[Row], chunks: Iterable[Row]
) -> dict[str, Any]:
    """Writes ``<set>.jsonl`` for every set; returns what the card says of them.

    ``documents`` and ``chunks`` may hold rows that no set wants. ``domains`` gives a document's domain by its id.
    """
    counts = {name: ExampleCounts(domains) for name in members}
    with ExitStack() as files:
        writers = {name: files.enter_context(RowWriter(folder / f"{name}.jsonl")) for name in members}
        for task, rows in zip(TASKS, (documents, chunks), strict=True):
            names = [f"{task}_{side}" for side in SIDES]
            for row in track(rows, f"writing the {task} sets", None, f"{task}s"):
                key = (row["id"], row.get("first_line", 0))
                for name in names:
                    if key in members[name]:
                        writers[name].add(row)
                        counts[name].add(row)
    return {
        "sets": {name: count.facts() for name, count in counts.items()},
        "sides": _facts_of_sides(members, domains),
    }


def _facts_of_sides(members: Members, domains: Mapping[str, str]) -> dict[str, Any]:
    """Documents that examples of a side come from, and their domains where any has an address."""
    ids = {side: {key[0] for task in TASKS for key in members[f"{task}_{side}"]} for side in SIDES}
    found = {side: {domains[key] for key in ids[side] if domains.get(key)} for side in SIDES}
    facts: dict[str, Any] = {f"{side}_documents": len(ids[side]) for side in SIDES}
    if any(found.values()):
        facts |= {f"{side}_domains": len(found[side]) for side in SIDES}
        facts["domains_on_both_sides"] = len(found["train"] & found["valid"])
    return facts
