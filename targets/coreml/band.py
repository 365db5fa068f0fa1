"""The far end of the float16 band: the same package with sums in float16, term after term.

What a device does lies between this and the runner's figures, whose sums are wide: Apple's engineers put part of a
model's drift down to sums in float16 (apple/coremltools#2625), and no document says which unit adds how.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from edgeport.passes.edit import static_shape
from edgeport.sample import Sample
from edgeport.targets.coreml.runner import PackageRunner
from edgeport.validate.second import SecondRun

_MOST_PRODUCTS = 2e8
"""Per sample; one takes about 10 ns so (numpy, one core)."""


@dataclass(frozen=True)
class HalfSums:
    """A `SecondRunner` over a package that computes in float16.

    Args:
        first: the runner of the same package.
    """

    first: PackageRunner
    name: str = "float16-sums (evaluator)"
    samples: int = 1

    def run_all(self, samples: Sequence[Sample]) -> SecondRun:
        """Runs samples; there are no facts."""
        narrow = PackageRunner(self.first.path, self.first.graph, "accumulate16")
        return SecondRun(tuple(narrow.run(sample) for sample in samples), {})


def half_sums(first: PackageRunner) -> HalfSums | None:
    """The runner, None where it would take too long."""
    return HalfSums(first) if sum(_products(node) for node in first.graph.graph) <= _MOST_PRODUCTS else None


def _products(node: ir.Node) -> int:
    """Multiplications of a convolution or product."""
    if node.op_type not in ("Conv", "ConvTranspose", "MatMul", "Gemm"):
        return 0
    out, operand = static_shape(node.outputs[0]), static_shape(node.inputs[1])
    if out is None or operand is None:
        return 0
    terms = operand[-2] if node.op_type == "MatMul" and len(operand) > 1 else math.prod(operand[1:])
    return math.prod(out) * terms
