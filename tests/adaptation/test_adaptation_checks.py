"""What does not fit together is refused before a training starts, by name."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from adaptation.__main__ import VERBS
from adaptation.checks import check_base, check_prompts, check_template, first_rows
from adaptation.configs import ExportConfig, TrainConfig
from adaptation.export import export_examples
from adaptation.factory import register_template
from prox.command import main
from prox.dialogue import Dialogue, load_dialogue
from prox.errors import UserError


@pytest.fixture
def data(split: Path, tiny_checkpoint: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    options = ["--dialogue.layout", "plain", "--dialogue.system", "", "--max_new_tokens", "48"]
    arguments = ["export", "--examples", split, "--base", tiny_checkpoint, "--output", folder, *options]
    assert main("adaptation", VERBS, [str(argument) for argument in arguments]) == 0
    return folder


@pytest.fixture
def base(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "base"))


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def report(data: Path) -> dict:
    return json.loads((data / "report.json").read_text())


def test_what_fits_is_not_refused(data: Path, base: Path) -> None:
    check_base(str(base), report(data))
    check_prompts(data, "chunk")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda base: edit(base / "config.json", vocab_size=17), "has 17 embeddings, but its tokenizer"),
        (lambda base: edit(base / "config.json", max_position_embeddings=64), "has 64 positions"),
        (lambda base: edit(base / "config.json", model_type="t5"), "is a t5, no causal language model"),
        (lambda base: edit(base / "config.json", model_type="no-such"), "can't be read"),
        (lambda base: edit(base / "tokenizer_config.json", eos_token="a"), "has another tokenizer"),
    ],
    ids=["vocabulary", "positions", "architecture", "unknown architecture", "tokenizer"],
)
def test_a_base_that_does_not_fit(data: Path, base: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(base)
    with pytest.raises(UserError, match=message):
        check_base(str(base), report(data))


@pytest.mark.parametrize(
    ("window", "layers", "refused"),
    [(48, None, True), (48, ["sliding_attention", "full_attention"], False), (4_096, None, False)],
)
def test_a_tagger_s_base_sees_its_lines(
    data: Path, base: Path, window: int, layers: list[str] | None, refused: bool
) -> None:
    edit(base / "config.json", model_type="mistral", architectures=["MistralForCausalLM"], sliding_window=window)
    edit(base / "config.json", layer_types=layers)
    facts = report(data)
    check_base(str(base), facts)  # what writes programs needs not see all of its prompt at once
    facts["max_new_tokens"] = None
    facts["splits"]["train"]["longest_prompt"] = 60
    if not refused:
        check_base(str(base), facts)
        return
    with pytest.raises(UserError, match=r"hold prompts of 60 tokens, but base .* looks back over 48"):
        check_base(str(base), facts)


def test_a_template_that_the_prompts_were_not_rendered_with(data: Path) -> None:
    edit(data / "dialogue.json", layout="llama2", system="You are a refiner.")
    with pytest.raises(UserError, match=r"begins with '\[doc\].*asks with '\[INST\] <<SYS>>"):
        check_prompts(data, "chunk")


def test_files_that_no_export_wrote(data: Path) -> None:
    (data / "train.jsonl").write_text('{"id": "a", "conversations": []}\n')
    with pytest.raises(UserError, match="is not what adaptation export writes"):
        check_prompts(data, "chunk")


def test_a_library_that_reads_the_template_otherwise(data: Path, base: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer, dialogue = AutoTokenizer.from_pretrained(base), load_dialogue(data, Dialogue())
    rows = first_rows(data)
    check_template(register_template(dialogue), dialogue, tokenizer, rows)
    other = register_template(Dialogue(layout="plain", system="", extra_bos=True))
    with pytest.raises(UserError, match="makes other token ids of example 'doc-0'"):
        check_template(other, dialogue, tokenizer, rows)


@pytest.mark.parametrize(
    ("file", "message"),
    [("report.json", "has no report.json"), ("dialogue.json", "has no dialogue.json, the template of its prompts")],
)
def test_a_missing_file_is_named_before_anything_starts(data: Path, base: Path, file: str, message: str) -> None:
    (data / file).unlink()
    assert message in " ".join(TrainConfig(output=data.parent / "out", data=data, base=str(base)).problems())


def test_an_empty_valid_set_is_named_before_training(data: Path, base: Path) -> None:
    splits = report(data)["splits"]
    edit(data / "report.json", splits=splits | {"valid": splits["valid"] | {"num_examples": 0}})
    config = TrainConfig(output=data.parent / "out", data=data, base=str(base))
    assert "has no valid example, without which no checkpoint can be chosen" in " ".join(config.problems())


def test_a_refiner_is_adapted_further_as_it_was_taught(split: Path, base: Path, tmp_path: Path) -> None:
    """Section 3.4: the math refiners start from the general ones."""
    dialogue = Dialogue(layout="plain", system="", style="compact", chunk_before="<page>\n")
    dialogue.save(base)
    (tmp_path / "math").mkdir()
    export_examples(ExportConfig(output=tmp_path / "math", examples=split, base=str(base), max_new_tokens=48))
    taught = dataclasses.replace(dialogue, max_prompt_tokens=84, max_new_tokens=48)
    assert load_dialogue(tmp_path / "math", Dialogue()) == taught
    assert first_rows(tmp_path / "math")[0]["conversations"][0]["value"].startswith("<page>\n")
