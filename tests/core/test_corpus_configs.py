"""What the shipped configs and scripts ask of reading a corpus."""

from pathlib import Path

import pytest

from prox import artifact
from prox.corpus import CorpusConfig
from tests.core.conftest import Rehearsal
from tests.core.test_configs import CONFIGS, parse_files, verbs_of


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("corpora/*.yaml")), ids=lambda file: file.stem)
def test_shipped_corpora_set_nothing_without_effect(file: Path) -> None:
    config: CorpusConfig = parse_files("refinement", "ingest", CONFIGS / "refinement/ingest.yaml", file).corpus
    assert not any("no effect" in problem for problem in config.problems())


MORE = "--executor.slurm.partition gpu --executor.slurm.gpus_per_task 1 --executor.slurm.cpus_per_task=4 "
MORE += "--max_failed_share 0.5 --executor.ray.gpus_per_task=2 --executor.slurm.workers 9"


def test_refine_reads_where_it_refines_without_gpus(rehearsal: Rehearsal) -> None:
    from prox.command import parse

    refiners = "--document_refiner org/one --chunk_refiner org/other"
    done = rehearsal.run(
        f"scripts/run_refine.sh --input a --output b {refiners} --executor slurm --workers 3 -- {MORE}"
    )
    assert done.returncode == 0, done.stderr
    (_, *ingest), (_, *document), (_, *chunk), *_ = rehearsal.commands()
    assert [ingest[0], document[0], chunk[0]] == ["ingest", "document", "chunk"]
    for arguments, gpus in ((ingest, 0), (document, 1), (chunk, 1)):
        _, config = parse("refinement", verbs_of("refinement"), arguments)
        slurm = config.executor.slurm
        assert (config.workers, config.executor.kind) == (3, "slurm")
        assert (slurm.partition, slurm.cpus_per_task, slurm.workers) == ("gpu", 4, 9)
        assert slurm.gpus_per_task == gpus
        assert config.executor.ray.gpus_per_task == 2 * gpus


def test_refine_gives_the_chunks_options_to_their_step(rehearsal: Rehearsal) -> None:
    from prox.command import parse

    more = "--remove_threshold 0.4 --document_guards.min_words_left 5 --seed 3 --engine.batch_size=9 --threshold=0.3"
    more += " --constrained true --max_calls 7 --excerpt head_middle_tail"
    done = rehearsal.run(f"scripts/run_refine.sh --input a --output b --document_refiner org/one -- {more}")
    assert done.returncode == 0, done.stderr
    _, (_, *document), (_, *chunk), *_ = rehearsal.commands()
    configs = [parse("refinement", verbs_of("refinement"), arguments)[1] for arguments in (document, chunk)]
    assert [(config.seed, config.engine.batch_size) for config in configs] == [(3, 9)] * 2
    assert (configs[1].remove_threshold, configs[1].document_guards.min_words_left) == (0.4, 5)
    assert (configs[1].constrained, configs[1].max_calls) == (True, 7)
    assert (configs[0].threshold, configs[0].excerpt, configs[0].constrained) == (0.3, "head_middle_tail", False)


def test_refine_with_the_refiner_that_ships(rehearsal: Rehearsal) -> None:
    done = rehearsal.run("scripts/run_refine.sh --input a --output b")
    assert done.returncode == 0, done.stderr
    steps = [(arguments[0], " ".join(arguments)) for _, *arguments in rehearsal.commands()]
    assert [name for name, _ in steps] == ["ingest", "chunk", "stats"]
    assert "--refiner.checkpoint " + str(rehearsal.folder / "refiners/web-lines") in steps[1][1]
    assert f"--arms.prox-c {rehearsal.folder / 'b/chunk'}" in steps[2][1]
    assert "left out" not in done.stdout


def test_refine_ends_with_how_much_could_not_be_read(rehearsal: Rehearsal) -> None:
    (rehearsal.folder / "b/ingest").mkdir(parents=True)
    artifact.commit(rehearsal.folder / "b/ingest", "", {"documents": 2, "left_out": 5})
    done = rehearsal.run("scripts/run_refine.sh --input a --output b")
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-3:]
    assert last[0] == f"5 records could not be read and were left out; why: {rehearsal.folder}/b/ingest/dropped"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--input pages --output b --format jsn", "--format is 'jsn': auto, parquet, jsonl, warc or text"),
        ("--input pages --output pages/b", "lies inside --input"),
        ("--input link --output pages/b", "lies inside --input"),
        ("--input 'pages/**/*.jsonl' --output pages/b", "lies inside --input"),
        ("--input pages/a.jsonl --output pages/a.jsonl", "a.jsonl is a file: name a folder"),
        (
            "--input pages --output b --chunk_refiner runs/web/refiner",
            "--chunk_refiner runs/web/refiner does not exist",
        ),
        ("--input pages --output b --document_refiner ./refiner", "--document_refiner ./refiner does not exist"),
    ],
)
def test_refine_with_paths_that_can_t_be(rehearsal: Rehearsal, options: str, message: str) -> None:
    (rehearsal.folder / "pages").mkdir()
    (rehearsal.folder / "pages/a.jsonl").write_text("{}\n")
    (rehearsal.folder / "link").symlink_to("pages")
    done = rehearsal.run(f"scripts/run_refine.sh {options}")
    assert done.returncode == 2
    assert message in done.stderr
    assert not rehearsal.commands()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--engine vllm", "can't run"),
        ("--engine server --chunk_refiner org/one", "--engine server needs --chunk_url"),
        (
            "--engine server --chunk_refiner org/one --chunk_url http://a/v1 --document_refiner org/two",
            "--engine server needs --document_url",
        ),
    ],
)
def test_refining_with_engines_that_cannot(rehearsal: Rehearsal, options: str, message: str) -> None:
    shipped = rehearsal.folder / "refiners/web-lines"
    shipped.mkdir(parents=True)
    (shipped / "dialogue.json").write_text('{\n  "kind": "tagger"\n}\n')
    done = rehearsal.run(f"scripts/run_refine.sh --input a --output b {options}")
    assert done.returncode == 2
    assert message in done.stderr
    assert not rehearsal.commands()
