"""How fast refiners are asked, each figure as a ratio to a named alternative in the same run.

    python -m benchmarks.refiners document --refiner runs/quickstart/adaptation/document/refiner
    python -m benchmarks.refiners kinds --refiner GENERATIVE --tagger refiners/web-lines
    python -m benchmarks.refiners engines --refiner runs/quickstart/adaptation/chunk/refiner --chunks 200

document: documents to decisions, from text on, with the same weights and engine. Ours reads the decision off one
prefill. The alternatives decode it: `decoded` as this project does it with `--decision generate`; `published` as the
authors' code does, which encodes prompt by prompt, cuts what is longer than 2,000 tokens at the right end, the prompt's
closing included, and lets the refiner write 2,000 tokens, or to the end of its context: asked without a closing, it
goes on with the page. So much depends on the context: 48 tokens are left of 2,048. `--context` sets another than the
checkpoint's, for speed only: a model is not made for positions it was not trained on. Pages that `decoded` decides
otherwise are listed.

kinds: chunks to programs, from text on, by a tagger and a generative refiner, best of the same base, each asked as it
was taught, on the local engine. Tokens/s are those of the prompts. The last column is the tagger's share of what the
machine's matrix products reach: FLOPs of its forward passes (2 for each weight but the embeddings and token, and those
of attention) against those of one large product in the same number format.

engines: the chunk stage's programs, of the same prompts, by vLLM (and `--server URL`) and by the local engine. Where
two engines write different programs, their first different tokens are compared by the local engine's probabilities: a
margin near 0 is a tie that rounding decides.

Turn by turn in one process; the table shows the median of the turns. Documents are the pages in order, whole.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import read_pages, seconds
from prox.chunk_refiner import chunk_refiner, chunk_renderer, engine_for
from prox.decision import keep_probability
from prox.dialogue import Dialogue, PromptRenderer, load_dialogue
from prox.engines import Completion, Engine, EngineConfig, Failure, load_engine
from prox.engines.local import LocalEngine
from refinement.document import read_answer

LONGEST_PROMPT = 2_000  # tokens: the authors' setting
LONGEST_ANSWER = 2_000
ROOM = 48  # what they leave the answer of a context of 2,048
CHUNK_ANSWER = 256  # tokens, or a quarter of the context


def decide_by_logits(engine: Engine, dialogue: Dialogue, pages: list[str]) -> list[bool]:
    """Ours: kept or not, one prefill each."""
    return [p_keep >= 0.5 for p_keep in probabilities(engine, dialogue, pages)]


def probabilities(engine: Engine, dialogue: Dialogue, pages: list[str]) -> list[float]:
    """The `p_keep` of each page."""
    longest = min(LONGEST_PROMPT, engine.max_context - ROOM)
    return [answered(p_keep) for p_keep in keep_probability(engine, dialogue, pages, longest)]


def decide_by_decoding(engine: Engine, dialogue: Dialogue, pages: list[str]) -> list[bool]:
    """The same prompts, their answers decoded."""
    longest = min(LONGEST_PROMPT, engine.max_context - ROOM)
    prompts = PromptRenderer(dialogue, engine.tokenizer, longest).documents(pages)
    answers = engine.generate([prompt.ids for prompt in prompts], 16)
    return [read_answer(answered(answer).text).keep for answer in answers]


def decide_as_published(engine: Engine, dialogue: Dialogue, pages: list[str]) -> list[bool]:
    """The authors' way: cut on the right, and room to write until the context is full."""
    longest = min(LONGEST_PROMPT, engine.max_context - ROOM)
    opening, closing = dialogue.frame()
    prompts = [engine.tokenizer.encode(opening + page + closing, verbose=False)[:longest] for page in pages]
    answers = engine.generate(prompts, min(LONGEST_ANSWER, engine.max_context - longest))
    return ["drop" not in answered(answer).text for answer in answers]


def answered(answer: float | Completion | list[float] | Failure) -> Any:
    """The answer; a benchmark in which requests fail measures nothing."""
    if isinstance(answer, Failure):
        raise SystemExit(f"a request failed: {answer.reason}")
    return answer


def document(options: argparse.Namespace, pages: list[str]) -> None:
    """The document stage in three ways."""
    engine = load_engine(EngineConfig(kind=options.engine), options.refiner)
    dialogue = load_dialogue(options.refiner, Dialogue()).resolved(engine.tokenizer)
    ways = {"by logits": decide_by_logits, "decoded": decide_by_decoding, "published": decide_as_published}
    times, made = seconds({name: partial(way, engine, dialogue, pages) for name, way in ways.items()}, options.repeats)
    print(f"{len(pages)} documents, engine {options.engine}, context {engine.max_context}\n")
    print("| alternative | documents/s | by logits | ratio of speeds | same decision |\n|---|---|---|---|---|")
    for name in ("decoded", "published"):
        same = sum(ours == theirs for ours, theirs in zip(made["by logits"], made[name], strict=True))
        rates = [f"{len(pages) / times[way]:,.1f}" for way in (name, "by logits")]
        print(f"| {name} | {rates[0]} | {rates[1]} | {times[name] / times['by logits']:.2f} | {same}/{len(pages)} |")
    for index, p_keep in enumerate(probabilities(engine, dialogue, pages)):
        if made["by logits"][index] != made["decoded"][index]:
            print(f"page {index}: p_keep {p_keep:.4f}, decoded {'keep' if made['decoded'][index] else 'drop'}")


def engines(options: argparse.Namespace, pages: list[str]) -> None:
    """The chunk stage's answers by the local engine, vLLM in process and, with ``--server``, a server."""
    configs = {kind: EngineConfig(kind=kind) for kind in ("local", "vllm")}
    if options.server:
        configs["server"] = EngineConfig(kind="server", base_url=options.server)
    loaded = {kind: load_engine(config, options.refiner) for kind, config in configs.items()}
    local = loaded["local"]
    context = min(engine.max_context for engine in loaded.values())
    dialogue = load_dialogue(options.refiner, Dialogue()).resolved(local.tokenizer)
    room = dialogue.answer_room(min(CHUNK_ANSWER, context // 4))
    renderer = PromptRenderer(dialogue, local.tokenizer, context - room)
    chunks = renderer.chunks(pages, context - room - renderer.frame_tokens)
    prompts = [prompt.ids for of_page in chunks for _, prompt in of_page if prompt and not prompt.cut]
    prompts = prompts[: options.chunks]
    bias = dialogue.answer_bias(local.tokenizer)
    times, made = seconds(
        {kind: partial(engine.generate, prompts, room, bias=bias) for kind, engine in loaded.items()}, options.repeats
    )
    # A server holds back the bytes of a character that the token limit cut in two.
    texts = {kind: [answered(answer).text.rstrip("\ufffd") for answer in answers] for kind, answers in made.items()}
    tokens = sum(answered(answer).num_tokens for answer in made["local"])
    print(f"{len(pages)} documents, {len(prompts)} chunks, {tokens} tokens generated, context {context}\n")
    print("| engine | chunks/s | local | ratio of speeds | same program | widest margin of a difference (nats) |")
    print("|---|---|---|---|---|---|")
    for kind in list(configs)[1:]:
        pairs = zip(prompts, texts["local"], texts[kind], strict=True)
        margins = [margin_of(local, *pair) for pair in pairs if pair[1] != pair[2]]
        rates = [f"{len(prompts) / times[name]:,.1f}" for name in (kind, "local")]
        same = f"{len(prompts) - len(margins)}/{len(prompts)}"
        widest = f"{max(margins):.4f}" if margins else "-"
        print(f"| {kind} | {rates[0]} | {rates[1]} | {times['local'] / times[kind]:.2f} | {same} | {widest} |")


def refine(engine: LocalEngine, dialogue: Dialogue, pages: list[str]) -> list[tuple[int, int]]:
    """Asks about every chunk of the pages; the tokens of each prompt and of its answer."""
    room = dialogue.answer_room(min(CHUNK_ANSWER, engine.max_context // 4))
    longest = dialogue.prompt_room(engine.max_context - room)
    renderer = chunk_renderer(dialogue, engine.tokenizer, longest)
    chunks = renderer.chunks(pages, longest - renderer.frame_tokens)
    asked = [(chunk, prompt) for of_page in chunks for chunk, prompt in of_page if prompt and not prompt.cut]
    answers = chunk_refiner(engine, dialogue, room).ask(asked)
    return [(len(prompt.ids), answered(answer).num_tokens) for (_, prompt), answer in zip(asked, answers, strict=True)]


def matrix_ceiling(dtype: torch.dtype, device: torch.device, size: int = 2_048) -> float:
    """FLOP/s of the product of two square matrices, the best of ten."""
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))

    def product() -> float:
        begin = time.perf_counter()
        (left @ right).sum().item()
        return time.perf_counter() - begin

    return 2 * size**3 / min(product() for _ in range(10))


def forward_flops(engine: LocalEngine, lengths: Sequence[int]) -> float:
    """FLOPs of one forward pass over prompts of these lengths, without logits."""
    config = engine.model.config
    weights = engine.model.num_parameters(exclude_embeddings=True)
    if not config.tie_word_embeddings:
        weights -= engine.model.get_output_embeddings().weight.numel()
    width = config.num_hidden_layers * config.hidden_size
    return sum(2 * weights * length + 2 * width * length**2 for length in lengths)


def kinds(options: argparse.Namespace, pages: list[str]) -> None:
    """A tagger beside a generative refiner."""
    if not options.tagger:
        raise SystemExit("give --tagger, a folder or hub name, beside --refiner, which writes programs")
    names = {"generative": options.refiner, "tagger": options.tagger}
    settings = {"generative": EngineConfig(dtype=options.dtype)}
    settings |= {"tagger": EngineConfig(dtype=options.dtype, compile=options.compile)}
    asked = {kind: load_dialogue(name, Dialogue()) for kind, name in names.items()}
    loaded = {kind: LocalEngine(engine_for(settings[kind], asked[kind]), name) for kind, name in names.items()}
    ways = {
        kind: partial(refine, engine, asked[kind].resolved(engine.tokenizer), pages) for kind, engine in loaded.items()
    }
    times, made = seconds(ways, options.repeats)
    print(f"{len(pages)} documents, {options.dtype}, {torch.get_num_threads()} threads\n")
    names_of_columns = ["refiner", "number format", "parameters", "chunks", "tokens read", "tokens written"]
    names_of_columns += ["documents/s", "tokens/s", "ratio of speeds", "of the ceiling"]
    print(f"| {' | '.join(names_of_columns)} |\n|{'---|' * len(names_of_columns)}")
    for kind, engine in loaded.items():
        read, written = zip(*made[kind], strict=True)
        flops = forward_flops(engine, read) / times[kind]
        share = flops / matrix_ceiling(engine.model.dtype, engine.device) if kind == "tagger" else None
        counts = [engine.model.num_parameters(), len(read), sum(read), sum(written)]
        cells = [engine.dtype, *(f"{count:,}" for count in counts)]
        cells += [f"{len(pages) / times[kind]:,.1f}", f"{sum(read) / times[kind]:,.0f}"]
        cells += [f"{times['generative'] / times[kind]:.2f}", "-" if share is None else f"{share:.0%}"]
        print(f"| {kind} | {' | '.join(cells)} |")


def margin_of(engine: Engine, prompt: list[int], ours: str, theirs: str) -> float:
    """How much likelier one of two answers' first differing tokens is than the other; near 0 it is a tie.

    The answers are encoded again: of one that the token limit cut, the end of sequence is compared, which it did not
    choose.
    """
    end = engine.tokenizer.eos_token_id
    both = [[*engine.tokenizer.encode(text, add_special_tokens=False), end] for text in (ours, theirs)]
    common = next((place for place, (one, other) in enumerate(zip(*both, strict=False)) if one != other), None)
    if common is None:  # texts that the tokenizer does not tell apart
        return 0.0
    candidates = [ids[common] for ids in both]
    one, other = answered(engine.choose([prompt + both[0][:common]], candidates)[0])
    return abs(one - other)


def with_context(refiner: str, context: int, folder: Path) -> str:
    """A copy of a local checkpoint that takes sequences of ``context`` tokens."""
    shutil.copytree(refiner, folder, dirs_exist_ok=True)
    for name, key in (("config.json", "max_position_embeddings"), ("tokenizer_config.json", "model_max_length")):
        settings = json.loads((folder / name).read_text()) | {key: context}
        (folder / name).write_text(json.dumps(settings))
    return str(folder)


def main() -> None:
    """Runs one comparison and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("document", "kinds", "engines"))
    parser.add_argument("--refiner", required=True, help="checkpoint folder or hub name")
    parser.add_argument("--pages", type=Path, help="JSON lines with a `text` field; unset: installed packages' pages")
    parser.add_argument("--documents", type=int, default=200, help="most documents")
    parser.add_argument("--engine", choices=("local", "vllm"), default="vllm", help="engine of `document`")
    parser.add_argument("--tagger", help="of `kinds`: checkpoint folder or hub name of a tagger")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto", help="of `kinds`")
    parser.add_argument("--compile", action="store_true", help="have the tagger of `kinds` compiled")
    parser.add_argument("--chunks", type=int, help="most chunks of `engines`; unset: all")
    parser.add_argument("--server", help="URL of a server of the refiner, up to and including /v1, for `engines`")
    parser.add_argument("--repeats", type=int, default=3, help="turns counted")
    parser.add_argument("--context", type=int, help="tokens; unset: the checkpoint's")
    options = parser.parse_args()
    pages = read_pages(options.pages, options.documents)
    with tempfile.TemporaryDirectory() as folder:
        if options.context:
            options.refiner = with_context(options.refiner, options.context, Path(folder))
        {"document": document, "kinds": kinds, "engines": engines}[options.what](options, pages)


if __name__ == "__main__":
    main()
