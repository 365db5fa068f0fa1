"""What runs slowly in Core AI's runtime for Linux, though not on the device."""

from __future__ import annotations

import math

from edgeport.findings import Finding
from edgeport.targets.coreai.program import Program

_PRODUCTS_A_SECOND = 8e6
"""Multiplications of its float16 matrix products; those of float32 run a thousand times faster."""
_NOTICED = 2.0
"""Seconds a run."""


def slow_here(program: Program) -> tuple[Finding, ...]:
    """A remark where runs of float16 matrix products take seconds, so that checking the file does."""
    shapes = {number: array.shape for number, (array, _) in program.constants.items()}
    shapes |= {number: kind.shape for number, (_, kind) in enumerate(program.inputs)}
    count = 0
    for step in program.steps:
        shapes |= {number: kind.shape for number, kind in zip(step.results, step.types, strict=True)}
        left = step.operands[0] if step.operands else None
        if step.kind == "broadcasting_batch_matmul" and step.types[0].dtype == "float16" and isinstance(left, int):
            count += math.prod(step.types[0].shape) * shapes[left][-1]
    seconds = count / _PRODUCTS_A_SECOND
    if seconds < _NOTICED:
        return ()
    message = (
        f"a run takes about {seconds:.0f} s here: products of float16 matrices are a thousand times slower in "
        "Core AI's runtime for Linux than those of float32"
    )
    return (Finding("info", "slow-check", message, hint="check fp32, and fp16 on a Mac or with few samples"),)
