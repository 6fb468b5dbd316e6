"""The model zoo: the shapes of the paper's Table 8, and two smaller ones. The one place per model.

Table 8 leaves out the number of key/value heads of the TLMs, without which its parameter counts can't be met (1, 2 and
32; they are in the authors' code), and its "w/o embed" counts subtract one of the two embedding matrices: they are not
tied. The other models' heads and rotary bases are those of their published weights.
"""

from dataclasses import dataclass
from typing import Literal

from prox.errors import UserError

Family = Literal["llama", "gpt_neox"]


@dataclass
class ModelShape:
    """A decoder-only transformer with rotary positions and untied embeddings."""

    name: str
    """Name of the model."""
    n_embd: int
    """Width of the residual stream."""
    intermediate_size: int
    """Width inside the MLP."""
    n_layer: int
    """Number of layers."""
    n_head: int
    """Number of query heads; must divide `n_embd`."""
    n_query_groups: int
    """Number of key/value heads; must divide `n_head`."""
    vocab_size: int
    """Rows of each embedding matrix; at least the tokenizer's size."""
    context: int
    """Longest sequence, in tokens."""
    family: Family = "llama"
    """`llama` (Mistral too): RMSNorm, gated MLP, no biases. `gpt_neox` (Pythia): LayerNorm, plain MLP beside the
    attention, biases, a quarter of each head rotated."""
    rope_base: int = 10_000
    """Base of the rotary positions' wavelengths."""

    def problems(self) -> list[str]:
        """Reasons why no model can have this shape."""
        found = [
            f"shape.{name} is {value}: must be at least 1"
            for name, value in vars(self).items()
            if isinstance(value, int) and value < 1
        ]
        if not found and self.n_embd % (2 * self.n_head):
            found.append(
                f"shape.n_embd {self.n_embd} must be a multiple of twice n_head {self.n_head} (rotary positions)"
            )
        if not found and self.n_head % self.n_query_groups:
            found.append(f"shape.n_head {self.n_head} must be a multiple of n_query_groups {self.n_query_groups}")
        if not found and self.family == "gpt_neox" and self.n_query_groups != self.n_head:
            found.append(
                f"shape.n_query_groups {self.n_query_groups} must be n_head {self.n_head} for gpt_neox, which has a "
                "key and a value for each query head"
            )
        if not found and self.family == "gpt_neox" and self.n_embd % (8 * self.n_head):
            found.append(
                f"shape.n_embd {self.n_embd} must be a multiple of eight times n_head {self.n_head} for gpt_neox, "
                "which rotates a quarter of each head"
            )
        return found

    def num_parameters(self) -> int:
        """Trainable parameters, both embedding matrices included."""
        head_size = self.n_embd // self.n_head
        attention = self.n_embd * head_size * (2 * self.n_head + 2 * self.n_query_groups)
        if self.family == "gpt_neox":
            attention += 4 * self.n_embd
            mlp = 2 * self.n_embd * self.intermediate_size + self.intermediate_size + self.n_embd
            norm = 2 * self.n_embd
        else:
            mlp = 3 * self.n_embd * self.intermediate_size
            norm = self.n_embd
        return self.n_layer * (attention + mlp + 2 * norm) + norm + 2 * self.vocab_size * self.n_embd

    def num_parameters_without_embedding(self) -> int:
        """The same without the input embedding, which is a look-up (Table 8)."""
        return self.num_parameters() - self.vocab_size * self.n_embd

    def training_flops_per_token(self, sequence_length: int) -> int:
        """Operations of one token's forward and backward pass: 6 a matrix weight, and the causal half of attention.

        The input embedding is a look-up and counts nothing.
        """
        return 6 * self.num_parameters_without_embedding() + 6 * self.n_layer * self.n_embd * sequence_length


SHAPES = {
    shape.name: shape
    for shape in (
        ModelShape("tlm-nano", 128, 512, 4, 2, 1, vocab_size=4_096, context=512),
        ModelShape("tlm-mini", 512, 1_408, 8, 8, 8, vocab_size=32_000, context=1_024),
        ModelShape("tlm-xs", 1_280, 2_048, 24, 16, 1, vocab_size=32_000, context=2_048),
        ModelShape("tlm-s", 1_536, 4_864, 24, 24, 2, vocab_size=32_000, context=2_048),
        ModelShape("tlm-m", 2_048, 8_192, 24, 32, 32, vocab_size=32_000, context=2_048),
        ModelShape("pythia-410m", 1_024, 4_096, 24, 16, 16, vocab_size=50_304, context=1_024, family="gpt_neox"),
        ModelShape("pythia-1b", 2_048, 8_192, 16, 8, 8, vocab_size=50_304, context=1_024, family="gpt_neox"),
        ModelShape("tinyllama-1.1b", 2_048, 5_632, 22, 32, 4, vocab_size=32_000, context=2_048),
        ModelShape("llama-2-7b", 4_096, 11_008, 32, 32, 32, vocab_size=32_000, context=4_096),
        ModelShape("codellama-7b", 4_096, 11_008, 32, 32, 32, vocab_size=32_016, context=4_096, rope_base=1_000_000),
        ModelShape("mistral-7b", 4_096, 14_336, 32, 32, 8, vocab_size=32_000, context=4_096),
    )
}


def shape_named(name: str) -> ModelShape:
    """The zoo's shape of that name; a ``UserError`` lists the names there are."""
    if name not in SHAPES:
        raise UserError(f"unknown model {name!r}: available are {', '.join(SHAPES)}, or give your own with --shape")
    return SHAPES[name]
