"""Trains the byte-level BPE tokenizer.

Byte-level, so that no text is out of vocabulary; digits are split one by one, as Llama's tokenizer does. Line markers
are added tokens: a refiner reads and copies `[017]` as one token where the digits would take five.
"""

from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from pretraining.configs import SPECIAL_TOKENS, TokenizerConfig
from prox.artifact import write_json
from prox.errors import UserError
from prox.program import line_marker
from prox.progress import track
from prox.units import iterate_documents


def train_tokenizer(config: TokenizerConfig) -> dict[str, Any]:
    """Trains on every document of the artefact; the same documents give the same bytes.

    Raises:
        UserError: the artefact holds no text.
    """
    num_documents = 0

    def texts() -> Any:
        nonlocal num_documents
        for document in track(iterate_documents(config.documents), "tokenizer", None, "documents"):
            num_documents += 1
            yield document.text

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size - config.line_markers,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts(), trainer)
    if num_documents == 0:
        raise UserError(f"--documents {config.documents} holds no documents: there is nothing to train a tokenizer on")
    bpe.add_tokens([AddedToken(line_marker(number), normalized=False) for number in range(config.line_markers)])
    begin, end, padding = SPECIAL_TOKENS
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=begin,
        eos_token=end,
        pad_token=padding,
        model_max_length=config.model_max_length,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.save_pretrained(config.output)
    summary = {"documents": num_documents, "tokens": len(tokenizer), "asked": config.vocab_size}
    write_json(config.output / "stats.json", summary)
    return summary
