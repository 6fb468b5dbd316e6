"""`adaptation validate`: how well checkpoints write the valid split's programs (paper, A.3)."""

import dataclasses
import functools
import json
import logging
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import Any, TypeVar

from adaptation.calibration import calibration
from adaptation.checkpoints import list_checkpoints
from adaptation.configs import Task, ValidateConfig, split_file
from adaptation.curve import curve_rows, write_curve
from adaptation.examples import Example, answer_style, read_examples
from adaptation.line_scores import score_lines
from adaptation.metrics import ChunkPair, chunk_metrics, document_metrics
from adaptation.samples import render_samples
from adaptation.train import CHECKPOINTS, TRAINING
from adaptation.train import METRICS as TRAINING_METRICS
from prox import artifact
from prox.answers import is_cut_off, program_of
from prox.chunk_refiner import ChunkRenderer, chunk_refiner, chunk_renderer, engine_for
from prox.chunking import Chunk
from prox.confusion import best_checkpoint
from prox.decision import DROP_ANSWER, KEEP_ANSWER, keep_probability
from prox.dialogue import Dialogue, load_dialogue
from prox.engines import Completion, Engine, Failure, load_engine
from prox.engines.base import LOCAL_ONLY
from prox.errors import UserError
from prox.operations import KeepChunk, render_program
from prox.program import DropDoc, KeepDoc, parse_program
from prox.progress import Progress
from prox.tagging import LinePromptRenderer, encode_lines
from prox.words import count_words

log = logging.getLogger("prox")

METRICS = "metrics.json"
PREDICTIONS = "predictions.jsonl"
SAMPLES = "samples.md"
NOT_ASKED = Completion(render_program([KeepChunk()]), 0, "stop")
"""Of a chunk that is too long for a tagger, or unlike what it was taught: refinement keeps it as it is."""
EXAMPLES_AT_ONCE = 512  # enough to sort by length in and to fill vLLM's batches, few enough to show progress

Answer = TypeVar("Answer")
Prediction = dict[str, Any]


def validate(config: ValidateConfig) -> dict[str, Any]:
    """Writes `metrics.json`, `predictions.jsonl` and `samples.md` for each checkpoint; all metrics in `metrics.json`.

    For the checkpoints of a training also its `learning_curve.csv` and `.svg`.
    """
    if config.examples is None:
        raise UserError("--examples is not set")
    source = split_file(config.examples, config.task, "valid")
    examples = list(read_examples(source, config.max_examples))
    if not examples:
        raise UserError(f"{source} holds no example: annotate more documents or raise the share of the valid split")
    scores = []
    ways = to_score(config)
    check_kinds(config, [dialogue for _, _, dialogue in ways])
    for name, checkpoint, dialogue in ways:
        folder = config.output / name
        # Each checkpoint is scored whole: its metrics are written last, and a rerun takes them as they are.
        if not (folder / METRICS).is_file():
            folder.mkdir(exist_ok=True)
            artifact.write_json(folder / METRICS, score_checkpoint(config, checkpoint, dialogue, examples, folder))
        metrics = artifact.read_json(folder / METRICS)
        log.info("adaptation validate: %s", one_line(config.task, name, metrics))
        scores.append({"name": name, "checkpoint": checkpoint, **metrics})
    artifact.write_json(config.output / METRICS, collect(config, scores))
    if config.checkpoints is not None and not config.dialogues:
        rows = curve_rows(config.checkpoints / TRAINING_METRICS, scores)
        write_curve(config.output, rows, f"{config.task} refiner, {len(examples):,} valid examples")
    best = best_checkpoint(scores)
    return {"checkpoints": len(scores), "best_f1": f"{best['f1']:.4f} ({best['name']})"}


def check_kinds(config: ValidateConfig, dialogues: Sequence[Dialogue]) -> None:
    """Refuses settings that a checkpoint's kind of refiner has no use for."""
    taggers = [dialogue for dialogue in dialogues if dialogue.kind == "tagger"]
    if config.choose_threshold and len(taggers) < len(dialogues):
        raise UserError("--choose_threshold is for taggers, and the checkpoint is a generative refiner: leave it out")
    if not taggers:
        return
    if config.task == "document":
        raise UserError("the checkpoint is a tagger, which has no say of documents: give --task chunk")
    if config.engine.kind != "local":
        raise UserError(f"--engine.kind is {config.engine.kind}: {LOCAL_ONLY}")
    if config.keep_penalties:
        raise UserError("--keep_penalties are for what writes programs, and the checkpoint is a tagger: leave them out")


def to_score(config: ValidateConfig) -> list[tuple[str, str, Dialogue]]:
    """(name, folder or hub name, how it is asked) of every checkpoint, once for each way to ask it."""
    if config.checkpoints is None:
        found = [("checkpoint", config.checkpoint)]
    else:
        found = [(path.name, str(path)) for path in list_checkpoints(config.checkpoints / CHECKPOINTS)]
    if not found:
        raise UserError(f"{config.checkpoints} holds no checkpoints: run adaptation train again")
    if config.dialogues:
        return [
            (f"{name}-{way}", checkpoint, dialogue)
            for name, checkpoint in found
            for way, dialogue in config.dialogues.items()
        ]
    own = [(name, checkpoint, load_dialogue(checkpoint, config.dialogue)) for name, checkpoint in found]
    return [
        (f"{name}-keep{penalty:g}", checkpoint, dataclasses.replace(dialogue, keep_penalty=penalty))
        for name, checkpoint, dialogue in own
        for penalty in config.keep_penalties
    ] or own


def score_checkpoint(
    config: ValidateConfig, checkpoint: str, dialogue: Dialogue, examples: Sequence[Example], folder: Path
) -> dict[str, Any]:
    """Predicts every example's program, writes the predictions and returns the metrics."""
    engine = load_engine(engine_for(config.engine, dialogue), checkpoint)
    room = dialogue.answer_room(config.max_new_tokens)
    limit = engine.max_context - room
    if config.task == "document":  # chunks are cut already
        limit = dialogue.prompt_room(limit)
    if limit < 1:
        raise UserError(
            f"max_new_tokens {room} leaves no room for a prompt in the context of {checkpoint} "
            f"({engine.max_context} tokens): lower it"
        )
    step = functools.partial(predict_documents, config, engine, dialogue, limit)
    if config.task == "chunk":
        renderer = chunk_renderer(dialogue, engine.tokenizer, limit)
        step = functools.partial(predict_chunks, config, engine, renderer, pages_left_alone(renderer, examples))
    predictions = in_slices(step, examples, EXAMPLES_AT_ONCE, f"scoring {folder.name}")
    more = {}
    if config.task == "chunk" and dialogue.kind == "tagger":
        predictions, dialogue, found = score_lines(examples, predictions, dialogue, config.choose_threshold)
        more = {"calibration": found}
    lines = [json.dumps(prediction, ensure_ascii=False) + "\n" for prediction in predictions]
    artifact.write_atomically(folder / PREDICTIONS, "".join(lines))
    artifact.write_atomically(folder / SAMPLES, render_samples(config.task, examples, predictions, config.seed))
    scores = document_scores if config.task == "document" else chunk_scores
    return scores(examples, predictions) | more | {"dialogue": dialogue.resolved(engine.tokenizer)}


def in_slices(
    predict: Callable[[Sequence[Example]], list[Prediction]], examples: Sequence[Example], size: int, label: str
) -> list[Prediction]:
    """Predictions for all examples, ``size`` at a time, with progress."""
    predictions: list[Prediction] = []
    with Progress(label, len(examples), "examples") as progress:
        for begin in range(0, len(examples), size):
            part = examples[begin : begin + size]
            predictions += predict(part)
            progress.advance(len(part))
    return predictions


def predict_documents(
    config: ValidateConfig, engine: Engine, dialogue: Dialogue, limit: int, examples: Sequence[Example]
) -> list[Prediction]:
    """Keep or drop, from the next-token probabilities, as the refinement stage decides."""
    probabilities = answered(keep_probability(engine, dialogue, [example.text for example in examples], limit))
    return [
        {
            "id": example.id,
            "first_line": 0,
            "reference": example.program,
            "predicted": KEEP_ANSWER if p_keep >= config.keep_threshold else DROP_ANSWER,
            "p_keep": p_keep,
        }
        for example, p_keep in zip(examples, probabilities, strict=True)
    ]


def pages_left_alone(renderer: ChunkRenderer, examples: Sequence[Example]) -> frozenset[str]:
    """Ids of the pages that refinement leaves as they are, since a tagger was taught others.

    It looks at whole pages; here at as much of one as is among the examples.
    """
    if not isinstance(renderer, LinePromptRenderer):
        return frozenset()
    lines_of: dict[str, list[str]] = {}
    for example in examples:
        lines_of.setdefault(example.id, []).extend(example.text.split("\n"))
    found = set()
    for page, lines in lines_of.items():
        shown = [renderer.dialogue.shown(line) for line in lines]
        if renderer.refusal_of_page(lines, shown, encode_lines(renderer.tokenizer, shown)):
            found.add(page)
    return frozenset(found)


def predict_chunks(
    config: ValidateConfig,
    engine: Engine,
    renderer: ChunkRenderer,
    left_alone: Container[str],
    examples: Sequence[Example],
) -> list[Prediction]:
    """Programs as refinement gets them; ``style`` says how to read one (the reference is written as calls).

    Pages that are ``left_alone`` (ids) are not asked about.
    """
    dialogue = renderer.dialogue
    refiner = chunk_refiner(engine, dialogue, dialogue.answer_room(config.max_new_tokens))
    chunks = [Chunk(example.first_line, example.text) for example in examples]
    prompts = [
        None if example.id in left_alone else renderer.chunk(chunk)
        for example, chunk in zip(examples, chunks, strict=True)
    ]
    asked = [(chunk, prompt) for chunk, prompt in zip(chunks, prompts, strict=True) if prompt is not None]
    found = iter(answered(refiner.ask(asked)))
    answers = [NOT_ASKED if prompt is None else next(found) for prompt in prompts]
    return [
        chunk_prediction(example, dialogue, answer, prompt is None or prompt.cut)
        for example, prompt, answer in zip(examples, prompts, answers, strict=True)
    ]


def chunk_prediction(example: Example, dialogue: Dialogue, answer: Completion, prompt_cut: bool) -> Prediction:
    """A row of `predictions.jsonl`."""
    row = {
        "id": example.id,
        "first_line": example.first_line,
        "reference": example.program,
        "predicted": answer.text,
        "style": answer_style("chunk", dialogue),
        "num_tokens": answer.num_tokens,
        "finish_reason": answer.finish_reason,
        "prompt_cut": prompt_cut,
    }
    return row if answer.line_probabilities is None else row | {"line_probabilities": answer.line_probabilities}


def answered(answers: Sequence[Answer | Failure]) -> list[Answer]:
    """The answers; a request that got none would make the score one of other examples, so it is a ``UserError``."""
    failures = [answer.reason for answer in answers if isinstance(answer, Failure)]
    if failures:
        raise UserError(
            f"{len(failures)} of {len(answers)} examples got no answer, the first because: {failures[0]}. "
            "Mend the engine and run the command again"
        )
    return [answer for answer in answers if not isinstance(answer, Failure)]


def document_scores(examples: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Document metrics with the calibration of `p_keep`; a reference that is no document program is a ``UserError``."""
    reference = []
    for prediction in predictions:
        operations = parse_program(prediction["reference"]).operations
        if operations not in ((KeepDoc(),), (DropDoc(),)):
            raise UserError(
                f"example {prediction['id']!r}: {prediction['reference'][:80]!r} is no document program: "
                "give --task chunk, or other examples"
            )
        reference.append(operations == (KeepDoc(),))
    predicted = [prediction["predicted"] == KEEP_ANSWER for prediction in predictions]
    metrics = document_metrics(reference, predicted, [count_words(example.text) for example in examples])
    return metrics | {"calibration": calibration(reference, [prediction["p_keep"] for prediction in predictions])}


def chunk_scores(examples: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Chunk metrics, with the length of the answers and the shares of prompts and answers that were cut."""
    answers = [Completion(row["predicted"], row["num_tokens"], row["finish_reason"]) for row in predictions]
    pairs = [
        ChunkPair(
            id=example.id,
            first_line=example.first_line,
            num_lines=example.text.count("\n") + 1,
            reference=example.reference,
            predicted=program_of(answer, prediction["style"]),
            ambiguous_lines=example.ambiguous_lines,
            num_words=count_words(example.text),
        )
        for example, prediction, answer in zip(examples, predictions, answers, strict=True)
    ]
    number = len(predictions)
    return {
        **chunk_metrics(pairs),
        "mean_generated_tokens": sum(answer.num_tokens for answer in answers) / number,
        "share_cut_off": sum(map(is_cut_off, answers)) / number,
        "share_prompt_cut": sum(prediction["prompt_cut"] for prediction in predictions) / number,
    }


def one_line(task: Task, name: str, metrics: dict[str, Any]) -> str:
    """The console's line about one checkpoint."""
    text = f"{name}: F1 {metrics['f1']:.4f}, precision {metrics['precision']:.4f}, recall {metrics['recall']:.4f}"
    if task == "document":
        return f"{text} (keep all: F1 {metrics['baselines']['keep_all']['f1']:.4f})"
    if metrics["dialogue"].get("kind") == "tagger":
        unasked = metrics["share_prompt_cut"]
        text += f", threshold {metrics['dialogue']['remove_threshold']:g}"
        return f"{text}, {unasked:.1%} not asked about (too long, or unlike what was taught)" if unasked else text
    tokens = metrics["mean_generated_tokens"]
    return f"{text}, unparsable {metrics['share_unparsable']:.1%}, {tokens:.1f} tokens a program"


def collect(config: ValidateConfig, scores: list[dict[str, Any]]) -> dict[str, Any]:
    """The artefact's `metrics.json`: all scores, with what was trained and who annotated."""
    training = config.checkpoints / TRAINING if config.checkpoints else None
    card = config.examples / "card.json" if config.examples else None
    return {
        "task": config.task,
        "examples": config.examples,
        "training": artifact.read_json(training) if training and training.is_file() else None,
        "annotation": artifact.read_json(card) if card and card.is_file() else None,
        "checkpoints": scores,
    }
