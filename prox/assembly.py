"""A document from its chunks: every chunk's program is run by itself, the chunks are joined, the whole is judged."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from prox.chunking import Chunk
from prox.engines import Failure
from prox.executor import DEFAULT_GUARDS, Execution, Guards, count_bad_calls, execute
from prox.program import Program
from prox.words import count_words

DocumentVerdict = Literal[
    "unchanged",
    "edited",
    "rejected",  # a document guard took back every chunk's edits
    "failed",  # the refiner gave no answer to one of its chunks, so none is edited
    "dropped",
]


@dataclass(frozen=True)
class DocumentGuards:
    """When an edited document is dropped or its edits are taken back; one that no program changed always stays."""

    min_words_left: int = 11
    """Fewest words an edited document keeps (the authors drop at 10 or fewer)."""
    min_kept_share: float = 0.05
    """An edited document that keeps this share of its words or less is dropped."""
    max_bad_calls: int | None = None
    """More bad calls than this in all chunks together take back every edit of the document (1 is the authors' rule);
    unset, a bad program costs its own chunk's edits only."""

    def problems(self) -> list[str]:
        """Settings that can't be meant, as ``<field> <value>: <remedy>``."""
        found = []
        if not 0.0 <= self.min_kept_share <= 1.0:
            found.append(f"min_kept_share {self.min_kept_share}: must lie between 0 and 1")
        for name in ("min_words_left", "max_bad_calls"):
            if (getattr(self, name) or 0) < 0:
                found.append(f"{name} {getattr(self, name)}: must be at least 0")
        return found


DEFAULT_DOCUMENT_GUARDS = DocumentGuards()


@dataclass(frozen=True)
class RefinedDocument:
    """What is left of a document: its text (empty when dropped), the verdict, the guard (or the failure) that decided,
    the chunks' executions in order.
    """

    text: str
    verdict: DocumentVerdict
    reason: str
    executions: tuple[Execution, ...]


def join_chunks(executions: Sequence[Execution]) -> str | None:
    """The document's refined text, its chunks in order; None when every chunk was removed."""
    kept = [execution.text for execution in executions if execution.verdict != "removed"]
    return "\n".join(kept) if kept else None


def refine_document(
    text: str,
    chunks: Sequence[tuple[Chunk, Program | Failure | None]],
    guards: Guards = DEFAULT_GUARDS,
    document_guards: DocumentGuards = DEFAULT_DOCUMENT_GUARDS,
) -> RefinedDocument:
    """Runs the chunks' programs and joins what is left.

    ``chunks`` are all of ``text`` in order, as ``split_into_chunks`` gives them; a chunk whose program is None was seen
    by no refiner and stays as it is; one with a ``Failure`` leaves the whole document as it is. Never raises, whatever
    the programs.
    """
    executions = tuple(_run(chunk, program, guards) for chunk, program in chunks)
    failures = [program.reason for _, program in chunks if isinstance(program, Failure)]
    if failures:
        return RefinedDocument(text, "failed", failures[0], executions)
    refined = join_chunks(executions)
    if refined == text:
        return RefinedDocument(text, "unchanged", "", executions)
    bad_calls = sum(count_bad_calls(execution.calls, guards) for execution in executions)
    if document_guards.max_bad_calls is not None and bad_calls > document_guards.max_bad_calls:
        return RefinedDocument(text, "rejected", "max_bad_calls", executions)
    if reason := _reason_to_drop(text, refined, document_guards):
        return RefinedDocument("", "dropped", reason, executions)
    return RefinedDocument(refined or "", "edited", "", executions)


def _run(chunk: Chunk, program: Program | Failure | None, guards: Guards) -> Execution:
    if isinstance(program, Program):
        return execute(program, chunk.text, chunk.first_line, guards)
    return Execution(chunk.text, "unchanged", chunk.skip_reason if program is None else "failed", ())


def _reason_to_drop(before: str, after: str | None, guards: DocumentGuards) -> str:
    if after is None:
        return "all_lines_removed"
    words_before, words_after = count_words(before), count_words(after)
    if words_before and words_after / words_before <= guards.min_kept_share:
        return "min_kept_share"
    return "min_words_left" if words_after < min(guards.min_words_left, words_before) else ""
