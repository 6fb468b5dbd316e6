"""Rule and selection baselines through the real command line: what each drops, and why."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)

from prox.artifact import SUCCESS
from prox.command import main, settings_of
from prox.units import DOCUMENT_SCHEMA, LEDGER, iterate_documents, read_rows, unit_files, unit_name, write_unit
from refinement.__main__ import VERBS
from refinement.rule_configs import ClassifierConfig, RuleConfig, RulesConfig
from refinement.rule_filters import DRAWS, draw

SENTENCES = (
    "The river rises in the hills behind the old town and runs north for about forty miles.",
    "In spring its banks are covered with willows, and herons wait in the shallow water for fish.",
    "A stone bridge was built in the twelfth century so that carts could reach the market with their goods.",
    "Most of the mills that once stood along the valley have been turned into houses.",
    "Anglers come here to catch trout, which have returned since the water became clean again.",
    "Children learn to swim at the weir because the current is slow and the bottom is sandy.",
)
PROSE = "\n".join(SENTENCES)
DOCUMENTS = {
    "clean": PROSE,
    "short": "Only a handful of words stand here.",
    "repeated": "\n".join([SENTENCES[0]] * 6 + list(SENTENCES)),
    "phrase": PROSE + "\n" + "buy now and save " * 30 + "today.",
    "hashes": PROSE.replace(" the ", " #the #"),
    "bracket": PROSE + "\nfunction run() { return the.value; }",
    "lorem": PROSE + "\nLorem ipsum dolor sit amet.",
    "headings": PROSE.replace(".", "").replace("and", "and\n"),
    "lines": "\n".join(sentence.replace(" ", ".\n", 12) for sentence in SENTENCES),
}
# What each row of Table 2, and "Rule" of Table 5, drops of them; the rest is kept.
DROPPED = {
    "rules_gopher": {
        "short": "gopher_repetition: top_3_gram",
        "repeated": "gopher_repetition: dup_line_frac",
        "phrase": "gopher_repetition: top_3_gram",
        "hashes": "gopher_quality: gopher_too_many_hashes",
        "lines": "gopher_quality: gopher_below_alpha_threshold",
    },
    "rules_c4": {
        "short": "c4_quality: too_few_sentences",
        "lorem": "c4_quality: lorem_ipsum",
        "headings": "c4_quality: too_few_sentences",
    },
    "rules_fineweb": {
        "repeated": "fineweb_quality: char_dup_ratio",
        "headings": "fineweb_quality: line_punct_ratio",
        "lines": "fineweb_quality: short_line_ratio",
    },
}
DROPPED["rules_math"] = DROPPED["rules_fineweb"]
DROPPED["rules"] = {
    **DROPPED["rules_gopher"],
    "bracket": "c4_quality: curly_bracket",  # its line is deleted before it is looked at in row C4
    "lorem": "c4_quality: lorem_ipsum",
    "headings": "fineweb_quality: line_punct_ratio",
}


def write_units(folder: Path, texts: Mapping[str, str], size: int = 4) -> Path:
    """Documents in units of ``size``, as a foreign artefact; returns its folder."""
    rows = [{"id": identity, "text": text, "metadata": "{}"} for identity, text in texts.items()]
    for number in range(0, len(rows), size):
        path = folder / "documents" / unit_name(number // size)
        write_unit(path, rows[number : number + size], DOCUMENT_SCHEMA)
    return folder


def rules(units: Path, output: Path, *options: str) -> int:
    return main("refinement", VERBS, ["rules", "--documents", str(units), "--output", str(output), *options])


def filtered(units: Path, output: Path, filters: list[dict], *options: str) -> int:
    return rules(units, output, "--filters", json.dumps(filters), *options)


def kept(output: Path) -> dict[str, str]:
    return {document.id: document.text for document in iterate_documents(output)}


def dropped(output: Path) -> dict[str, str]:
    return {row["id"]: row["reason"] for file in unit_files(output, "dropped") for row in read_rows(file)}


def ledger(output: Path) -> list[dict]:
    return [row for file in unit_files(output, LEDGER) for row in read_rows(file)]


def stats(output: Path) -> dict:
    return json.loads((output / "stats.json").read_text())


def contents(folder: Path) -> dict[str, bytes]:
    files = [file for kind in ("documents", "dropped", "ledger") for file in unit_files(folder, kind)]
    return {str(file.relative_to(folder)): file.read_bytes() for file in [*files, folder / "stats.json"]}


@pytest.mark.parametrize("config", sorted(DROPPED))
def test_every_rule_drops_what_it_should_and_names_its_reason(config: str, tmp_path: Path, repository: Path) -> None:
    units = write_units(tmp_path / "units", DOCUMENTS)
    assert rules(units, tmp_path / "out", "--config", str(repository / f"configs/refinement/{config}.yaml")) == 0
    assert dropped(tmp_path / "out") == DROPPED[config]
    assert set(kept(tmp_path / "out")) == set(DOCUMENTS) - set(DROPPED[config])
    found = stats(tmp_path / "out")
    assert found["documents"] == len(DOCUMENTS)
    assert sum(found["dropped_by_reason"].values()) == found["dropped"] == len(DROPPED[config])
    assert ledger(tmp_path / "out") == []


def test_only_c4_edits_and_only_in_its_own_row_by_full_stops(tmp_path: Path, repository: Path) -> None:
    texts = {"menu": "Home and away\nHome | About\n" + PROSE}
    units = write_units(tmp_path / "units", texts)
    for config in DROPPED:
        assert rules(units, tmp_path / config, "--config", str(repository / f"configs/refinement/{config}.yaml")) == 0
    after = {config: kept(tmp_path / config)["menu"].split("\n")[0] for config in DROPPED}
    assert after.pop("rules_c4") == SENTENCES[0]
    assert set(after.values()) == {"Home and away"}


def test_decisions_are_plain_datatroves(tmp_path: Path, repository: Path, pages: list[str]) -> None:
    texts = {f"{number}-{name}": f"{text}\nNumber {number}." for number in range(8) for name, text in DOCUMENTS.items()}
    texts |= {f"page-{number}": page * 4 for number, page in enumerate(pages)}
    texts["spacy"] = PROSE + "\nThe word IS_ALPHA made the splitter fail once."
    filters = (GopherRepetitionFilter(), GopherQualityFilter(), C4QualityFilter(filter_no_terminal_punct=False))
    alone: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for identity, text in texts.items():
        document = Document(text=text, id=identity)
        verdicts = (one.filter(document) for one in (*filters, FineWebQualityFilter()))
        reason = next((verdict[1] for verdict in verdicts if verdict is not True), None)
        alone[reason is not None][identity] = reason or document.text
    # More documents than share a memory zone, in one unit.
    units = write_units(tmp_path / "units", texts, size=1_000)
    assert rules(units, tmp_path / "out", "--config", str(repository / "configs/refinement/rules.yaml")) == 0
    reasons = {identity: reason.split(": ")[1] for identity, reason in dropped(tmp_path / "out").items()}
    assert (kept(tmp_path / "out"), reasons) == alone
    assert min(len(alone[0]), len(alone[1])) > 8


def test_the_reason_is_not_left_in_the_metadata(tmp_path: Path, units: Path) -> None:
    filters = [{"name": "gopher_repetition"}, {"name": "gopher_quality", "options": {"min_doc_words": 20}}]
    assert filtered(units, tmp_path / "out", filters) == 0
    counts = stats(tmp_path / "out")
    assert counts["documents"] == counts["kept"] + counts["dropped"] == 10
    assert counts["dropped_by_reason"]["gopher_repetition: dup_line_frac"] == 1
    rows = [row for file in unit_files(tmp_path / "out", "dropped") for row in read_rows(file)]
    assert "filter_reason" not in rows[0]["metadata"]


def test_two_workers_write_what_one_writes(tmp_path: Path, units: Path) -> None:
    filters = [{"name": "c4_quality", "options": {"min_num_sentences": 1}}, {"name": "random"}]
    assert filtered(units, tmp_path / "one", filters, "--random_share", "0.5") == 0
    assert filtered(units, tmp_path / "two", filters, "--random_share", "0.5", "--workers", "2") == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize("options", [{"sentences": 1}, {"language": "klingon"}])
def test_options_a_filter_does_not_take(
    options: dict, tmp_path: Path, units: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert filtered(units, tmp_path / "out", [{"name": "c4_quality", "options": options}]) == 1
    assert "--filters[0].options of c4_quality" in capsys.readouterr().err


def test_settings_that_cannot_work_are_all_named_at_once(
    tmp_path: Path, units: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filters = [{"name": "random", "options": {"share": 0.5}}, {"name": "classifier"}]
    model = ["--classifier.model", "./nothing", "--classifier.label", "good", "--classifier.batch_size", "0"]
    assert filtered(units, tmp_path / "out", filters, *model, "--random_share", "2", "--max_fault_share", "-1") == 2
    error = capsys.readouterr().err
    for part in (
        "--filters[0].options",
        "./nothing does not exist",
        "label good",
        "batch_size 0",
        "--random_share 2",
        "_share -1",
    ):
        assert part in error
    assert filtered(units, tmp_path / "out", []) == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the filter averages over no words first
def test_a_rule_that_fails_on_a_document_keeps_it(tmp_path: Path) -> None:
    units = write_units(tmp_path / "units", {"blank": " ", **DOCUMENTS})  # no words to divide by
    filters = [{"name": "gopher_quality", "options": {"min_doc_words": 0, "min_avg_word_length": 0}}]
    assert filtered(units, tmp_path / "out", filters, "--max_fault_share", "0.1") == 0
    assert "blank" in kept(tmp_path / "out")
    (row,) = ledger(tmp_path / "out")
    assert (row["id"], row["rule"], row["score"]) == ("blank", "gopher_quality", None)
    assert row["fault"].startswith("ZeroDivisionError")
    assert stats(tmp_path / "out")["kept_because_the_rule_failed"] == {"gopher_quality": 1}


def test_a_rule_that_fails_everywhere_is_an_error(
    tmp_path: Path, units: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filters = [{"name": "gopher_repetition"}, {"name": "gopher_quality", "options": {"min_doc_words": "many"}}]
    assert filtered(units, tmp_path / "out", filters) == 1
    left = 10 - stats(tmp_path / "out")["dropped"]  # what the first filter dropped the second never saw
    assert 0 < left < 10
    error = capsys.readouterr().err
    assert f"gopher_quality failed on {left} of the {left} documents it saw (TypeError: " in error
    assert "--max_fault_share 0.05" in error
    assert not (tmp_path / "out" / SUCCESS).exists()
    assert filtered(units, tmp_path / "out", filters, "--max_fault_share", "1") == 0  # nothing is redone
    assert not list(tmp_path.glob("out.previous*"))


def test_random_is_decided_by_seed_and_id_alone(tmp_path: Path, repository: Path) -> None:
    texts = {f"https://example.org/{number}": "All texts are alike." for number in range(2_000)}
    config = ["--config", str(repository / "configs/refinement/rules_random.yaml")]
    found = []
    for name, size, order, options in (
        ("large", 2_000, 1, []),
        ("small", 150, 1, ["--workers", "2"]),
        ("reverse", 700, -1, []),
        ("seed", 2_000, 1, ["--seed", "1"]),
    ):
        units = write_units(tmp_path / name, dict(list(texts.items())[::order]), size)
        assert rules(units, tmp_path / f"{name}-out", *config, *options) == 0
        found.append(set(kept(tmp_path / f"{name}-out")))
        assert stats(tmp_path / f"{name}-out")["dropped_by_reason"] == {"random: not_drawn": 2_000 - len(found[-1])}
    assert found[0] == found[1] == found[2] != found[3]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.304, 0.9, 1.0])
def test_random_keeps_its_share(share: float) -> None:
    number = 50_000
    for seed in range(3):
        count = sum(draw(seed, f"document {index}") < share * DRAWS for index in range(number))
        assert abs(count - share * number) <= 5 * (number * share * (1 - share)) ** 0.5


def test_settings_of_unused_filters_leave_work_valid(tmp_path: Path) -> None:
    def mark(*names: str, **changes: object) -> object:
        config = RulesConfig(tmp_path, documents=tmp_path, filters=[RuleConfig(name) for name in names], **changes)
        return settings_of(config), config.input_marks()

    other = {"classifier": ClassifierConfig(threshold=2.0), "random_share": 0.1, "seed": 7}
    assert mark("c4_quality", **other) == mark("c4_quality")
    assert mark("classifier", classifier=ClassifierConfig(device="cpu", batch_size=1)) == mark("classifier")
    for name, value in other.items():
        used = "classifier" if name == "classifier" else "random"
        assert mark(used, **{name: value}) != mark(used)
    assert mark("classifier", classifier=ClassifierConfig(model="a/b")) != mark("classifier")


def test_every_variant_has_a_nano_version(repository: Path) -> None:
    # Scales are laid over a variant's config: without its own, nano's rules.yaml would take its place.
    for file in (repository / "configs/refinement").glob("rules_*.yaml"):
        over = yaml.safe_load((repository / "configs/scales/nano" / f"refinement_{file.name}").read_text())
        names = [rule["name"] for rule in over["filters"]]
        assert names == [rule["name"] for rule in yaml.safe_load(file.read_text())["filters"]]
