"""Tokenizer, token shards and the loader over them."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from pretraining.__main__ import VERBS
from pretraining.loader import SequenceLoader, TokenStream
from pretraining.train_config import TrainConfig
from prox.artifact import read_json
from prox.command import main, settings_of
from prox.errors import UserError
from prox.tracking import TrackingConfig
from prox.units import DOCUMENT_SCHEMA, DOCUMENTS, iterate_documents, unit_name, write_unit


def run(*arguments: object) -> int:
    return main("pretraining", VERBS, [str(argument) for argument in arguments])


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_tokenizer_has_its_size_special_tokens_and_markers(tokenizer: Path, pages: list[str]) -> None:
    loaded = AutoTokenizer.from_pretrained(tokenizer)
    assert len(loaded) == 512
    assert (loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id) == (0, 1, 2)
    assert loaded.model_max_length == 32
    assert loaded.encode("[007] a line") == [
        loaded.convert_tokens_to_ids("[007]"),
        *loaded.encode(" a line"),
    ]
    for page in pages:
        assert loaded.decode(loaded.encode(page)) == page


def test_tokenizer_is_deterministic(tokenizer: Path, documents: Path, tmp_path: Path) -> None:
    command = ["--documents", documents, "--output", tmp_path / "again", "--vocab_size", 512, "--line_markers", 16]
    assert run("tokenizer", *command, "--model_max_length", 32) == 0
    assert digest(tmp_path / "again" / "tokenizer.json") == digest(tokenizer / "tokenizer.json")


def test_shards_hold_every_document_and_its_end(tokens: Path, tokenizer: Path, documents: Path) -> None:
    statistics = read_json(tokens / "stats.json")
    loaded = AutoTokenizer.from_pretrained(tokenizer)
    expected = [[*loaded.encode(document.text), loaded.eos_token_id] for document in iterate_documents(documents)]
    assert statistics["documents"] == 32
    assert statistics["documents_without_text"] == 1
    assert statistics["text_bytes"] == sum(len(document.text.encode()) for document in iterate_documents(documents))
    assert statistics["tokens"] == sum(map(len, expected)) - 1  # the document without text has no end either
    assert (statistics["vocab_size"], statistics["dtype"], len(statistics["shards"])) == (512, "uint16", 2)
    stream = TokenStream(tokens)
    everything = stream.read(0, len(stream)).tolist()
    assert everything[: len(expected[0])] == expected[0]
    assert everything.count(loaded.eos_token_id) == 32


def test_empty_corpus_is_one_clear_error(tmp_path: Path, tokenizer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    write_unit(empty / DOCUMENTS / unit_name(0), [], DOCUMENT_SCHEMA)
    for verb, extra in (("tokenizer", ["--vocab_size", 300]), ("tokenize", ["--tokenizer", tokenizer])):
        output = tmp_path / verb
        assert run(verb, "--documents", empty, "--output", output, *extra) == 1
        assert str(empty) in capsys.readouterr().err
        assert not (output / "_SUCCESS").exists()


@pytest.fixture
def stream(tmp_path: Path) -> TokenStream:
    """Tokens 0 to 102 in three shards, the middle one empty."""
    from prox.artifact import write_json

    pieces = {"a.ds": np.arange(0, 41), "b.ds": np.arange(0), "c.ds": np.arange(41, 103)}
    (tmp_path / "shards").mkdir()
    for name, piece in pieces.items():
        piece.astype("<u2").tofile(tmp_path / "shards" / name)
    shards = [{"file": name, "tokens": len(piece), "documents": 1} for name, piece in pieces.items()]
    write_json(tmp_path / "stats.json", {"dtype": "uint16", "tokens": 103, "vocab_size": 103, "shards": shards})
    return TokenStream(tmp_path)


def loader_over(*streams: TokenStream, seed: int, **options: Any) -> SequenceLoader:
    weights = options.pop("weights", [1.0] * len(streams))
    return SequenceLoader(streams, weights, sequence_length=8, seed=seed, **options)


def test_epoch_visits_every_sequence_once_across_shards(stream: TokenStream) -> None:
    loader = loader_over(stream, seed=1)
    assert (loader.sources[0].num_sequences, loader.sources[0].remainder) == (12, 6)
    batch = loader.next_batch(12)
    assert batch.shape == (12, 9)
    assert (np.diff(batch, axis=1) == 1).all()  # the tokens count up, so a row cut wrongly would show
    targets = np.sort(batch[:, 1:].flatten())
    assert (np.diff(targets) == 1).all()
    assert len(targets) == 96


def test_offsets_leave_no_token_out_of_reach(stream: TokenStream) -> None:
    loader = loader_over(stream, seed=1)
    seen = {int(token) for _ in range(40) for token in loader.next_batch(12).flatten()}
    assert seen == set(range(103))


def test_order_depends_on_seed_and_epoch_alone(stream: TokenStream) -> None:
    first = loader_over(stream, seed=1).next_batch(24)
    assert (first == loader_over(stream, seed=1).next_batch(24)).all()
    assert (first != loader_over(stream, seed=2).next_batch(24)).any()
    assert (first[:12] != first[12:]).any()


@pytest.mark.parametrize("consumed", [1, 5, 12, 17])
def test_restored_loader_continues_to_the_token(stream: TokenStream, consumed: int) -> None:
    loader = loader_over(stream, seed=3)
    loader.next_batch(consumed)
    restored = loader_over(stream, seed=3)
    restored.restore(loader.state())
    assert (loader.next_batch(20) == restored.next_batch(20)).all()


@pytest.fixture
def other(stream: TokenStream, tmp_path: Path) -> TokenStream:
    """The same tokens, as another corpus."""
    return TokenStream(tmp_path)


def test_a_mixture_keeps_its_shares_and_each_source_its_epochs(stream: TokenStream, other: TokenStream) -> None:
    loader = loader_over(stream, other, weights=[3.0, 1.0], seed=1)
    alone = loader_over(stream, seed=1)
    batch = loader.next_batch(16)
    assert [source.taken for source in loader.sources] == [12, 4]
    assert sorted(map(tuple, batch.tolist())) == sorted(
        map(tuple, [*alone.next_batch(12).tolist(), *loader_over(stream, seed=1).next_batch(4).tolist()])
    )
    for taken in range(1, 60):  # never more than one sequence off, wherever it is stopped
        loader.next_batch(1)
        assert abs(loader.sources[0].taken - 0.75 * (16 + taken)) < 1
    assert loader.epochs == [loader.sources[0].taken / 12, loader.sources[1].taken / 12]


@pytest.mark.parametrize("consumed", [1, 7, 30])
def test_a_restored_mixture_continues_to_the_token(stream: TokenStream, other: TokenStream, consumed: int) -> None:
    loader = loader_over(stream, other, weights=[0.7, 0.2], seed=3)
    loader.next_batch(consumed)
    restored = loader_over(stream, other, weights=[0.7, 0.2], seed=3)
    restored.restore(loader.state())
    assert (loader.next_batch(20) == restored.next_batch(20)).all()


def test_damaged_shards_are_clear_errors(stream: TokenStream, tmp_path: Path) -> None:
    shard = tmp_path / "shards" / "c.ds"
    whole = np.fromfile(shard, dtype="<u2")
    whole[:-1].tofile(shard)
    with pytest.raises(UserError, match=r"c\.ds has 122 bytes, not the 124"):
        TokenStream(tmp_path)
    shard.unlink()
    with pytest.raises(UserError, match=r"c\.ds has 0 bytes"):
        TokenStream(tmp_path)
    whole[5] = 103
    whole.tofile(shard)
    with pytest.raises(UserError, match="token 103 behind token 40, and its vocabulary ends at 103"):
        TokenStream(tmp_path).read(40, 20)


def test_ranks_share_the_same_batches(stream: TokenStream) -> None:
    whole = loader_over(stream, seed=0).next_batch(8)
    parts = [loader_over(stream, seed=0, rank=rank, world_size=2).next_batch(8) for rank in range(2)]
    assert (np.concatenate(parts) == whole).all()


def test_files_that_a_kill_left_half_written_are_not_read(documents: Path, tokenizer: Path, tmp_path: Path) -> None:
    clean = tmp_path / "clean"
    shutil.copytree(documents / DOCUMENTS, clean / DOCUMENTS)
    littered = tmp_path / "a [littered] folder"
    shutil.copytree(documents / DOCUMENTS, littered / DOCUMENTS)
    unit = (littered / DOCUMENTS / unit_name(2)).read_bytes()
    (littered / DOCUMENTS / f".{unit_name(1)}.122.tmp").write_bytes(unit)
    (littered / DOCUMENTS / f".{unit_name(2)}.123.tmp").write_bytes(unit[: len(unit) // 2])
    for folder in (clean, littered):
        options = ["--tokenizer", tokenizer, "--max_shards", 2, "--output", folder / "tokens"]
        assert run("tokenize", "--documents", folder, *options) == 0
    made = [{path.name: digest(path) for path in (folder / "tokens/shards").iterdir()} for folder in (clean, littered)]
    assert made[0] == made[1]


@pytest.mark.slow
def test_ray_writes_the_shards_that_one_process_writes(
    tokens: Path, documents: Path, tokenizer: Path, tmp_path: Path
) -> None:
    options = ["--tokenizer", tokenizer, "--max_shards", 2, "--output", tmp_path / "ray"]
    ray = ["--executor.kind", "ray", "--executor.ray.gpus_per_task", 0]
    assert run("tokenize", "--documents", documents, *options, *ray) == 0
    shards = sorted(path.name for path in (tokens / "shards").iterdir())
    assert [digest(tmp_path / "ray/shards" / name) for name in shards] == [
        digest(tokens / "shards" / name) for name in shards
    ]


def test_when_a_training_saves_and_logs_leaves_work_valid() -> None:
    before = TrainConfig(output=Path("x"))
    after = TrainConfig(
        output=Path("x"), save_interval=3, keep_checkpoints=2, log_interval=1, tracking=TrackingConfig("disabled")
    )
    assert settings_of(after) == settings_of(before)
    assert settings_of(TrainConfig(output=Path("x"), weight_decay=0.0)) != settings_of(before)
