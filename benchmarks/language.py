"""How fast the language of refinement is: chunking against encoding line by line, running programs against splitting.

    python benchmarks/language.py                                          # project pages of the installed packages
    python benchmarks/language.py --pages pages.jsonl.gz --tokenizer <folder>   # another corpus, another tokenizer

Both sides see the same documents and tokenizer in one process, in turns; the table shows the median of the turns and
their ratio. The alternatives, written for this benchmark, are what the authors' code does:

- chunking: ``tokenizer.encode`` of every numbered line by itself, lengths summed until the window is full. Ours also
  gives the token ids of every chunk's prompt; a second row compares it with chunking line by line and encoding the
  prompts of those chunks in one batch, which an engine that is given text does. Ours remembers words: before each turn
  it forgets all, reads one half of the documents untimed, and is timed on the other half, which it never saw; as in a
  corpus, where the next document is always new.
- programs: each line split at brackets, commas and equals signs, ``str.replace`` and a set of line numbers, no guards,
  no faults, no record. Both must give the same text.
"""

import argparse
import copy
import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from benchmarks.common import read_pages, seconds
from prox import execute, parse_program, split_into_chunks
from prox.dialogue import Dialogue, PromptRenderer
from prox.program import Normalize, Operation, RemoveLines, render_program

WINDOW = 1500
BATCH = 512


def train_tokenizer(pages: Sequence[str], size: int) -> PreTrainedTokenizerBase:
    """A byte-level BPE of ``size`` tokens, trained on the pages themselves."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(pages, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def encode_line_by_line(pages: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The alternative: the texts of the chunks."""
    chunks: list[str] = []
    for page in pages:
        chunk: list[str] = []
        used = 0
        for number, line in enumerate(page.split("\n")):
            numbered = f"[{number:03d}]{line}"
            size = len(tokenizer.encode(numbered, verbose=False))
            if chunk and used + size > WINDOW:
                chunks.append("\n".join(chunk))
                chunk, used = [], 0
            chunk.append(numbered)
            used += size
        chunks.append("\n".join(chunk))
    return chunks


def encode_line_by_line_and_prompts(pages: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> int:
    """The alternative with the ids of the prompts; returns their number."""
    opening, closing = Dialogue().frame()
    prompts = [opening + chunk + closing for chunk in encode_line_by_line(pages, tokenizer)]
    return sum(map(len, tokenizer(prompts, add_special_tokens=False, return_attention_mask=False)["input_ids"]))


class Reader:
    """A tokenizer whose memory of words can be emptied: what it has learned goes with the copy."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.original = self.tokenizer = tokenizer

    def forget_and_read(self, pages: Sequence[str]) -> None:
        """Ours as it is after other documents than those that are timed."""
        self.tokenizer = copy.deepcopy(self.original)
        encode_batched(pages, self.tokenizer)


def encode_batched(pages: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> int:
    """Ours: chunks with the token ids of their prompts."""
    renderer = PromptRenderer(Dialogue(), tokenizer, 2048 - 256)
    number_of_chunks = 0
    for begin in range(0, len(pages), BATCH):
        number_of_chunks += sum(map(len, renderer.chunks(pages[begin : begin + BATCH], WINDOW)))
    return number_of_chunks


def make_programs(pages: Sequence[str], seed: int) -> list[tuple[str, str, int]]:
    """(program, chunk text, first line) of every chunk: up to three removed ranges and two replacements."""
    draw = random.Random(seed)
    jobs = []
    for page in pages:
        for chunk in split_into_chunks(page, 800):
            lines = chunk.text.split("\n")
            operations: list[Operation] = []
            for _ in range(3):
                start = draw.randrange(len(lines))
                end = min(start + draw.randrange(4), len(lines) - 1)
                operations.append(RemoveLines(chunk.first_line + start, chunk.first_line + end))
            # The alternative can't read sources with a comma, a bracket, a quote or an equals sign.
            words = [word for word in chunk.text.split() if word.isalnum() and len(word) > 6]
            operations += [Normalize(word) for word in draw.sample(words, min(2, len(words)))]
            jobs.append((render_program(operations), chunk.text, chunk.first_line))
    return jobs


def split_and_replace(program: str, text: str, first_line: int) -> str:
    """The alternative: a naive executor."""
    removed: set[int] = set()
    for line in program.split("\n"):
        arguments = line[line.index("(") + 1 : line.index(")")].split(",")
        values = [argument.split("=")[1].strip() for argument in arguments]
        if line.startswith("remove_lines"):
            removed.update(range(int(values[0]) - first_line, int(values[1]) - first_line + 1))
        else:
            text = text.replace(values[0].strip('"'), values[1].strip('"'))
    return "\n".join(line for number, line in enumerate(text.split("\n")) if number not in removed)


def parse_and_execute(program: str, text: str, first_line: int) -> str:
    """Ours."""
    return execute(parse_program(program), text, first_line).text


def main() -> None:
    """Runs both comparisons and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=Path, help="JSON lines with a `text` field, .gz or plain")
    parser.add_argument("--limit", type=int, default=2_000, help="most documents read")
    parser.add_argument("--tokenizer", help="folder or hub name; unset trains a byte-level BPE on the pages")
    parser.add_argument("--vocabulary", type=int, default=32_000, help="tokens of the trained BPE")
    parser.add_argument("--repeats", type=int, default=5, help="turns counted")
    parser.add_argument("--seed", type=int, default=0, help="seed of the programs")
    options = parser.parse_args()

    pages = read_pages(options.pages, options.limit)
    tokenizer = (
        AutoTokenizer.from_pretrained(options.tokenizer)
        if options.tokenizer
        else train_tokenizer(pages, options.vocabulary)
    )
    tokenizer.model_max_length = 2**31
    jobs = make_programs(pages, options.seed)
    # A chunk of which nothing but white space is left comes back empty from ours.
    different = sum(
        parse_and_execute(*job) != (theirs if (theirs := split_and_replace(*job)).strip() else "") for job in jobs
    )
    if different:
        raise SystemExit(f"{different} of {len(jobs)} programs give different texts: the comparison would be void")

    reader, unseen = Reader(tokenizer), pages[1::2]
    lines = sum(page.count("\n") + 1 for page in pages)
    size = sum(len(page.encode()) for page in pages)
    print(
        f"{len(pages)} documents, {lines} lines, {size / 1e6:.1f} MB; {len(tokenizer)} tokens, {len(jobs)} programs\n"
    )

    def forget(name: str) -> None:
        if name == "ours":
            reader.forget_and_read(pages[0::2])

    chunking, prompts = (
        seconds(
            {"ours": lambda: encode_batched(unseen, reader.tokenizer), "theirs": partial(way, unseen, tokenizer)},
            options.repeats,
            forget,
        )[0]
        for way in (encode_line_by_line, encode_line_by_line_and_prompts)
    )
    programs, _ = seconds(
        {
            "ours": lambda: [parse_and_execute(*job) for job in jobs],
            "theirs": lambda: [split_and_replace(*job) for job in jobs],
        },
        options.repeats,
    )
    print("| what | ours | alternative | ratio of times (ours / alternative) |")
    print("|---|---|---|---|")
    rows = (
        ("chunking by tokens, documents/s", "line by line", len(unseen), chunking),
        ("chunking and prompt ids, documents/s", "line by line, then prompts", len(unseen), prompts),
        ("parse + execute, programs/s", "split and replace", len(jobs), programs),
    )
    for name, alternative, number, times in rows:
        ours, theirs = times["ours"], times["theirs"]
        print(f"| {name} | {number / ours:,.0f} | {alternative}: {number / theirs:,.0f} | {ours / theirs:.2f} |")


if __name__ == "__main__":
    main()
