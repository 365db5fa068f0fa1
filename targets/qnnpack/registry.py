"""The table of lowerings to integer kernels; what has none, or stays float, is the torch view's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeport.quantize.groups import KernelGroup

if TYPE_CHECKING:
    from torch import Tensor

    from edgeport.targets.qnnpack.context import Context

Kernel = Callable[["Context", KernelGroup], "Tensor"]
"""Emits the operators of one kernel and gives its quantized output; that of a dynamic kernel is float."""


@dataclass(frozen=True)
class Integers:
    """How a group runs in integers.

    Attributes:
        kernel: emits it.
        attributes: names of the anchor's attributes that it reads.
        inputs: number of the anchor's inputs that it reads, None for any.
    """

    kernel: Kernel
    attributes: frozenset[str]
    inputs: int | None


KERNELS: dict[str, Integers] = {}
DYNAMIC: dict[str, Integers] = {}


def runs(
    *op_types: str, attributes: Sequence[str] = (), inputs: int | None = 1, dynamic: bool = False
) -> Callable[[Kernel], Kernel]:
    """Registers a function as the integer kernel of anchors of these types."""

    def register(kernel: Kernel) -> Kernel:
        table = DYNAMIC if dynamic else KERNELS
        for op_type in op_types:
            assert op_type not in table, op_type
            table[op_type] = Integers(kernel, frozenset(attributes), inputs)
        return kernel

    return register
