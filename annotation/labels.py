"""What a page's labels ask for, as programs: one for the whole page, cut to its chunks.

No programs are given that, run by the executor on their chunks, don't make the cleaned page again.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from datatrove.data import Document

from annotation.set_configs import PairsConfig
from prox.assembly import join_chunks
from prox.chunking import Chunk
from prox.confusion import removed_lines
from prox.executor import execute
from prox.pairs import program_from_pair
from prox.program import KeepChunk, Normalize, Program, RemoveLines, remove_numbers
from prox.tagging import are_probabilities
from prox.words import count_words


class Unusable(Exception):
    """A document whose labels can't be used; carries the reason."""


@dataclass(frozen=True)
class Cleaning:
    """What a document's labels ask for: calls for the whole document, in order, and the lines they leave open."""

    removals: tuple[RemoveLines, ...]
    text: str
    """What the calls leave of the document."""
    clean_words: int
    """Words of the clean text: the given one, or what the calls leave."""
    replacements: tuple[Normalize, ...] = ()
    ambiguous: frozenset[int] = frozenset()
    is_exact: bool = True
    """Whether the calls give the clean text, character by character."""
    num_left_out: int = 0
    """Strings that should go, for which there is no call."""
    extra_share: float = 0.0
    """Share of the words left that the clean text lacks."""
    missing_share: float = 0.0
    """Share of the clean text's words that are not left."""
    teacher: tuple[float, ...] = ()
    """How likely a teacher finds it that each line is to be removed; empty where none was asked."""


def clean_by_lines(document: Document, noise_column: str, ambiguous_column: str = "") -> Cleaning:
    """The cleaning that labelled lines ask for. Ambiguous ones stay.

    Raises:
        Unusable: ``labels_missing``, ``labels_unreadable``, ``labels_out_of_range`` or ``labels_contradict``.
    """
    return _clean(document, *labelled_lines(document, noise_column, ambiguous_column))


def clean_by_teacher(
    document: Document, teacher_column: str, noise_column: str, ambiguous_column: str = ""
) -> Cleaning:
    """``clean_by_lines``, with what a teacher says of the lines.

    A document that only the teacher has seen is cleaned as it says, and all of its lines are open.

    Raises:
        Unusable: as ``clean_by_lines``; ``teacher_unreadable``, where there is not one probability a line.
    """
    teacher = _probabilities(document, teacher_column)
    if not teacher or document.metadata.get(noise_column) is not None:
        return replace(clean_by_lines(document, noise_column, ambiguous_column), teacher=teacher)
    noise = frozenset(number for number, probability in enumerate(teacher) if probability >= 0.5)
    return replace(_clean(document, noise, frozenset()), ambiguous=frozenset(range(len(teacher))), teacher=teacher)


def labelled_lines(
    document: Document, noise_column: str, ambiguous_column: str = ""
) -> tuple[frozenset[int], frozenset[int]]:
    """(numbers of the lines to remove, of those left open), by the metadata; see ``clean_by_lines``."""
    num_lines = document.text.count("\n") + 1
    noise = _line_numbers(document, noise_column, num_lines)
    if noise is None:
        raise Unusable(f"labels_missing: no {noise_column!r} in the metadata")
    ambiguous = _line_numbers(document, ambiguous_column, num_lines) if ambiguous_column else None
    if noise and ambiguous and (both := noise & ambiguous):
        raise Unusable(f"labels_contradict: line {min(both)} is both noise and ambiguous")
    return noise, ambiguous or frozenset()


def _clean(document: Document, noise: frozenset[int], ambiguous: frozenset[int]) -> Cleaning:
    removals = tuple(remove_numbers(sorted(noise)))
    cleaned = _run(removals, document.text)
    return Cleaning(removals, cleaned, count_words(cleaned), ambiguous=ambiguous)


def _probabilities(document: Document, column: str) -> tuple[float, ...]:
    """The teacher's probabilities in a metadata key; none where it is absent or null."""
    value, num_lines = document.metadata.get(column), document.text.count("\n") + 1
    if value is None:
        return ()
    if not are_probabilities(value, num_lines):
        raise Unusable(
            f"teacher_unreadable: {column!r} holds {str(value)[:40]}, not {num_lines} numbers from 0 to 1, one a line"
        )
    return tuple(value)


def _line_numbers(document: Document, column: str, num_lines: int) -> frozenset[int] | None:
    """The line numbers in a metadata key; None where it is absent or null."""
    value = document.metadata.get(column)
    if value is None:
        return None
    if not isinstance(value, list):
        raise Unusable(f"labels_unreadable: {column!r} holds a {type(value).__name__}, not a list")
    for item in value:
        # Tables with gaps turn whole numbers into floats.
        if type(item) is not int and not (isinstance(item, float) and item.is_integer()):
            raise Unusable(f"labels_unreadable: {column!r} holds {str(item)[:40]!r}, which is no whole number")
        if not 0 <= item < num_lines:
            raise Unusable(f"labels_out_of_range: {column!r} holds {item:.0f}, the lines are 0 to {num_lines - 1}")
    return frozenset(map(int, value))


def _run(calls: Sequence[RemoveLines | Normalize], text: str) -> str:
    return execute(Program(tuple(calls) or (KeepChunk(),)), text).text


def clean_by_pair(document: Document, config: PairsConfig) -> Cleaning:
    """The cleaning that makes the clean text of a metadata key out of the document.

    Raises:
        Unusable: ``clean_missing``, ``clean_unreadable``, or, where the one is no cleaning of the other,
            ``low_recall``, ``too_much_extra`` or ``too_much_missing``.
    """
    clean = document.metadata.get(config.clean_column)
    if clean is None:
        raise Unusable(f"clean_missing: no {config.clean_column!r} in the metadata")
    if not isinstance(clean, str):
        raise Unusable(f"clean_unreadable: {config.clean_column!r} holds a {type(clean).__name__}, not a string")
    pair = program_from_pair(document.text, clean)
    if pair.recall < config.min_recall:
        raise Unusable(f"low_recall: {pair.recall:.3f} of the clean text is in the document")
    if pair.extra_share > config.max_extra_share:
        raise Unusable(f"too_much_extra: {pair.extra_share:.3f} of the words left are not in the clean text")
    if pair.missing_share > config.max_missing_share:
        raise Unusable(f"too_much_missing: {pair.missing_share:.3f} of the clean text's words are not left")
    removals = tuple(call for call in pair.operations if isinstance(call, RemoveLines))
    replacements = tuple(call for call in pair.operations if isinstance(call, Normalize))
    return Cleaning(
        removals,
        _run((*removals, *replacements), document.text),
        count_words(clean),
        replacements,
        is_exact=pair.is_exact,
        num_left_out=pair.num_left_out,
        extra_share=pair.extra_share,
        missing_share=pair.missing_share,
    )


def chunk_programs(cleaning: Cleaning, chunks: Sequence[Chunk]) -> list[Program]:
    """A program for each of a document's chunks.

    Raises:
        Unusable: ``programs_differ``: run on their chunks they don't do what the cleaning does to the document. Lines
            of white space are not compared: the executor removes a chunk of which nothing else is left.
    """
    programs = [restrict(cleaning.removals, cleaning.replacements, chunk.text, chunk.first_line) for chunk in chunks]
    executions = [
        execute(program, chunk.text, chunk.first_line) for program, chunk in zip(programs, chunks, strict=True)
    ]
    for call in (call for execution in executions for call in execution.calls):
        if call.status not in ("applied", "kept"):
            raise Unusable(f"programs_differ: {call.status}: {str(call.operation)[:200]}")
    if _written_lines(join_chunks(executions) or "") != _written_lines(cleaning.text):
        raise Unusable("programs_differ: the chunks together are not the cleaned document")
    return programs


def _written_lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


def restrict(removals: Sequence[RemoveLines], replacements: Sequence[Normalize], text: str, first_line: int) -> Program:
    """What a document's calls do in one of its chunks, as a program of the chunk's own.

    ``removals`` are ascending and apart. Replacements that change no kept line of the chunk are left out. Where nothing
    but white space would be left all lines are removed, as the executor would do anyway. Nothing to do is
    ``keep_chunk()``.
    """
    lines = text.split("\n")
    last_line = first_line + len(lines) - 1
    begin = bisect_left(removals, first_line, key=lambda call: call.line_end)
    end = bisect_right(removals, last_line, key=lambda call: call.line_start)
    ranges = [
        RemoveLines(max(call.line_start, first_line), min(call.line_end, last_line)) for call in removals[begin:end]
    ]
    removed = removed_lines(Program(tuple(ranges)), first_line, len(lines))
    kept = "\n".join(line for number, line in enumerate(lines, first_line) if number not in removed)
    calls: list[Normalize] = []
    for call in replacements:
        if call.source_str in kept:
            kept = kept.replace(call.source_str, call.target_str)
            calls.append(call)
    if (ranges or calls) and not kept.strip() and text.strip():
        return Program((RemoveLines(first_line, last_line),))
    return Program((*ranges, *calls) or (KeepChunk(),))
