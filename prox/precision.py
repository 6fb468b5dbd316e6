"""Which number format a machine multiplies fast."""


def multiplies_bf16(device: str) -> bool:
    """True where bfloat16 matrix products are several times faster than float32 ones; ``device`` is cuda or cpu."""
    import torch

    # On a CPU this needs the tile unit (AMX): without it bfloat16 is emulated, and slower than float32.
    return torch.cuda.is_bf16_supported() if device == "cuda" else torch.cpu._is_amx_tile_supported()
