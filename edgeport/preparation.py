"""Source -> canonical graph, with the check that it still computes what the source computes."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeport.capture import Captured, capture
from edgeport.description import ImageInput
from edgeport.errors import EdgeportError, ModelError, UsageError
from edgeport.findings import Finding
from edgeport.passes import canonicalize
from edgeport.passes.edit import static_shape
from edgeport.sample import Array, InputSpec, Sample, as_dtype, parse_input_spec
from edgeport.validate.onnx_runner import OnnxRunner

_LARGEST_INPUT = 2**31 - 1
"""Bytes: FlatBuffers and protobuf end there."""

_RELATIVE = 1e-3
"""Largest difference, relative to the output's largest magnitude, that reordered float32 arithmetic may cause."""

_RELATIVE_HALF = 2e-2
"""The same for a source that computes in 16-bit floats, while the canonical graph computes in float32."""

_HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


@dataclass(frozen=True)
class Prepared:
    """A captured source and its canonical graph, each with a runner.

    Attributes:
        captured: the source.
        canonical: the graph that is planned and lowered.
        runner: runs it in float; where it has weights that were trained for their rounding, as it was before.
        untrained: the canonical graph before its weights were trained for their rounding; None: they were not.
    """

    captured: Captured
    canonical: ir.Model
    runner: OnnxRunner
    untrained: ir.Model | None = None

    @property
    def in_float(self) -> ir.Model:
        """The canonical graph that computes what the source does."""
        return self.canonical if self.untrained is None else self.untrained

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """The inputs of the canonical graph, all dimensions fixed."""
        return self.runner.inputs


def prepare(
    source: Any,
    inputs: Sequence[str | InputSpec] = (),
    drop_passes: Sequence[str] = (),
    add_passes: Sequence[str] = (),
) -> Prepared:
    """Captures a source and brings it into canonical form; what is prepared already is returned as it is.

    Raises:
        ModelError: the source cannot be captured or made canonical.
        UsageError: an input specification or a pass name is wrong.
    """
    if isinstance(source, Prepared):
        if inputs or drop_passes:
            raise UsageError("the model is prepared already: give its inputs and passes where that is done")
        return source
    specs = [parse_input_spec(i) if isinstance(i, str) else i for i in inputs]
    _check_size(specs)
    captured = capture(source, inputs=specs)
    try:
        canonical = canonicalize(captured.model, drop=drop_passes, add=add_passes)
    except EdgeportError:
        raise
    except Exception:
        run_source(captured)  # a graph that contradicts itself can trip a pass
        raise
    prepared = Prepared(captured, canonical, OnnxRunner(canonical))
    _check_size(prepared.inputs)
    return prepared


def run_source(captured: Captured) -> None:
    """Runs the source on a made-up sample.

    Raises:
        ModelError: it cannot be run.
    """
    specs = []
    for value in captured.model.graph.inputs:
        dims = static_shape(value)
        if dims is None or value.dtype is None:
            return
        specs.append(InputSpec(value.name or "", value.dtype.numpy().name, dims))
    try:
        captured.reference.run(example_samples(specs, 1, divisors(captured.model))[0])
    except EdgeportError as error:
        raise ModelError(f"{captured.name} cannot be run: {error}; export the model again", error.findings) from error


def _check_size(inputs: Sequence[InputSpec]) -> None:
    """Refuses samples that would exhaust the memory of the machine, before one is made.

    Raises:
        UsageError: an input is larger than a tensor can be in the formats of the targets.
    """
    for spec in inputs:
        size = math.prod(d for d in spec.shape if isinstance(d, int)) * as_dtype(spec.dtype).itemsize
        if size > _LARGEST_INPUT:
            raise UsageError(
                f"input {spec} has {size / 2**30:.3g} GiB a sample, more than the 2 GiB that files can hold; "
                f'give smaller dimensions with --input "{spec.name}:{spec.dtype}[...]"'
            )


def check_capture(prepared: Prepared, samples: Iterable[Sample]) -> None:
    """Runs the source and the canonical graph side by side.

    Raises:
        ModelError: an output differs by more than rounding can explain.
    """
    values = (value for node in prepared.captured.model.graph for value in (*node.inputs, *node.outputs))
    half = any(value is not None and value.dtype in _HALVES for value in values)
    for sample in samples:
        want = list(prepared.captured.reference.run(sample).values())
        got = prepared.runner.run(sample)
        for name, reference, array in zip(got, want, got.values(), strict=True):
            problem = _difference(np.asarray(reference), np.asarray(array), _RELATIVE_HALF if half else _RELATIVE)
            if problem is not None:
                finding = Finding("error", "capture-mismatch", f"output {name}: {problem}")
                raise ModelError(
                    f"the canonical graph does not compute what the source computes: output {name} {problem}; "
                    "find the pass with --passes-drop and report it",
                    [finding],
                )


def divisors(model: ir.Model) -> frozenset[str]:
    """Names of the inputs that something is divided by, which must not be 0 where they are integers."""
    inputs = set(model.graph.inputs)
    divided = (node.inputs[1] for node in model.graph if node.op_type in ("Div", "Mod") and node.domain == "")
    return frozenset(value.name or "" for value in divided if value in inputs)


def example_samples(
    inputs: Sequence[InputSpec],
    count: int,
    nonzero: Collection[str] = (),
    images: Mapping[str, ImageInput] | None = None,
) -> list[dict[str, Array]]:
    """Deterministic made-up samples for a model without data: N(0, 1) floats, and zeros or ones as integers.

    They are good for comparing two float files of the same model, not for calibration.

    Args:
        inputs: what the model takes.
        count: how many samples.
        nonzero: names of inputs whose integers are all 1.
        images: inputs that are made of random pixels instead.
    """
    rng = np.random.default_rng(0)
    samples = []
    for _ in range(count):
        sample = {}
        for spec in inputs:
            shape = [int(d) for d in spec.shape]
            floating = np.issubdtype(as_dtype(spec.dtype), np.floating)
            values: Array = rng.normal(size=shape) if floating else rng.integers(spec.name in nonzero, 2, size=shape)
            if images is not None and spec.name in images:
                values = images[spec.name].normalized(rng.integers(0, 256, shape))
            sample[spec.name] = np.asarray(values).astype(spec.dtype)
        samples.append(sample)
    return samples


def _difference(want: Array, got: Array, relative: float) -> str | None:
    """What is wrong with an output, None if it agrees."""
    if want.shape != got.shape:
        return f"has shape {list(got.shape)} instead of {list(want.shape)}"
    if not np.issubdtype(want.dtype, np.floating):
        wrong = int((want != got).sum())
        return f"differs in {wrong} of {want.size} elements" if wrong else None
    if want.size == 0:
        return None
    a, b = want.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)) or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return "has NaN or infinity in other places"
    error = float(np.abs(a[finite] - b[finite]).max(initial=0.0))
    scale = float(np.abs(a[finite]).max(initial=0.0))
    return f"differs by {error:.3g} at magnitude {scale:.3g}" if error > relative * scale + 1e-6 else None
