"""Where accuracy is lost: the drift of every tensor that the artifact keeps, in graph order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import onnx_ir as ir

from edgeport.sample import Array, Sample
from edgeport.validate.runner import Runner

SAMPLES = 4
"""All tensors of a sample are in memory at once; a handful of samples shows where the noise comes in."""
_MOST_BYTES = 2**29
_PIECE = 2**13
"""Elements compared at once: they stay in the cache, and from 10,000 on BLAS adds in an order that depends on cores."""
_CLEAN_DB = 40.0
"""What is better counts as this much: 8 bits leave about as much, and more is not what an output lacks."""
_FALL_DB = 1.0


@dataclass(frozen=True)
class Layer:
    """One tensor of the canonical graph in the artifact, against the canonical graph in float.

    Attributes:
        tensor: its name in the canonical graph.
        node: the node that computes it.
        op: that node's operator.
        identical: every element is equal.
        sqnr_db: 10 log10(sum ref^2 / sum (ref - out)^2) over all samples; None where identical or not defined.
        before_db: the lowest SQNR among the tensors it is computed from; None where these are identical or not defined.
    """

    tensor: str
    node: str
    op: str
    identical: bool
    sqnr_db: float | None
    before_db: float | None


def measure_layers(
    samples: Iterable[Sample], graph: ir.Model, canonical: Runner, artifact: Runner
) -> tuple[Layer, ...]:
    """Compares every inner tensor that both runtimes give, on the first samples.

    Tensors that fusion removed from the artifact are left out; so is everything where one sample's tensors take more
    than half a gigabyte.
    """
    values = [v for node in graph.graph for v in node.outputs if v.name and _bytes(v) > 0]
    if sum(map(_bytes, values)) > _MOST_BYTES:
        return ()
    names = [v.name or "" for v in values]
    signal, noise, seen = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0), dict.fromkeys(names, 0)
    for kept, want in _inner(samples, names, canonical, artifact):
        for name, reference in want.items():
            if name in kept and reference.dtype.kind == "f" and reference.shape == kept[name].shape:
                power, error = _powers(reference, kept[name])
                signal[name] += power
                noise[name] += error
                seen[name] += 1
        del kept, want  # or else they would live on while the next sample's are made
    layers: dict[str, Layer] = {}
    worst: dict[ir.Value, float] = {}  # the lowest SQNR of a value, or of what it is computed from where it is not kept
    for node in graph.graph:
        before = min((worst.get(v, math.inf) for v in node.inputs if v is not None), default=math.inf)
        for value in node.outputs:
            name = value.name or ""
            worst[value] = before
            if seen.get(name):
                here = _sqnr(signal[name], noise[name])
                worst[value] = math.inf if here is None else here
                shown = None if here is None or math.isinf(here) else here
                earlier = None if math.isinf(before) else before
                layers[name] = Layer(name, node.name or "", node.op_type, noise[name] == 0, shown, earlier)
    return tuple(layers.values())


def _inner(
    samples: Iterable[Sample], names: Sequence[str], canonical: Runner, artifact: Runner
) -> Iterator[tuple[Mapping[str, Array], Mapping[str, Array]]]:
    """What the artifact keeps of these tensors, and their values in float, by name."""
    with ThreadPoolExecutor(1) as other:
        for index, sample in enumerate(islice(samples, SAMPLES)):
            if index == 0:
                kept = artifact.intermediates(sample, names)
                names = [name for name in names if name in kept]
                yield kept, canonical.intermediates(sample, names)
                del kept
            else:
                want = other.submit(canonical.intermediates, sample, names)
                yield artifact.intermediates(sample, names), want.result()
                del want


def steepest_losses(layers: Iterable[Layer], graph: ir.Graph, count: int) -> tuple[Layer, ...]:
    """The layers whose SQNR falls most below that of what they are computed from, worst first.

    A fall that readers make good is none: ranges end where readers are flat, so that a tensor in front of a Sigmoid
    differs where nobody looks.
    """
    known = {layer.tensor: layer for layer in layers}
    falls = {}
    for value in (v for node in graph for v in node.outputs if v.name in known):
        layer = known[value.name or ""]
        if layer.sqnr_db is None:
            continue
        read = [known[v.name or ""].sqnr_db for use in value.uses() for v in use.node.outputs if v.name in known]
        here = max([layer.sqnr_db, *(db for db in read if db is not None and not value.is_graph_output())])
        before = _CLEAN_DB if layer.before_db is None else min(layer.before_db, _CLEAN_DB)
        if before - here > _FALL_DB:
            falls[layer] = before - here
    return tuple(sorted(falls, key=lambda layer: -falls[layer])[:count])


def _powers(reference: Array, kept: Array) -> tuple[float, float]:
    """Sum of the squares of a reference and of its distance to what the artifact holds, both of one shape."""
    flat, other = reference.reshape(-1), kept.reshape(-1)
    signal = noise = 0.0
    with np.errstate(all="ignore"):
        for start in range(0, flat.size, _PIECE):
            a, b = flat[start : start + _PIECE].astype(np.float64), other[start : start + _PIECE].astype(np.float64)
            difference = a - b
            error = float(np.dot(difference, difference))
            if not math.isfinite(error):
                difference[a == b] = 0.0  # equal infinities are equal
                error = float(np.dot(difference, difference))
            signal += float(np.dot(a, a))
            noise += error
    return signal, noise


def _sqnr(signal: float, noise: float) -> float | None:
    """None where a value is not finite or the reference is zero."""
    if noise == 0:
        return math.inf
    if not (math.isfinite(signal) and math.isfinite(noise)) or signal == 0:
        return None
    return 10 * math.log10(signal / noise)


def _bytes(value: ir.Value) -> int:
    """Bytes of a float tensor of static shape, 0 for others."""
    if value.dtype is None or not value.dtype.is_floating_point() or value.shape is None or not value.shape.is_static():
        return 0
    return 4 * math.prod(value.shape.numpy())
