"""How fast pre-training and tokenising are, each figure as a ratio to a named alternative in the same run.

    python -m benchmarks.pretraining train --tokens TOKENS
    python -m benchmarks.pretraining tokenize --documents DOCUMENTS --tokenizer TOKENIZER

(artefacts of `pretraining tokenize`, `refinement ingest` and `pretraining tokenizer`, as the quickstart leaves them).

train: seconds of an optimizer step, as a median over the steps after the first ones, of (a) this project's loop,
(b) litgpt's own `pretrain`, (c) a plain Hugging Face Trainer with the Llama of the same shape. The same shards,
sequence length, micro and global batch, optimizer (AdamW) and number format, each in a process of its own, in turns, on
one device. litgpt compiles its model always; the others are shown both ways.

tokenize: seconds for the whole of a documents artefact, of (a) `pretraining tokenize`, (b) datatrove's pipeline with
its defaults (one task, reader and DocumentTokenizer), (c) one `encode` a document in a Python loop, packed into rows of
T + 1 tokens whose unfinished last is left out, as the authors do. MB are bytes of text.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pretraining.configs import TokenizeConfig
from pretraining.loader import SequenceLoader, TokenStream
from pretraining.shapes import SHAPES
from pretraining.train_config import ThroughputConfig
from prox.artifact import read_json
from prox.precision import multiplies_bf16

REPOSITORY = Path(__file__).resolve().parent.parent
DISCARDED = 3
WAYS = (
    "ours",
    "ours, compiled",
    "litgpt pretrain (compiled)",
    "Hugging Face Trainer",
    "Hugging Face Trainer, compiled",
)


@dataclass(frozen=True)
class Setting:
    """What every way trains."""

    tokens: str
    model: str
    global_batch_size: int
    micro_batch_size: int
    steps: int

    @property
    def length(self) -> int:
        """Tokens a sequence."""
        return SHAPES[self.model].context

    def sequences(self) -> np.ndarray:
        """The training sequences in our loader's order, (steps * global batch, T + 1)."""
        loader = SequenceLoader([TokenStream(Path(self.tokens))], [1.0], self.length, seed=0)
        return loader.next_batch(self.global_batch_size * self.steps)


def ours(setting: Setting, folder: Path, compiled: bool) -> list[float]:
    """Seconds of each of our optimizer steps."""
    from pretraining.train import optimizer_step, set_up

    config = ThroughputConfig(
        output=folder,
        model=setting.model,
        max_steps=setting.steps,
        warmup_steps=0,
        global_batch_size=setting.global_batch_size,
        micro_batch_size=setting.micro_batch_size,
        compile=compiled,
    )
    training = set_up(config)
    training.model.train()
    loader = SequenceLoader([TokenStream(Path(setting.tokens))], [1.0], setting.length, seed=0)
    times = []
    for _ in range(setting.steps):
        begin = time.perf_counter()
        batch = training.fabric.to_device(torch.from_numpy(loader.next_batch(setting.global_batch_size)))
        loss, norm = optimizer_step(config, training, batch, config.learning_rate)
        float(loss), float(norm)
        times.append(time.perf_counter() - begin)
    return times


def litgpts(setting: Setting, folder: Path) -> list[float]:
    """Seconds of each optimizer step of litgpt's own pre-training."""
    from litgpt import pretrain
    from litgpt.args import EvalArgs, TrainArgs
    from litgpt.data import DataModule
    from torch.utils.data import DataLoader

    from pretraining.models import litgpt_config

    sequences = torch.from_numpy(setting.sequences())

    class Shards(DataModule):
        def connect(self, tokenizer: Any = None, batch_size: int = 1, max_seq_length: int | None = None) -> None:
            self.batch_size = batch_size

        def train_dataloader(self) -> DataLoader:
            return DataLoader(sequences, batch_size=self.batch_size)

        def val_dataloader(self) -> DataLoader:
            return DataLoader(sequences[: self.batch_size], batch_size=self.batch_size)

    ends = []

    class Clock(torch.optim.AdamW):
        def step(self, *arguments: Any, **options: Any) -> Any:
            result = super().step(*arguments, **options)
            ends.append(time.perf_counter())
            return result

    pretrain.save_checkpoint = lambda *_, **__: None  # it would read this process's command line as its own
    torch.optim.AdamW, kept = Clock, torch.optim.AdamW  # litgpt looks its optimizer up by name
    try:
        pretrain.setup(
            "benchmark",
            model_config=litgpt_config(SHAPES[setting.model]),
            out_dir=folder / "litgpt",
            precision=number_format(),
            data=Shards(),
            train=TrainArgs(
                save_interval=None,
                log_interval=1,
                global_batch_size=setting.global_batch_size,
                micro_batch_size=setting.micro_batch_size,
                max_tokens=setting.steps * setting.global_batch_size * setting.length,
                max_norm=1.0,
                lr_warmup_steps=0,
                max_seq_length=setting.length,
            ),
            eval=EvalArgs(interval=10**9, max_iters=1, initial_validation=False, final_validation=False),
            optimizer={"class_path": "torch.optim.AdamW", "init_args": {"lr": 5e-4, "weight_decay": 0.1}},
            devices=1,
            logger_name="csv",
        )
    finally:
        torch.optim.AdamW = kept
    return np.diff(ends).tolist()


def trainers(setting: Setting, folder: Path, compiled: bool) -> list[float]:
    """Seconds of each optimizer step of a Hugging Face Trainer."""
    from transformers import LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

    from pretraining.huggingface import huggingface_config
    from pretraining.models import litgpt_config

    model = LlamaForCausalLM(huggingface_config(litgpt_config(SHAPES[setting.model])))
    rows = setting.sequences()[:, : setting.length]
    ends = []

    class Clock(TrainerCallback):
        def on_step_end(self, *arguments: Any, **options: Any) -> None:
            ends.append(time.perf_counter())

    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        max_steps=setting.steps,
        per_device_train_batch_size=setting.micro_batch_size,
        gradient_accumulation_steps=setting.global_batch_size // setting.micro_batch_size,
        learning_rate=5e-4,
        weight_decay=0.1,
        bf16=number_format() == "bf16-mixed",
        use_cpu=not torch.cuda.is_available(),
        torch_compile=compiled,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    data = [{"input_ids": row, "labels": row} for row in rows]
    Trainer(model, arguments, train_dataset=data, callbacks=[Clock()]).train()
    return np.diff(ends).tolist()


def number_format() -> str:
    """What our ``auto`` comes to here."""
    return "bf16-mixed" if multiplies_bf16("cuda" if torch.cuda.is_available() else "cpu") else "32-true"


def time_way(way: str, setting: Setting) -> list[float]:
    """Seconds of each optimizer step of one way, the first ones left out."""
    with tempfile.TemporaryDirectory() as name:
        folder, compiled = Path(name), way.endswith("compiled")
        if way.startswith("ours"):
            times = ours(setting, folder, compiled)
        elif way.startswith("litgpt"):
            times = litgpts(setting, folder)
        else:
            times = trainers(setting, folder, compiled)
    return times[DISCARDED:]


def compare_training(options: argparse.Namespace) -> None:
    """Prints tokens per second of each way, and the ratio to litgpt's."""
    setting = Setting(
        str(options.tokens.resolve()), options.model, options.global_batch_size, options.micro_batch_size, options.steps
    )
    if options.way:
        print(json.dumps(time_way(options.way, setting)))
        return
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(options.repeats):
        for way in WAYS:
            command = [sys.executable, "-m", "benchmarks.pretraining", "train", "--way", way, *sys.argv[2:]]
            one_device = {
                **os.environ,
                "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0],
            }
            done = subprocess.run(command, cwd=REPOSITORY, env=one_device, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{way} failed:\n{done.stderr}")
            times[way] += json.loads(done.stdout.splitlines()[-1])
    tokens = setting.global_batch_size * setting.length
    speeds = {way: tokens / statistics.median(found) for way, found in times.items()}
    print(
        f"{setting.model}, {number_format()}, {torch.get_num_threads()} threads, global batch "
        f"{setting.global_batch_size} of {setting.length} tokens, micro batch {setting.micro_batch_size}\n"
    )
    print("| way | tokens/s | ratio to litgpt pretrain | ratio to the Trainer |\n|---|---|---|---|")
    for way, speed in speeds.items():
        print(f"| {way} | {speed:,.0f} | {speed / speeds[WAYS[2]]:.2f} | {speed / speeds[WAYS[3]]:.2f} |")


@contextmanager
def quiet() -> Iterator[None]:
    """Without the lines of datatrove's log."""
    from loguru import logger

    logger.disable("datatrove")
    yield
    logger.enable("datatrove")


def tokenize_ours(options: argparse.Namespace, folder: Path) -> int:
    """`pretraining tokenize`; returns the tokens written."""
    from pretraining.tokenize_corpus import tokenize

    return tokenize(TokenizeConfig(folder / "ours", documents=options.documents, tokenizer=options.tokenizer))["tokens"]


def tokenize_with_datatrove(options: argparse.Namespace, folder: Path) -> int:
    """datatrove as it comes."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.tokens import DocumentTokenizer

    pipeline = [
        ParquetReader(str(options.documents / "documents")),
        DocumentTokenizer(
            str(folder / "datatrove"),
            tokenizer_name_or_path=str(options.tokenizer / "tokenizer.json"),
            eos_token="</s>",
        ),
    ]
    LocalPipelineExecutor(pipeline, logging_dir=str(folder / "logs")).run()
    return sum(path.stat().st_size for path in (folder / "datatrove").glob("*.ds")) // 2


def tokenize_one_by_one(options: argparse.Namespace, folder: Path) -> int:
    """One encode a document, in Python, rows of T + 1 tokens, the unfinished last one left out."""
    from transformers import AutoTokenizer

    from prox.units import iterate_documents

    tokenizer, length = AutoTokenizer.from_pretrained(options.tokenizer), options.sequence_length + 1
    waiting: list[int] = []
    written = 0
    with (folder / "rows.bin").open("wb") as file:
        for document in iterate_documents(options.documents):
            ids = tokenizer.encode(document.text, add_special_tokens=False, verbose=False)
            waiting += [*ids, tokenizer.eos_token_id]
            while len(waiting) >= length:
                np.array(waiting[:length], dtype=np.uint16).tofile(file)
                waiting = waiting[length:]
                written += length
    return written


def compare_tokenizing(options: argparse.Namespace) -> None:
    """Prints MB/s of each way, and the share of the tokens that it keeps."""
    ways = {
        "ours": tokenize_ours,
        "datatrove's defaults": tokenize_with_datatrove,
        "one encode a document": tokenize_one_by_one,
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    tokens: dict[str, int] = {}
    size = 0
    with quiet():
        for _ in range(options.repeats + 1):
            for way, run in ways.items():
                with tempfile.TemporaryDirectory() as name:
                    folder = Path(name)
                    (folder / "ours").mkdir()
                    begin = time.perf_counter()
                    tokens[way] = run(options, folder)
                    times[way].append(time.perf_counter() - begin)
                    if way == "ours":
                        size = read_json(folder / "ours/stats.json")["text_bytes"]
    speeds = {way: size / 1e6 / statistics.median(found[1:]) for way, found in times.items()}
    print(f"{size / 1e6:.1f} MB of text, one worker\n")
    print("| way | MB/s | ratio to ours | tokens kept |\n|---|---|---|---|")
    for way, speed in speeds.items():
        print(f"| {way} | {speed:.1f} | {speed / speeds['ours']:.2f} | {tokens[way] / tokens['ours']:.2%} |")


def main() -> None:
    """Runs one comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train")
    train.add_argument("--tokens", type=Path, required=True, help="artefact of `pretraining tokenize`")
    train.add_argument("--model", default="tlm-nano", choices=sorted(SHAPES))
    train.add_argument("--global_batch_size", type=int, default=16)
    train.add_argument("--micro_batch_size", type=int, default=8)
    train.add_argument("--steps", type=int, default=15)
    train.add_argument("--repeats", type=int, default=2)
    train.add_argument("--way", default="", choices=["", *WAYS], help="time one way only, in this process")
    train.set_defaults(run=compare_training)
    tokenize = commands.add_parser("tokenize")
    tokenize.add_argument("--documents", type=Path, required=True, help="documents artefact")
    tokenize.add_argument("--tokenizer", type=Path, required=True, help="tokenizer folder")
    tokenize.add_argument("--sequence_length", type=int, default=2_048)
    tokenize.add_argument("--repeats", type=int, default=3)
    tokenize.set_defaults(run=compare_tokenizing)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
