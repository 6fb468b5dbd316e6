"""Errors whose message is meant for the person at the keyboard."""


class UserError(Exception):
    """Something the user can mend: the message names the offending value and the remedy.

    The command line prints it as one ``error:`` line without a traceback and exits with status 1.
    """


class ConfigError(UserError):
    """A config that cannot work; raised before any work starts, with every fault found (exit status 2)."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(f"  - {problem}" for problem in problems))


class Pending(UserError):
    """The step's work is under way elsewhere; the same command finishes it later (exit status 3)."""
