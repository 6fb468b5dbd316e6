"""From a refiner's answer to the program that is run: the scores of a checkpoint and inference must read it alike."""

from dataclasses import replace

from prox.dialogue import Dialogue
from prox.engines import Completion
from prox.operations import shift_lines
from prox.program import Fault, Program, Style, parse_program

CUT_OFF = "cut off within a line"


def is_cut_off(completion: Completion) -> bool:
    """True when the token limit, or the engine at a loop, ended the answer within a line."""
    return completion.finish_reason != "stop" and not completion.text.endswith("\n")


def in_document(completion: Completion, dialogue: Dialogue, first_line: int) -> Completion:
    """An answer about the chunk that begins with a document's line ``first_line``, with the document's line numbers."""
    offset = first_line - dialogue.first_number(first_line)
    return replace(completion, text=shift_lines(completion.text, offset)) if offset else completion


def program_of(completion: Completion, style: Style) -> Program:
    """The program an answer says, in the dialogue's ``style``."""
    return read_program(completion.text, style, is_cut_off(completion))


def read_program(answer: str, style: Style, cut_off: bool) -> Program:
    """The same from what a ledger keeps of an answer.

    In the compact style a cut-off last line is a fault: it could read as an edit that was not meant (``[003]-[007]`` as
    ``[003]``). A call is either complete, or a fault by itself.
    """
    if not cut_off or style == "calls":
        return parse_program(answer, style)
    answer = answer.replace("\r\n", "\n").replace("\r", "\n")
    whole, _, last = answer.rpartition("\n")
    program = parse_program(whole, style)
    return Program(program.operations, (*program.faults, Fault(answer.count("\n"), last[:200], CUT_OFF)))
