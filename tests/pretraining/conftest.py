"""A documents artefact, its tokenizer and its token shards, made by the stage's own verbs."""

from pathlib import Path

import pytest

from pretraining.__main__ import VERBS
from prox.command import main
from prox.units import DOCUMENT_SCHEMA, DOCUMENTS, unit_name, write_unit

VOCAB_SIZE = 512
TINY_SHAPE = [
    "--shape.name=tlm-test",
    "--shape.n_embd=32",
    "--shape.intermediate_size=48",
    "--shape.n_layer=2",
    "--shape.n_head=4",
    "--shape.n_query_groups=2",
    f"--shape.vocab_size={VOCAB_SIZE}",
    "--shape.context=32",
]


def run(*arguments: object) -> int:
    """Runs a verb of the stage in this process."""
    return main("pretraining", VERBS, [str(argument) for argument in arguments])


def write_documents(folder: Path, texts: list[str], unit_size: int) -> Path:
    """A documents artefact's files."""
    rows = [{"id": f"page-{number}", "text": text, "metadata": "{}"} for number, text in enumerate(texts)]
    for number in range(0, max(len(rows), 1), unit_size):
        write_unit(
            folder / DOCUMENTS / unit_name(number // unit_size), rows[number : number + unit_size], DOCUMENT_SCHEMA
        )
    return folder


@pytest.fixture(scope="session")
def documents(tmp_path_factory: pytest.TempPathFactory, pages: list[str]) -> Path:
    """Thirty-three pages in four units, one of them without text."""
    texts = [f"{page}\nPage {number} of the collection." for number in range(8) for page in pages] + [""]
    return write_documents(tmp_path_factory.mktemp("documents"), texts, unit_size=10)


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory, documents: Path) -> Path:
    """A tokenizer of 512 tokens, 16 of them line markers."""
    output = tmp_path_factory.mktemp("artefacts") / "tokenizer"
    command = ["--documents", documents, "--output", output, "--vocab_size", VOCAB_SIZE, "--line_markers", 16]
    assert run("tokenizer", *command, "--model_max_length", 32) == 0
    return output


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory, documents: Path, tokenizer: Path) -> Path:
    """Token shards of the documents, two units a shard."""
    output = tmp_path_factory.mktemp("artefacts") / "tokens"
    command = ["--documents", documents, "--tokenizer", tokenizer, "--output", output, "--max_shards", 2]
    assert run("tokenize", *command) == 0
    return output


@pytest.fixture(scope="session")
def train_arguments(tokens: Path) -> list[str]:
    """A 12-step training of a tiny model, without the output."""
    return [
        "train",
        f"--tokens={tokens}",
        *TINY_SHAPE,
        "--max_steps=12",
        "--global_batch_size=8",
        "--micro_batch_size=4",
        "--learning_rate=3e-3",
        "--warmup_steps=2",
        "--save_interval=3",
        "--log_interval=1",
        "--tracking.wandb=disabled",
    ]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, train_arguments: list[str]) -> Path:
    """The undisturbed training's output."""
    output = tmp_path_factory.mktemp("artefacts") / "train"
    assert run(*train_arguments, "--output", output) == 0
    return output
