"""`adaptation select`: the checkpoint with the highest F1 becomes a Hugging Face folder of its own."""

import logging
import shutil
from pathlib import Path
from typing import Any

from adaptation.checkpoints import RESUME_FILES, STATE_FILE
from adaptation.configs import SelectConfig
from prox import artifact
from prox.confusion import best_checkpoint
from prox.dialogue import Dialogue
from prox.errors import UserError

log = logging.getLogger("prox")

CARD = "README.md"


def select_best(config: SelectConfig) -> dict[str, Any]:
    """Copies weights, tokenizer and `dialogue.json` of the best checkpoint into the output, and writes its card."""
    if config.metrics is None:
        raise UserError("--metrics is not set")
    metrics = artifact.read_json(config.metrics / "metrics.json")
    best = best_checkpoint(metrics["checkpoints"])
    source = Path(best["checkpoint"])
    if not source.is_dir():
        raise UserError(
            f"checkpoint {best['checkpoint']!r} of {config.metrics} is no folder here: run select where validate ran"
        )
    copy_checkpoint(source, config.output)
    if config.dtype != "as_trained":
        store_as(config.output, config.dtype)
    Dialogue(**best["dialogue"]).save(config.output)
    artifact.write_atomically(config.output / CARD, model_card(metrics, best, config.dtype))
    for name, scores in best["baselines"].items():
        if best["f1"] <= scores["f1"]:
            log.warning(
                "adaptation select: the best checkpoint (F1 %.4f) is no better than `%s` without a model (F1 %.4f): "
                "it needs more examples or more epochs",
                best["f1"],
                name,
                scores["f1"],
            )
    return {"selected": best["name"], "f1": f"{best['f1']:.4f}"}


def copy_checkpoint(source: Path, target: Path) -> None:
    """Copies what using a checkpoint takes; the trainer's own state stays behind."""
    left = {path for pattern in (*RESUME_FILES, STATE_FILE) for path in source.glob(pattern)}
    for path in sorted(source.iterdir()):
        if path.is_file() and path not in left:
            shutil.copyfile(path, target / path.name)


def store_as(checkpoint: Path, dtype: str) -> None:
    """Rewrites a checkpoint's weights in another number format; what is no floating-point number stays."""
    import torch
    from safetensors.torch import load_file, save_file

    files = sorted(checkpoint.glob("*.safetensors"))
    if not files:
        raise UserError(f"{checkpoint} holds no safetensors, which --dtype would store anew: leave it out")
    for file in files:
        weights = load_file(file)
        found = {
            name: weight.to(getattr(torch, dtype)) if weight.is_floating_point() else weight
            for name, weight in weights.items()
        }
        save_file(found, file, metadata={"format": "pt"})
    settings = artifact.read_json(checkpoint / "config.json")
    artifact.write_json(checkpoint / "config.json", settings | {"dtype": dtype})


def model_card(metrics: dict[str, Any], best: dict[str, Any], dtype: str = "as_trained") -> str:
    """The card in Markdown: what it is, made from what, scored how."""
    training = metrics["training"] or {}
    task, dialogue = metrics["task"], Dialogue(**best["dialogue"])
    answers = "keep or drop a document" if task == "document" else "clean a chunk of a document, line by line"
    what = f"that writes programs to {answers}"
    if dialogue.kind == "tagger":
        what = (
            "that judges every line of a chunk in one prefill; programs remove the lines whose probability of removal "
            f"is at least {dialogue.remove_threshold:g}"
        )
    lines = [
        f"# ProX refiner: {task} stage",
        "",
        f"A small causal language model {what} "
        '(after "Programming Every Example", Zhou et al., 2024). Its prompt is described by `dialogue.json`.',
        "",
        "## Made from",
        "",
        f"- Base model: `{training.get('base', 'not recorded')}`",
        f"- Fine-tuning: {_training_line(training, dialogue)}",
        *([f"- Weights: trained in float32, stored in {dtype}"] if dtype != "as_trained" else []),
        f"- Examples: `{metrics['examples']}`",
        f"- Annotator: {(metrics['annotation'] or {}).get('annotator', 'not recorded')}",
        *_bound_lines(dialogue),
        "",
        f"## Scores on the valid split ({best['num_examples']} examples)",
        "",
        *_score_table(metrics["checkpoints"], best),
        "",
        *_baseline_lines(best),
        *_breakdown(best),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _bound_lines(dialogue: Dialogue) -> list[str]:
    """Which pages a tagger leaves as they are."""
    lines = []
    if dialogue.max_tokens_per_letter is not None:
        lines.append(
            f"- Languages: pages whose letters take more than {dialogue.max_tokens_per_letter:g} tokens each are left "
            "as they are, as not in a language it was taught; of a small vocabulary, or one made of several "
            "languages, that tells little"
        )
    if dialogue.min_shown_share is not None:
        lines.append(
            f"- Long lines: it reads {dialogue.max_line_characters} characters of one; pages of which it would read "
            f"less than {dialogue.min_shown_share:.1%} are left as they are"
        )
    return lines


def _training_line(training: dict[str, Any], dialogue: Dialogue) -> str:
    if not training:
        return "not recorded"
    settings = ", ".join(f"{name} {value}" for name, value in training["settings"].items())
    trainer = "Hugging Face's trainer" if dialogue.kind == "tagger" else "LLaMA-Factory"
    return (
        f"full parameters with {trainer}, {training['num_examples']:,} examples, {training['num_steps']:,} steps, "
        f"{training['num_tokens']:,} tokens ({settings})"
    )


def _score_table(scores: list[dict[str, Any]], best: dict[str, Any]) -> list[str]:
    names = [
        name
        for name in ("f1", "precision", "recall", "accuracy", "f1_macro_documents", "share_unparsable")
        if name in best
    ]
    rows = ["| checkpoint | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for row in scores:
        mark = " (this one)" if row is best else ""
        rows.append(f"| {row['name']}{mark} | " + " | ".join(f"{row[name]:.4f}" for name in names) + " |")
    return rows


def _breakdown(best: dict[str, Any]) -> list[str]:
    """Scores of the chosen checkpoint by call and by length, and how its probabilities are calibrated."""
    lines = []
    if calls := best.get("by_call"):
        lines += ["", "## By call", "", "| call | in the reference | in the answers | F1 | precision | recall |"]
        lines += ["|---|---:|---:|---:|---:|---:|"]
        lines += [
            f"| `{name}` | {row['num_reference']:,} | {row['num_predicted']:,} "
            f"| {row['f1']:.4f} | {row['precision']:.4f} | {row['recall']:.4f} |"
            for name, row in calls.items()
        ]
    if lengths := best.get("by_length"):
        lines += ["", "## By length", "", "| words | examples | F1 | precision | recall |", "|---|---:|---:|---:|---:|"]
        lines += [
            f"| {row['words']} | {row['num_examples']:,} "
            f"| {row['f1']:.4f} | {row['precision']:.4f} | {row['recall']:.4f} |"
            for row in lengths
        ]
    if found := best.get("calibration"):
        threshold = found["best_threshold"]
        lines += [
            "",
            f"## Calibration of the probability of {'removing a line' if 'by_call' in best else 'keeping'}",
            "",
            f"Brier score {found['brier_score']:.4f}, expected calibration error "
            f"{found['expected_calibration_error']:.4f}. Of all thresholds, not hundredths alone, the best on these "
            f"examples is {threshold['threshold']:.4f} (F1 {threshold['f1']:.4f}).",
        ]
    return lines


def _baseline_lines(best: dict[str, Any]) -> list[str]:
    return [
        f"- Without a model, `{name}`: F1 {scores['f1']:.4f}, accuracy {scores['accuracy']:.4f}"
        for name, scores in best["baselines"].items()
    ]
