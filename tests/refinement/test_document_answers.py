"""What becomes of a document program's text."""

import pytest

from refinement.document import read_answer


@pytest.mark.parametrize(
    ("program", "keep", "readable"),
    [
        ("drop_doc()", False, True),
        ("```python\ndrop_doc()\n```", False, True),
        ("keep_doc()", True, True),
        ("keep_doc()  # a raindrop", True, True),
        ("I would not drop this page", True, False),
        ("keep_doc()\ndrop_doc()", True, False),
        ("", True, False),
        ("garbage", True, False),
        ("Do not write:\ndrop_doc()", True, False),
        ("drop_doc()\nremove_lines(0, 1)", True, False),
        ("drop", True, False),
        ("DROP_DOC()", True, False),
        ("remove_doc()", True, False),
    ],
)
def test_document_answers(program: str, keep: bool, readable: bool) -> None:
    answer = read_answer(program)
    assert (answer.keep, answer.readable) == (keep, readable)
