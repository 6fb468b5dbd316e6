"""Prompts as files: found by name or path, identified by their hash, filled by Jinja2 or at a marker of their own.

A document is a value of the template, never part of it: markup inside a document is not evaluated.
"""

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

from prox.errors import UserError

FOLDER = Path(__file__).parent / "prompts"


@dataclass(frozen=True)
class Prompt:
    """A prompt file's name, the SHA-256 of its content, and the content."""

    name: str
    sha256: str
    text: str
    marker: str = ""
    """What stands for the document in a file that is no Jinja2 template (`<EXAMPLE>` in the published wording)."""

    @property
    def mark(self) -> dict[str, str]:
        """What a row says of its prompt."""
        return {"file": self.name, "sha256": self.sha256}

    def message(self, document: str) -> dict[str, str]:
        """The user's turn about a document."""
        return {"role": "user", "content": self.fill(document=document)}

    def fill(self, **values: str) -> str:
        """The prompt with its placeholders replaced; an unknown placeholder is a ``UserError``."""
        if self.marker:
            (value,) = values.values()
            return self.text.replace(self.marker, value)
        import jinja2

        try:
            return _template(self.text).render(**values)
        except jinja2.UndefinedError as error:
            raise UserError(f"prompt {self.name}: {error}; it may use {{{{ {' }}, {{ '.join(values)} }}}}") from None


@functools.lru_cache(maxsize=16)
def _template(text: str) -> "jinja2.Template":  # noqa: F821 - imported where it is needed, to start fast
    import jinja2

    return jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False).from_string(text)


def find_prompt(name: str) -> Path | None:
    """The file of a prompt: a path, else a name in this stage's folder; None when there is none."""
    for path in (Path(name), FOLDER / name):
        if path.is_file():
            return path
    return None


def load_prompt(name: str, marker: str = "") -> Prompt:
    """Reads a prompt file, which is a Jinja2 template unless the marker is in it; a missing one is a ``UserError``."""
    path = find_prompt(name)
    if path is None:
        available = ", ".join(sorted(file.name for file in FOLDER.glob("*.txt")))
        raise UserError(f"prompt {name!r} does not exist: give a path, or one of {available}")
    content = path.read_bytes()
    text = content.decode("utf-8")
    return Prompt(path.name, hashlib.sha256(content).hexdigest(), text, marker if marker in text else "")


def prompt_problems(option: str, name: str, placeholder: str, marker: str = "") -> list[str]:
    """Reasons why a prompt can't be used: missing, unreadable, or without its placeholder."""
    import jinja2

    try:
        prompt = load_prompt(name, marker)
        filled = prompt.fill(**{placeholder: "\N{SNOWMAN}"})
    except UserError as error:
        return [f"--{option}: {error}"]
    except (OSError, UnicodeDecodeError, jinja2.TemplateSyntaxError) as error:
        return [f"--{option} {name} can't be read as a prompt: {error}"]
    if "\N{SNOWMAN}" not in filled:
        wanted = f"{{{{ {placeholder} }}}}"
        if placeholder == "document":
            wanted += f" or {marker}" if marker else " (nor does --prompt_marker say what stands for it)"
        return [f"--{option} {name} never uses {wanted}: put it where the text belongs"]
    return []
