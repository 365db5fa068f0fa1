"""Single operators of the engine qnnpack as .ptl files, with what the numpy reference expects of a phone.

The tests compare `edgeport.targets.qnnpack.reference` with the engine on a desktop; here its `machine="phone"` meets
the ARM kernels.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from arm_files import Emitted
from arm_operator_calls import OPERATORS, Variant

_VARIANTS = 6


def write_operators(folder: Path) -> tuple[Emitted, ...]:
    """Writes NAME.ptl and NAME.npz for every operator.

    Each file holds some variants of its operator with parameters of their own, which are its inputs and outputs.
    """
    import torch

    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = "qnnpack"
    try:
        return tuple(_write(folder, f"op_{name}", make) for name, make in OPERATORS.items())
    finally:
        torch.backends.quantized.engine = before


def _write(folder: Path, name: str, make: Callable[[np.random.Generator], Variant]) -> Emitted:
    import torch

    rng = np.random.default_rng(zlib.crc32(name.encode()))
    variants = [make(rng) for _ in range(_VARIANTS)]

    class Operators(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for i, variant in enumerate(variants):
                if variant.packed is not None:
                    setattr(self, f"packed{i}", variant.packed)  # an attribute, as the files of an export have it

        def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            left, outputs = list(tensors), []
            for i, variant in enumerate(variants):
                taken, left = left[: len(variant.arrays)], left[len(variant.arrays) :]
                held = () if variant.packed is None else (getattr(self, f"packed{i}"),)
                outputs.append(variant.run(*held, *taken))
            return tuple(outputs)

    arrays = [array for variant in variants for array in variant.arrays]
    trace: Any = torch.jit.trace
    traced = trace(Operators(), tuple(map(torch.from_numpy, arrays)), check_trace=False)
    traced._save_for_lite_interpreter(str(folder / f"{name}.ptl"))
    np.savez(folder / f"{name}.npz", **{f"0/{i}": array for i, array in enumerate(arrays)})
    expected = {f"{name}/0/{i}": variant.expected for i, variant in enumerate(variants)}
    return Emitted(name, None, "the reference", expected)
