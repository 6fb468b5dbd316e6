"""The filter `classifier` (FineWeb-Edu's threshold) with a tiny random BERT, through the real command line."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertForSequenceClassification
from transformers import PreTrainedTokenizerFast as FastTokenizer

from prox.artifact import SUCCESS
from refinement import rule_filters
from tests.refinement.test_rules import PROSE, contents, dropped, filtered, kept, ledger, stats, write_units

CONTEXT = 32
FILTER = [{"name": "classifier"}]


def save_model(folder: Path, labels: list[str], bias: float = 0.0) -> Path:
    """A random BERT of one layer, with as many outputs as labels, and the words of ``PROSE`` as its vocabulary."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted(set(PROSE.lower().replace(".", "").replace(",", "").split()))]
    pieces = Tokenizer(models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer()
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    FastTokenizer(tokenizer_object=pieces, model_max_length=CONTEXT, **special).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT,
        initializer_range=0.5,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    model = BertForSequenceClassification(config)
    torch.nn.init.constant_(model.classifier.bias, bias)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A regression model."""
    return save_model(tmp_path / "model", ["score"])


@pytest.fixture
def texts() -> dict[str, str]:
    """Documents of 1 to 40 different words, some of them longer than the model reads."""
    words = PROSE.split()
    return {f"d{number}": " ".join(words[number : 2 * number + 1]) for number in range(40)}


@pytest.fixture
def units(tmp_path: Path, texts: dict[str, str]) -> Path:
    return write_units(tmp_path / "units", texts, size=16)


def alone(model: Path, texts: dict[str, str]) -> dict[str, torch.Tensor]:
    """The model's outputs [labels] for every document, one at a time."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForSequenceClassification.from_pretrained(model).eval()
    with torch.inference_mode():
        encoded = {name: tokenizer(text, truncation=True, return_tensors="pt") for name, text in texts.items()}
        return {name: network(**one).logits[0] for name, one in encoded.items()}


def test_documents_are_kept_by_the_models_own_score(
    tmp_path: Path, model: Path, units: Path, texts: dict[str, str]
) -> None:
    expected = {name: float(output[0]) for name, output in alone(model, texts).items()}
    threshold = (sorted(expected.values())[19] + sorted(expected.values())[20]) / 2
    options = ["--classifier.model", str(model), "--classifier.rounded", "false"]
    options += ["--classifier.threshold", str(threshold)]
    # One document a pass pads nothing; three pad, and leave one over.
    for size in ("1", "3"):
        output = tmp_path / size
        assert filtered(units, output, FILTER, *options, "--classifier.batch_size", size) == 0
        assert {row["id"]: row["score"] for row in ledger(output)} == pytest.approx(expected, abs=1e-5)
        assert [row["id"] for row in ledger(output)] == list(texts)
        assert {(row["rule"], row["fault"]) for row in ledger(output)} == {("classifier", None)}
        assert set(kept(output)) == {name for name, score in expected.items() if score >= threshold}
        assert set(dropped(output).values()) == {f"classifier: score_below_{threshold:g}"}
        assert stats(output)["kept"] == 20
    assert filtered(units, tmp_path / "two", FILTER, *options, "--workers", "2", "--classifier.batch_size", "3") == 0
    assert contents(tmp_path / "two") == contents(tmp_path / "3")


def test_only_the_beginning_that_fits_is_read(tmp_path: Path, model: Path) -> None:
    words = PROSE.split()
    fits = CONTEXT - 2  # beside [CLS] and [SEP]; words with a comma are two tokens
    texts = {"long": " ".join(words[:fits] * 3), "other end": " ".join(words[:fits] + words[::-1])}
    units = write_units(tmp_path / "units", texts)
    assert filtered(units, tmp_path / "out", FILTER, "--classifier.model", str(model)) == 0
    first, second = (row["score"] for row in ledger(tmp_path / "out"))
    assert first == pytest.approx(second, abs=1e-5)
    less = ["--classifier.max_tokens", "8"]
    assert filtered(units, tmp_path / "less", FILTER, "--classifier.model", str(model), *less) == 0
    assert ledger(tmp_path / "less")[0]["score"] != first


@pytest.mark.parametrize(("score", "keeps"), [(2.49, False), (2.5, False), (2.51, True), (7.0, True), (-1.0, False)])
def test_rounded_scores_are_compared_as_fineweb_edu_compares_them(
    score: float, keeps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datatrove.data import Document

    from refinement.rule_configs import ClassifierConfig

    monkeypatch.setattr(rule_filters, "load_classifier", lambda config: lambda texts: [score for _ in texts])
    recorded: list[dict] = []
    writer = SimpleNamespace(record=recorded.append)
    verdict = rule_filters.ClassifierFilter(ClassifierConfig(), writer).filter(Document(text="", id=""))
    assert verdict == (True if keeps else (False, "score_below_3"))
    assert [row["score"] for row in recorded] == [score]


def test_a_classes_probability_can_be_the_score(
    tmp_path: Path, units: Path, texts: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_model(tmp_path / "classes", ["bad", "good", "other"])
    expected = {name: float(output.softmax(-1)[1]) for name, output in alone(model, texts).items()}
    threshold = (sorted(expected.values())[9] + sorted(expected.values())[10]) / 2
    options = ["--classifier.model", str(model), "--classifier.rounded", "false"]
    options += ["--classifier.threshold", str(threshold)]
    assert filtered(units, tmp_path / "out", FILTER, *options, "--classifier.label", "good") == 0
    assert {row["id"]: row["score"] for row in ledger(tmp_path / "out")} == pytest.approx(expected, abs=1e-5)
    assert set(kept(tmp_path / "out")) == {name for name, score in expected.items() if score >= threshold}
    assert stats(tmp_path / "out")["dropped"] == 10
    for number, label in enumerate((["--classifier.label", "best"], [])):
        assert filtered(units, tmp_path / str(number), FILTER, *options, *label) == 1
        assert "has the outputs bad, good, other: name one of them" in capsys.readouterr().err


def test_a_document_that_cannot_be_scored_is_kept_and_counted(
    tmp_path: Path, model: Path, units: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--classifier.model", str(model), "--classifier.threshold", "100"]
    assert filtered(units, tmp_path / "all", FILTER, *options) == 0
    real = rule_filters.load_classifier

    def fail(config: object) -> object:
        def score(texts: list[str]) -> list[float]:
            if any(text.startswith("rises in") for text in texts):
                raise RuntimeError("out of memory")
            return real(config)(texts)

        return score

    monkeypatch.setattr(rule_filters, "load_classifier", fail)
    assert filtered(units, tmp_path / "some", FILTER, *options) == 0
    assert list(kept(tmp_path / "some")) == ["d2"]
    assert stats(tmp_path / "some")["kept_because_the_rule_failed"] == {"classifier": 1}
    before, after = ({row["id"]: row for row in ledger(tmp_path / name)} for name in ("all", "some"))
    assert after.pop("d2")["fault"] == "RuntimeError: out of memory"
    for name, row in after.items():
        assert row["score"] == pytest.approx(before[name]["score"], abs=1e-5)


def test_scores_that_are_no_numbers_stop_the_run_unfinished(
    tmp_path: Path, units: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_model(tmp_path / "broken", ["score"], bias=float("nan"))
    assert filtered(units, tmp_path / "out", FILTER, "--classifier.model", str(model)) == 1
    assert "classifier failed on 40 of the 40 documents it saw (ValueError: the score of d0 is nan)" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "out" / SUCCESS).exists()
    assert len(kept(tmp_path / "out")) == 40


def test_a_model_that_cannot_be_loaded_stops_the_run_at_once(
    tmp_path: Path, units: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert filtered(units, tmp_path / "out", FILTER, "--classifier.model", str(tmp_path / "empty")) == 1
    error = capfd.readouterr().err
    assert f"--classifier.model '{tmp_path / 'empty'}' can't be loaded" in error
    assert "Traceback" not in error
    assert not unit_documents(tmp_path / "out")


def unit_documents(output: Path) -> list[Path]:
    return list((output / "documents").glob("*.parquet"))


def test_another_model_at_the_same_place_is_noticed(tmp_path: Path, model: Path, units: Path) -> None:
    options = ["--classifier.model", str(model), "--classifier.rounded", "false", "--classifier.threshold", "-100"]
    assert filtered(units, tmp_path / "out", FILTER, *options) == 0
    save_model(model, ["score"], bias=1.0)
    rule_filters.load_classifier.cache_clear()
    assert filtered(units, tmp_path / "out", FILTER, *options) == 0
    old, new = (
        json.loads((folder / SUCCESS).read_text())["fingerprint"]
        for folder in (tmp_path / "out.previous-1", tmp_path / "out")
    )
    assert old != new
    assert ledger(tmp_path / "out")[0]["score"] == pytest.approx(
        ledger(tmp_path / "out.previous-1")[0]["score"] + 1, abs=1e-5
    )
