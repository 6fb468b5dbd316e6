"""The refiner that ships: it loads, removes menus from real pages, and leaves alone what it was not made for."""

import json
from pathlib import Path

import pytest

from prox.command import main
from prox.units import DOCUMENTS, LEDGER, read_rows, unit_files
from refinement.__main__ import VERBS

MENU = [
    "Main Menu",
    "Home",
    "Downloads",
    "API Menu",
    "Mail archive",
    "Windows binaries",
    "API Indexes",
    "Functions/Types",
]
SENTENCE = "The river rises in the hills above the town and is joined by two smaller streams before it reaches the sea."
OTHER_LANGUAGES = {
    "german": "Der Fluss entspringt in den Hügeln oberhalb der Stadt und nimmt zwei kleinere Bäche auf.",
    "french": "La rivière prend sa source dans les collines au-dessus de la ville et reçoit deux ruisseaux.",
    "italian": "Il fiume nasce sulle colline sopra la città e riceve due torrenti più piccoli.",
    "polish": "Rzeka wypływa ze wzgórz powyżej miasta i przyjmuje dwa mniejsze strumienie.",
    "turkish": "Nehir tepelerden gelir ve denize kadar iki küçük dereyle daha birleşir, sonra genişler.",
    "vietnamese": "Con sông bắt nguồn từ những ngọn đồi phía trên thị trấn và nhận thêm hai con suối.",
}
MENU_OF_A_PAGE = "Home\nLogin\n© 2024"


@pytest.fixture(scope="module")
def refiner(repository: Path) -> Path:
    return repository / "refiners/web-lines"


def refine(refiner: Path, pages: Path, output: Path) -> tuple[dict[str, str], dict[str, dict]]:
    """(text, ledger row) of each page by its id."""
    ingest = ["ingest", "--corpus.path", str(pages), "--output", str(output / "ingest")]
    chunk = ["chunk", "--documents", str(output / "ingest"), "--refiner.checkpoint", str(refiner)]
    chunk += ["--document_guards.min_words_left", "0", "--output", str(output / "chunk")]
    assert [main("refinement", VERBS, command) for command in (ingest, chunk)] == [0, 0]
    texts = {row["id"]: row["text"] for row in read_rows(unit_files(output / "chunk", DOCUMENTS)[0])}
    return texts, {row["id"]: row for row in read_rows(unit_files(output / "chunk", LEDGER)[0])}


def test_it_is_small_and_says_what_it_is(refiner: Path) -> None:
    assert sum(file.stat().st_size for file in refiner.iterdir()) < 20e6
    card = (refiner / "README.md").read_text()
    assert all(part in card for part in ("CC BY 4.0", "Limits", "F1", "scripts/run_web_lines.sh"))


def test_menus_of_real_pages_go_and_text_stays(refiner: Path, tmp_path: Path) -> None:
    texts, rows = refine(refiner, refiner / "example.jsonl", tmp_path)
    pages = [json.loads(line) for line in (refiner / "example.jsonl").read_text().splitlines()]
    assert len(pages) == len(texts) == len(rows)
    for page in pages:
        left, lines = texts[page["id"]].split("\n"), page["text"].split("\n")
        assert not set(MENU) & set(left)
        assert all(line in left for line in lines if len(line) > 60)
        probabilities = [one for chunk in rows[page["id"]]["chunks"] for one in chunk["line_probabilities"]]
        assert len(probabilities) == len(lines)


def test_unusual_pages_lose_nothing_they_should_not(refiner: Path, tmp_path: Path) -> None:
    pages = {
        "long": "\n".join(f"{SENTENCE} It is {number} km long." for number in range(3_000)),
        "one line": " ".join([SENTENCE] * 2_000),
        "flat": " ".join(f"{SENTENCE} It is {number} km long." for number in range(20)),
        "japanese": "水は低きに流れる。川は山から海へと流れていく。\n" * 40 + "ホーム",
        "russian": "Реки питаются дождями и талым снегом, и многие из них впадают в море.\n" * 40 + "Войти",
        **{name: f"{text}\n" * 6 + MENU_OF_A_PAGE for name, text in OTHER_LANGUAGES.items()},
        **{f"short {name}": f"{text}\n{MENU_OF_A_PAGE}" for name, text in OTHER_LANGUAGES.items()},
        "numbers": "Home\n" + "\n".join(f"{n} {n * n} {n + 7}" for n in range(60)),
    }
    path = tmp_path / "pages.jsonl"
    path.write_text("".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in pages.items()))
    texts, rows = refine(refiner, path, tmp_path)
    for name in ("japanese", "russian", *OTHER_LANGUAGES, *(f"short {name}" for name in OTHER_LANGUAGES)):
        assert texts[name] == pages[name], name
        assert all(chunk["reason"] == "language_not_taught" for chunk in rows[name]["chunks"])
    for name in ("flat", "one line"):
        assert texts[name] == pages[name]
        assert [chunk["reason"] for chunk in rows[name]["chunks"]] == ["mostly_not_shown"]
    assert not any(chunk["skipped"] for chunk in rows["numbers"]["chunks"])
    assert len(texts["long"].split("\n")) > 2_900
