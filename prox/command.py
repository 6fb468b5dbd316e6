"""The command line every stage shares: ``python -m <stage> <verb> --config a.yaml [--config b.yaml] [--key value]``.

A verb is a config dataclass and a function. The driver parses and validates the config, prints the plan for
``--dry_run true``, skips the verb when its output is committed under the same fingerprint, and commits the output when
the function returns. Configs stack: later files win, the command line wins over files.
"""

import dataclasses
import errno
import importlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, set_parsing_settings

from prox import artifact, slurm_queue
from prox.errors import ConfigError, Pending, UserError
from prox.ranks import is_main_process
from prox.tracking import publish_step

set_parsing_settings(docstring_parse_attribute_docstrings=True)

log = logging.getLogger("prox")

LONGEST_START = 600.0
"""Seconds that other processes wait for the main one to begin."""


@dataclass
class CommandConfig:
    """What every verb's config has. Subclasses add their fields, with a docstring (and unit) under each."""

    output: Path
    """Folder of the artefact this command writes; committed whole (a `_SUCCESS` file appears last)."""
    seed: int = 0
    """Seed of everything random in this step."""
    dry_run: bool = False
    """Print the plan (inputs, sizes, estimated cost) and stop."""

    def problems(self) -> list[str]:
        """Every reason why this config can't work, each with the value and the remedy. Must not change anything."""
        return []

    def inputs(self) -> list[Path]:
        """Files and artefacts this step reads; a change in one of them makes the output stale."""
        return []

    def input_marks(self) -> list[str]:
        """Anything else the output depends on, as strings (for inputs that are not files)."""
        return []

    def plan(self) -> dict[str, Any]:
        """What a dry run prints: cheap to compute, with units in the keys."""
        return {}

    def volatile_fields(self) -> frozenset[str]:
        """Fields that say how the step runs, not what it produces; a change in one leaves finished work valid."""
        return VOLATILE_FIELDS


# Fields that say how a step runs, not what it produces: changing them must not make finished work stale.
VOLATILE_FIELDS = frozenset({"output", "dry_run", "workers", "executor", "tracking"})


@dataclass(frozen=True)
class Verb:
    """One subcommand: the config's class, the function as ``"package.module:function"`` (imported only when run)."""

    config: type[CommandConfig]
    function: str
    help: str
    distributed: bool = False
    """Several processes may run it together (torchrun, srun, Lightning's launcher)."""
    positional: str = ""
    """The field that a first argument without a dash sets: with `number`, ``table 2`` is ``table --number 2``."""


def function_of(verb: Verb) -> Callable[[CommandConfig], dict[str, Any] | None]:
    """What the verb runs."""
    module, function = verb.function.split(":")
    return getattr(importlib.import_module(module), function)


def settings_of(config: CommandConfig) -> dict[str, Any]:
    """The part of a config that decides the output."""
    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    inputs = {str(path): number for number, path in reversed(list(enumerate(config.inputs())))}

    def placeless(value: Any) -> Any:
        # An input's identity is its fingerprint, not the place it lies at; its number says which of them it is. A
        # checkpoint's place is text, as it may be a name on the hub.
        if isinstance(value, Path | str) and str(value) in inputs:
            return f"<input {inputs[str(value)]}>"
        if isinstance(value, list):
            return [placeless(one) for one in value]
        if isinstance(value, dict):
            return {name: placeless(one) for name, one in value.items()}
        if dataclasses.is_dataclass(value):
            return {field.name: placeless(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return value

    return {name: placeless(value) for name, value in fields.items() if name not in config.volatile_fields()}


def inherit_help(parser: ArgumentParser, config: type[CommandConfig]) -> None:
    """Gives options the docstrings of the fields they come from; jsonargparse reads those of the class itself only."""
    import docstring_parser

    texts: dict[str, str] = {}
    for parent in config.__mro__[:-1]:
        for field in docstring_parser.parse_from_object(parent).params:
            texts.setdefault(field.arg_name, field.description or "")
    for action in parser._actions:
        if action.help in (None, "", "_EMPTY_HELP_"):  # jsonargparse's own mark
            action.help = texts.get(action.dest) or action.help


def build_parser(stage: str, verbs: dict[str, Verb], with_help: bool = False) -> ArgumentParser:
    """The stage's parser; ``with_help`` reads the help texts, which takes longer than parsing does."""
    parser = ArgumentParser(prog=f"python -m {stage}", description=importlib.import_module(stage).__doc__)
    subcommands = parser.add_subcommands(dest="verb")
    for name, verb in verbs.items():
        verb_parser = ArgumentParser(description=verb.help)
        verb_parser.add_argument("--config", action="config", help="YAML file; may be given several times, later wins.")
        verb_parser.add_class_arguments(verb.config, as_group=False)
        if with_help:
            inherit_help(verb_parser, verb.config)
        subcommands.add_subcommand(name, verb_parser, help=verb.help)
    return parser


def name_positional(verbs: dict[str, Verb], arguments: Sequence[str]) -> list[str]:
    """``arguments`` with the option's name before an argument that directly follows a verb and has none."""
    verb = verbs.get(arguments[0]) if len(arguments) > 1 else None
    if verb is None or not verb.positional or arguments[1].startswith("-"):
        return list(arguments)
    return [arguments[0], f"--{verb.positional}", *arguments[1:]]


def parse(stage: str, verbs: dict[str, Verb], arguments: Sequence[str]) -> tuple[str, CommandConfig]:
    """Parses ``arguments`` to a verb's name and its config; exits with status 2 on an unknown key or a wrong type."""
    arguments = name_positional(verbs, arguments)
    if arguments and arguments[0] in verbs:  # building the others' parsers takes longer than everything else here
        verbs = {arguments[0]: verbs[arguments[0]]}
    parser = build_parser(stage, verbs, with_help=bool({"-h", "--help"} & set(arguments)))
    namespace = parser.instantiate_classes(parser.parse_args(arguments))
    fields = vars(namespace[namespace.verb])
    fields.pop("config", None)
    return namespace.verb, verbs[namespace.verb].config(**fields)


def record_among(arguments: Sequence[str]) -> str | None:
    """What is wrong with a ``--config`` that is the ``config.yaml`` which a step leaves in its output, if one is."""
    following = zip(arguments, [*arguments[1:], ""], strict=True)
    for argument, value in following:
        option, _, own = argument.partition("=")
        path = Path(own or value)
        if option != "--config" or path.name != artifact.SNAPSHOT or not path.is_file():
            continue
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            continue  # the parser says what is wrong with it
        if isinstance(content, dict) and {"fingerprint", "config"} <= content.keys():
            return (
                f"--config {path} is the record of a step, which also says what ran and when: copy what is under its "
                "`config:` to a file of its own, without `output`"
            )
    return None


def configure_logging() -> None:
    """Plain lines with the time on stderr; libraries speak from warnings on, and draw bars on terminals only."""
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # transformers goes by it too
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    log.setLevel(logging.INFO if is_main_process() else logging.WARNING)


def print_plan(command: str, config: CommandConfig) -> None:
    """Prints the plan of a dry run."""
    print(f"plan of `{command}` (nothing is run)")
    print(f"  output: {config.output}" + (" (committed)" if artifact.is_committed(config.output) else ""))
    for path in config.inputs():
        print(f"  input: {path}")
    for key, value in config.plan().items():
        print(f"  {key}: {value}")


def overlaps(config: CommandConfig) -> list[str]:
    """Inputs that this step would overwrite or move away: its output folder itself, or anything in it."""
    output = config.output.resolve()
    return [
        f"--output {config.output} holds the input {path}: give a folder of its own"
        for path in config.inputs()
        if output == path.resolve() or output in path.resolve().parents
    ]


def is_finished(command: str, output: Path, mark: str) -> bool:
    """True when ``output`` is committed under ``mark``. Otherwise makes room: work under way stays, to be resumed; an
    output of other settings is moved aside, or an earlier one of these settings moved back.
    """
    started = artifact.started_fingerprint(output)
    if started is None and output.exists():
        # A kill before the first file's rename leaves hidden files only.
        if not output.is_dir() or any(not path.name.startswith(".") for path in output.iterdir()):
            raise UserError(f"--output {output} holds what no `python -m {command}` wrote: give an empty or new folder")
    elif started is not None and started != mark:
        slurm_queue.require_none(output)  # jobs under way know their paths, and would write into the next output
        previous = artifact.set_aside(output)
        log.info("%s: config or inputs changed; the earlier output is now %s", command, previous)
        returned = artifact.take_back(output, mark)
        if returned is not None:
            log.info("%s: %s was made with this config and these inputs: it is used again", command, returned)
            started = mark
    if started == mark and artifact.is_committed(output):
        log.info("%s: skipped, %s is committed and its config and inputs are unchanged", command, output)
        return True
    if started == mark:
        log.info("%s: resuming %s", command, output)
    return False


def work_begins(output: Path, mark: str) -> bool:
    """In a process that is not the main one: waits until that has begun on ``output``, or found it finished (False)."""
    end = time.monotonic() + LONGEST_START
    while artifact.started_fingerprint(output) != mark:
        if time.monotonic() > end:
            raise UserError(f"the main process has not begun on {output}: all processes must see the same disk")
        time.sleep(0.2)
    return not artifact.is_committed(output)


def mark_of(command: str, config: CommandConfig) -> str:
    """The fingerprint of what ``config`` makes out of its inputs as they are now."""
    return artifact.fingerprint(command, settings_of(config), config.inputs(), config.input_marks())


def run_verb(command: str, verb: Verb, config: CommandConfig) -> None:
    """Validates, plans or skips, else runs the verb and commits its output."""
    problems = config.problems() + overlaps(config)
    if problems:
        raise ConfigError(problems)
    if config.dry_run:
        print_plan(command, config)
        return
    mark = mark_of(command, config)
    if verb.distributed and not is_main_process():
        # The main process keeps the artefact's books; this one only works with it.
        if work_begins(config.output, mark):
            function_of(verb)(config)
        return
    if is_finished(command, config.output, mark):
        return
    resumed = artifact.started_fingerprint(config.output) is not None
    config.output.mkdir(parents=True, exist_ok=True)
    artifact.write_snapshot(config.output, command, config, mark)
    begin = time.monotonic()
    summary = function_of(verb)(config) or {}
    seconds = time.monotonic() - begin
    artifact.commit(config.output, mark, summary, {"seconds": round(seconds, 2), "resumed": resumed})
    facts = ", ".join(f"{key} {value}" for key, value in summary.items())
    log.info("%s: done in %.0f s%s", command, seconds, f" ({facts})" if facts else "")
    if not hasattr(config, "tracking"):
        publish_step(command, config.output, config, summary)


def main(stage: str, verbs: dict[str, Verb], arguments: Sequence[str] | None = None) -> int:
    """Runs one verb of a stage; returns the exit status (0 done or skipped, 1 failed, 2 unusable config, 3 pending)."""
    # A shell starts background jobs with the interrupt ignored, and Python would keep it so.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    configure_logging()
    arguments = sys.argv[1:] if arguments is None else arguments
    if problem := record_among(arguments):
        print(f"error: {problem}", file=sys.stderr)
        return 2
    verb_name, config = parse(stage, verbs, arguments)
    command = f"{stage} {verb_name}"
    try:
        run_verb(command, verbs[verb_name], config)
    except ConfigError as error:
        print(f"error: {command}: the config can't work:\n{error}", file=sys.stderr)
        return 2
    except Pending as pending:
        print(f"{command}: {pending}", file=sys.stderr)
        return 3
    except UserError as error:
        print(f"error: {command}: {error}", file=sys.stderr)
        return 1
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        print(f"error: {command}: {error.strerror}: {error.filename}: mend it or choose another path", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f" (while writing {error.filename})" if error.filename else ""
        print(
            f"error: {command}: no space left for {config.output}{where}: free some space or choose another --output, "
            "then run the same command again; finished parts are kept",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print(f"{command}: interrupted; the same command resumes it", file=sys.stderr)
        return 130
    return 0
