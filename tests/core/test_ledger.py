"""A document from its chunks and its record: each chunk by itself, and the same text again from source and ledger."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prox import Guards, ledger, split_into_chunks
from prox.answers import CUT_OFF, read_program
from prox.assembly import DocumentGuards, refine_document
from prox.chunking import Chunk
from prox.engines import Completion
from prox.errors import UserError
from prox.program import Program, RemoveLines, parse_program
from prox.units import source_hash

SENTENCE = "Rivers carry water from the hills to the sea through wide valleys {}."
TEXT = "\n".join(SENTENCE.format(number) for number in range(12))
LINES = TEXT.split("\n")
ANYTHING = DocumentGuards(min_words_left=0, min_kept_share=0.0)


def thirds() -> list[Chunk]:
    return [Chunk(first, "\n".join(LINES[first : first + 4])) for first in (0, 4, 8)]


def refined(*programs: str | None, text: str = TEXT, **guards):
    pairs = [(chunk, None if p is None else parse_program(p)) for chunk, p in zip(thirds(), programs, strict=True)]
    return refine_document(text, pairs, **guards)


def test_a_bad_program_costs_its_own_chunk_only() -> None:
    result = refined("remove_lines(0, 0)", "foo(\nbar(\nremove_lines(4, 7)", "remove_lines(11, 11)")
    assert (result.verdict, result.reason, result.text) == ("edited", "", "\n".join(LINES[1:11]))
    assert [execution.verdict for execution in result.executions] == ["edited", "rejected", "edited"]


def test_the_authors_rule_of_two_errors_is_a_setting() -> None:
    programs = ("foo(\nremove_lines(0, 0)", "bar(", "remove_lines(11, 11)")
    assert refined(*programs).verdict == "edited"
    result = refined(*programs, document_guards=DocumentGuards(max_bad_calls=1))
    assert (result.verdict, result.reason, result.text) == ("rejected", "max_bad_calls", TEXT)
    clipped = ("remove_lines(3, 99)", "remove_lines(50, 51)", "keep_chunk()")
    guards = Guards(bad_statuses=("fault", "clipped", "out_of_range"))
    assert refined(*clipped, guards=guards, document_guards=DocumentGuards(max_bad_calls=1)).verdict == "rejected"


def test_a_program_reaches_its_own_chunk_only() -> None:
    assert refined("remove_lines(4, 11)", "keep_chunk()", "keep_chunk()").verdict == "unchanged"
    result = refined('normalize("Rivers")', "keep_chunk()", "keep_chunk()")
    assert result.text.count("Rivers") == 8


def test_a_chunk_no_refiner_saw_stays() -> None:
    result = refined("remove_lines(0, 3)", None, "remove_lines(8, 11)")
    assert result.text == "\n".join(LINES[4:8])
    assert [execution.verdict for execution in result.executions] == ["removed", "unchanged", "removed"]
    assert result.executions[1].reason == "longer_than_window"


@pytest.mark.parametrize(
    ("text", "program", "reason"),
    [
        ("one two\nthree", "keep_chunk()", ""),  # three words and no edit: stays, unlike with the authors
        ("word " * 30 + "\n" + "word " * 10, "remove_lines(0, 0)", "min_words_left"),
        ("word " * 30 + "\n" + "word " * 11, "remove_lines(0, 0)", ""),
        ("word " * 400 + "\n" + "word " * 20, "remove_lines(0, 0)", "min_kept_share"),
        ("word " * 30, "remove_lines(0, 0)", "all_lines_removed"),
        ("植物は光合成によって\n光を変えるものだといわれている", "remove_lines(0, 0)", ""),
        ("three short words\n...", "remove_lines(1, 1)", ""),
        ("...\n \n", "remove_lines(1, 1)", ""),
    ],
)
def test_document_guards(text: str, program: str, reason: str) -> None:
    result = refine_document(text, [(Chunk(0, text), parse_program(program))])
    assert result.reason == reason
    assert (result.verdict == "dropped") == bool(reason)


def test_a_cut_off_last_line_is_a_fault_and_not_run() -> None:
    # Cut after the source string, the replacement would read as a removal.
    program = read_program('[010]\n"number 11"', "compact", cut_off=True)
    assert program.operations == (RemoveLines(10, 10),)
    assert [(fault.line, fault.text, fault.reason) for fault in program.faults] == [(1, '"number 11"', CUT_OFF)]
    assert read_program("[010]\n[011]", "compact", cut_off=False).operations == (
        RemoveLines(10, 10),
        RemoveLines(11, 11),
    )


def test_a_call_cut_off_over_lines_is_one_fault() -> None:
    answer = 'remove_lines(0, 0)\nnormalize(\n  source_str="words",\n  target_str="wor'
    program = read_program(answer, "calls", cut_off=True)
    assert program.operations == (RemoveLines(0, 0),)
    assert len(program.faults) == 1
    assert read_program("[000]\r[00", "compact", cut_off=True).operations == (RemoveLines(0, 0),)


def record(text: str, window: int, answers: list[str], style: str, guards: Guards, document_guards: DocumentGuards):
    chunks = split_into_chunks(text, window)
    answers = [answers[number % len(answers)] for number in range(len(chunks))]
    rows = [
        ledger.chunk_row(
            chunk, None if chunk.skipped else Completion(answer, 9, "length" if number % 3 == 2 else "stop")
        )
        for number, (chunk, answer) in enumerate(zip(chunks, answers, strict=True))
    ]
    result = ledger.replay(text, style, rows, guards, document_guards)
    return result, ledger.document_row("d", text, style, rows, result)


texts = st.lists(st.text(max_size=12) | st.just("a b c d e f g h"), max_size=12).map("\n".join)
answers = st.lists(
    st.sampled_from(
        ["keep_chunk()", "=", "remove_lines(0, 3)", "[001]-[004]", "remove_lines(all=True)", 'normalize("a b c")', "x("]
    )
    | st.text(max_size=20),
    min_size=1,
    max_size=3,
)


@given(texts, st.integers(1, 12), answers, st.sampled_from(["calls", "compact"]))
def test_source_and_ledger_give_the_text_again(text: str, window: int, said: list[str], style: str) -> None:
    result, row = record(text, window, said, style, Guards(), DocumentGuards())
    (stored,) = pa.Table.from_pylist([row], schema=ledger.SCHEMA).to_pylist()
    again = ledger.replay(text, stored["style"], stored["chunks"], Guards(), DocumentGuards())
    assert again == result
    assert ledger.document_row("d", text, style, stored["chunks"], again) == row
    assert stored["source_hash"] == source_hash(text)
    assert stored["refined_hash"] == (None if result.verdict == "dropped" else source_hash(result.text))
    if result.verdict in ("unchanged", "rejected"):
        assert result.text == text


def test_the_ledger_replays_under_other_guards() -> None:
    _, row = record(TEXT, 30, ["foo(\nremove_lines(0, 0)"], "calls", Guards(), DocumentGuards())
    assert row["verdict"] == "edited"
    strict = ledger.replay(TEXT, "calls", row["chunks"], Guards(max_bad_calls=0), DocumentGuards())
    assert (strict.verdict, strict.text) == ("unchanged", TEXT)
    assert strict.executions[0].reason == "max_bad_calls"


def test_a_row_tells_what_each_call_did() -> None:
    _, row = record(
        TEXT, 10**6, ["remove_lines(start=0, end=2)\nnormalize('zzz')\nnonsense"], "calls", Guards(), ANYTHING
    )
    (chunk,) = row["chunks"]
    assert chunk["calls"] == [
        {"call": "remove_lines", "status": "applied", "count": 3},
        {"call": "normalize", "status": "not_found", "count": 0},
        {"call": "not a call", "status": "fault", "count": 0},
    ]
    assert chunk["program"] == "remove_lines(start=0, end=2)\nnormalize('zzz')\nnonsense"
    counts = ledger.count_rows([row])
    assert counts["documents"] == {"edited": 1}
    assert counts["calls"] == {"remove_lines": 1, "normalize": 1}
    assert counts["statuses"] == {"applied": 1, "not_found": 1, "fault": 1}


def test_a_ledger_of_another_text_is_refused() -> None:
    _, row = record(TEXT, 30, ["keep_chunk()"], "calls", Guards(), DocumentGuards())
    with pytest.raises(UserError, match="span 12 of the document's 13 lines"):
        ledger.replay(TEXT + "\nmore", "calls", row["chunks"], Guards(), DocumentGuards())
    with pytest.raises(UserError, match="another text"):
        ledger.replay(LINES[0], "calls", row["chunks"], Guards(), DocumentGuards())


def test_an_empty_program_is_counted_as_such() -> None:
    result = refine_document(TEXT, [(Chunk(0, TEXT), Program())])
    assert result.verdict == "unchanged"
    _, row = record(TEXT, 10**6, ["\n\n"], "calls", Guards(), DocumentGuards())
    assert ledger.count_rows([row])["programs"] == {"empty": 1}
