"""What LLaMA-Factory (0.9.5) needs to be told: the template that leaves the project's prompts alone."""

import contextlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prox.dialogue import Dialogue

if TYPE_CHECKING:
    from llamafactory.data.template import Template
    from transformers import PreTrainedTokenizerBase

TEMPLATE = "prox"


@contextlib.contextmanager
def without_torchaudio() -> Iterator[None]:
    """Lets LLaMA-Factory be imported where torchaudio isn't installed (it has no build for CPU).

    LLaMA-Factory imports it unconditionally for audio models, which fine-tuning on text never touches. The stand-in is
    gone afterwards, so that no other library takes it for the real one.
    """
    if importlib.util.find_spec("torchaudio") is not None:
        yield
        return
    from transformers.utils import import_utils

    import_utils.is_torchaudio_available()  # cached: answered before the stand-in can be seen
    stand_in = types.ModuleType("torchaudio")
    stand_in.__spec__ = importlib.util.spec_from_loader("torchaudio", loader=None)
    sys.modules["torchaudio"] = stand_in
    try:
        yield
    finally:
        del sys.modules["torchaudio"]


def register_template(dialogue: Dialogue) -> "Template":
    """Registers the template `prox`: BOS as the dialogue has it, the human turn verbatim, the answer and EOS.

    LLaMA-Factory's own formatter for human turns would also fill in a ``{{idx}}`` that stands in a document.
    """
    with without_torchaudio():
        from llamafactory.data import template
        from llamafactory.data.formatter import EmptyFormatter, Formatter

    class FixedTemplate(template.Template):
        """Leaves the tokenizer without a chat template: `dialogue.json` is the one description of the prompt."""

        def fix_jinja_template(self, tokenizer: "PreTrainedTokenizerBase") -> None:
            pass

    class Verbatim(Formatter):
        """The content as it is."""

        def apply(self, **kwargs: str) -> list[str]:
            return [kwargs["content"]]

    prefix = [{"bos_token"}] * (0 if not dialogue.bos else 2 if dialogue.extra_bos else 1)
    template.TEMPLATES.pop(TEMPLATE, None)
    template.register_template(
        TEMPLATE,
        format_user=Verbatim(),
        format_prefix=EmptyFormatter(slots=prefix),
        template_class=FixedTemplate,
    )
    return template.TEMPLATES[TEMPLATE]
