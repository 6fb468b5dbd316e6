"""From a refiner's answer to the program that is run: the scores of a checkpoint and inference must read it alike."""

from prox.engines import Completion
from prox.program import Program, Style, parse_program


def is_cut_off(completion: Completion) -> bool:
    """True when the token limit ended the answer within a line."""
    return completion.finish_reason == "length" and not completion.text.endswith("\n")


def program_of(completion: Completion, style: Style) -> Program:
    """The program an answer says, in the dialogue's ``style``.

    A cut-off last line is left out: it could read as an edit that was not meant (``[003]-[007]`` as ``[003]``).
    """
    text = completion.text.rpartition("\n")[0] if is_cut_off(completion) else completion.text
    return parse_program(text, style)
