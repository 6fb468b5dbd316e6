"""torch.compile, layer by layer, where this machine can."""

import logging
import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.nn import Module, ModuleList

log = logging.getLogger("prox")


def has_compiler() -> bool:
    """True where torch.compile can make code for a CPU; says so where it can't."""
    found = any(shutil.which(name) for name in (os.environ.get("CXX", ""), "g++", "clang++") if name)
    if not found:
        log.warning("compiling for a CPU needs a C++ compiler, and there is none (g++): it goes on without")
    return found


def layers_of(body: "Module") -> "ModuleList | None":
    """The layers of a transformers model without its head, under either name they go by."""
    return getattr(body, "layers", None) or getattr(body, "h", None)


def compile_layers(body: "Module", on_cuda: bool) -> bool:
    """Has each layer of a transformers model compiled when it is first run; the layers are alike, so one of them is.

    For inputs of any size. False, and a warning, where that can't be.
    """
    layers = layers_of(body)
    if layers is None:
        log.warning("%s has no list of layers: it is not compiled", type(body).__name__)
        return False
    if not on_cuda and not has_compiler():
        return False
    for layer in layers:
        layer.compile(dynamic=True)
    return True
