"""The fine-tuning files, and that LLaMA-Factory makes of them exactly the tokens that inference uses."""

import copy
import dataclasses
import json
import sys
from pathlib import Path

import pytest

from adaptation.__main__ import VERBS
from adaptation.configs import ExportConfig
from adaptation.example_writer import ExampleWriter
from adaptation.examples import Example, read_examples
from adaptation.export import export_examples
from adaptation.factory import register_template
from prox.chunking import Chunk
from prox.command import main
from prox.dialogue import Dialogue, PromptRenderer, load_dialogue
from prox.engines.prompts import load_tokenizer
from prox.errors import UserError
from prox.program import parse_program

TRICKY = "A {{content}} b {{idx}}\n<s>not the start</s>\n  spaces\tand 植物 — “quotes”\n<image> {{ x }}\n"


@pytest.fixture(scope="module")
def tokenizer(tiny_checkpoint: Path):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_checkpoint)


def export(split: Path, base: Path, output: Path, task: str, **settings: object) -> list[dict]:
    output.mkdir()
    export_examples(ExportConfig(output=output, examples=split, base=str(base), task=task, **settings))
    return [json.loads(line) for line in (output / "train.jsonl").read_text(encoding="utf-8").splitlines()]


def test_files_are_what_llama_factory_reads(split: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    dialogue = Dialogue(layout="plain", system="", style="compact")
    rows = export(split, tiny_checkpoint, tmp_path / "out", "chunk", dialogue=dialogue, max_new_tokens=64)
    assert len(rows) == 24
    assert rows[0]["system"] == ""
    assert [turn["from"] for turn in rows[0]["conversations"]] == ["human", "gpt"]
    assert rows[1]["conversations"][0]["value"].startswith("[doc]\n[003]Start | Catalogue")
    assert [row["conversations"][1]["value"] for row in rows[:3]] == ["[000]", "[003]", "="]
    info = json.loads((tmp_path / "out/dataset_info.json").read_text())
    assert info["train"]["columns"] == {"messages": "conversations", "system": "system"}
    longest = json.loads((tmp_path / "out/report.json").read_text())["splits"]["train"]["longest_prompt"]
    taught = dataclasses.replace(dialogue, max_prompt_tokens=longest, max_new_tokens=64)
    assert load_dialogue(tmp_path / "out", Dialogue()) == taught
    template = register_template(taught)
    tokenizer = load_tokenizer(str(tiny_checkpoint))
    lengths = [
        len(template.encode_oneturn(tokenizer, [{"role": "user", "content": row["conversations"][0]["value"]}] * 2)[0])
        for row in rows
    ]
    assert max(lengths) == longest


def test_programs_keep_their_meaning_in_either_style(split: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    examples = list(read_examples(split / "chunk_train.jsonl"))
    for style in ("calls", "compact"):
        dialogue = Dialogue(layout="plain", system="", style=style)
        rows = export(split, tiny_checkpoint, tmp_path / style, "chunk", dialogue=dialogue, max_new_tokens=64)
        for example, row in zip(examples, rows, strict=True):
            assert parse_program(row["conversations"][1]["value"], style) == example.reference


def test_the_compact_style_names_the_lines_of_the_chunk(tokenizer) -> None:
    renderer = PromptRenderer(Dialogue(layout="plain", system="", style="compact"), tokenizer, 400)
    writer = ExampleWriter("chunk", renderer, 100)

    def answer(program: str) -> str:
        row = writer.row(Example("x", "a\nb\nc", program, first_line=4))
        return row["conversations"][1]["value"]

    assert answer("remove_lines(all=True)") == "[004]-[006]"
    assert answer("remove_lines(0, 4)\nremove_lines(6, 99)") == "[004]\n[006]"
    assert answer("remove_lines(-2, -1)\nremove_lines(50, 60)") == "="


def test_document_programs_are_calls_in_either_style(split: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    dialogue = Dialogue(layout="plain", system="", style="compact")
    rows = export(split, tiny_checkpoint, tmp_path / "out", "document", dialogue=dialogue, max_new_tokens=32)
    assert [row["conversations"][1]["value"] for row in rows[:2]] == ["keep_doc()", "drop_doc()"]


def test_over_long_examples_are_counted(tokenizer) -> None:
    writer = ExampleWriter("chunk", PromptRenderer(Dialogue(layout="plain", system=""), tokenizer, 100), 20)
    assert writer.row(Example("a", "word " * 500, "keep_chunk()")) is None
    assert writer.row(Example("b", "short", "\n".join(f"remove_lines({n}, {n})" for n in range(30)))) is None
    assert writer.row(Example("c", "short", "no program")) is None
    assert writer.row(Example("d", "short", "keep_chunk()")) is not None
    assert writer.dropped == {"prompt_too_long": 1, "answer_too_long": 1, "unreadable_program": 1}


def test_a_long_document_is_cut_and_kept(tokenizer) -> None:
    writer = ExampleWriter("document", PromptRenderer(Dialogue(layout="plain", system=""), tokenizer, 100), 20)
    row = writer.row(Example("a", "word " * 500, "keep_doc()"))
    assert row is not None
    assert writer.num_prompts_cut == 1
    assert len(tokenizer.encode(row["conversations"][0]["value"])) <= 100


@pytest.mark.parametrize(
    "dialogue",
    [
        Dialogue(),
        Dialogue(layout="plain", system="", style="compact"),
        Dialogue(extra_bos=True),
        Dialogue(layout="plain", bos=False),
        Dialogue(layout="chat"),
    ],
    ids=["llama2", "plain", "two BOS", "no BOS", "chat"],
)
def test_training_tokens_are_inference_tokens(dialogue: Dialogue, tokenizer) -> None:
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}</s>{% endfor %}<|assistant|>"
    )
    renderer = PromptRenderer(dialogue, tokenizer, 400)
    # Training stores the resolved dialogue, and takes the template from what is stored.
    template = register_template(renderer.dialogue)
    before = tokenizer.chat_template
    template.fix_special_tokens(tokenizer)
    template.fix_jinja_template(tokenizer)
    assert tokenizer.chat_template == before
    answer = 'normalize(source_str="{{content}}", target_str="")'
    (of_document,), of_chunk = renderer.documents([TRICKY]), renderer.chunk(Chunk(7, TRICKY))
    (chunks,) = renderer.chunks([TRICKY], 300)
    for prompt in (of_document, of_chunk, *(prompt for _, prompt in chunks)):
        messages = [{"role": "user", "content": prompt.text}, {"role": "assistant", "content": answer}]
        expected_prompt = prompt.ids
        expected_answer = [*tokenizer.encode(answer, add_special_tokens=False), tokenizer.eos_token_id]
        assert template.encode_oneturn(tokenizer, messages, system="") == (expected_prompt, expected_answer)
        assert template.encode_multiturn(tokenizer, messages, system="") == [(expected_prompt, expected_answer)]


def test_no_stand_in_for_torchaudio_is_left_behind() -> None:
    register_template(Dialogue())
    module = sys.modules.get("torchaudio")
    assert module is None or hasattr(module, "__file__")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", "line 2 is no JSON object"),
        ('["a", "list"]', "line 2 is no JSON object"),
        ('{"id": "a", "text": "b"}', "has no field 'program'"),
        ('{"id": "a", "text": 3, "program": "keep_doc()"}', "must be strings"),
        ('{"id": "a", "text": "b", "program": "c", "first_line": -1}', "first_line -1"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "chunk_train.jsonl"
    path.write_text('{"id": "a", "text": "b", "program": "keep_chunk()"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"chunk_train\.jsonl") as raised:
        list(read_examples(path))
    assert message in str(raised.value)


def test_every_problem_is_reported_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    missing = ["--examples", str(tmp_path / "none"), "--base", str(tmp_path / "nowhere"), "--max_new_tokens", "0"]
    assert main("adaptation", VERBS, ["export", "--output", out, *missing]) == 2
    message = capsys.readouterr().err
    assert all(word in message for word in ("--examples", "--base", "max_new_tokens is 0"))
    assert not (tmp_path / "out").exists()


def test_a_context_that_the_base_does_not_have_is_lowered(
    split: Path, tiny_checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="prox"):
        export(split, tiny_checkpoint, tmp_path / "out", "chunk", context=10**6, max_new_tokens=64)
    positions = json.loads((tiny_checkpoint / "config.json").read_text())["max_position_embeddings"]
    assert json.loads((tmp_path / "out/report.json").read_text())["context"] == positions
    assert f"--context 1000000 is lowered to {positions}" in caplog.text


def test_an_answer_room_that_fills_the_context(split: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="max_new_tokens 512"):
        export(split, tiny_checkpoint, tmp_path / "out", "chunk", max_new_tokens=512)
