"""`--shapes`: further shapes of the inputs that one artifact is to take, each captured and proven by itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir

from edgeport.errors import UsageError
from edgeport.preparation import Prepared, check_capture, divisors, example_samples, prepare
from edgeport.quantize.plan import Plan
from edgeport.sample import Array, InputSpec, Sample
from edgeport.suggest import did_you_mean
from edgeport.targets.contract import Artifact

_ENTRY = re.compile(r"^(?P<name>.+?)=(?P<shape>\d+(?:x\d+)*)$")


@dataclass(frozen=True)
class Shaped:
    """The model at one set of input shapes.

    Attributes:
        label: as the user wrote it, e.g. `image=1x3x320x320`; empty for the main shapes.
        graph: the canonical graph.
        plan: for that graph.
    """

    label: str
    graph: ir.Model
    plan: Plan


class TakesShapes(Protocol):
    """A target with `shapes` in its `ends`."""

    def lower_shapes(self, shaped: Sequence[Shaped], out: Path, name: str) -> Artifact:
        """Writes one artifact that takes every one of the shapes, the first unless another is asked for.

        Its `runner` takes the graph of any of them.
        """


def parse_shapes(text: str, inputs: Sequence[InputSpec]) -> tuple[InputSpec, ...]:
    """Reads `NAME=1x3x320x320,OTHER=1x77`.

    Raises:
        UsageError: it is not of that form, or names no input, or has another number of axes.
    """
    known = {spec.name: spec for spec in inputs}
    found: dict[str, InputSpec] = {}
    for part in (p.strip() for p in text.split(",")):
        match = _ENTRY.match(part)
        if match is None or "0" in match["shape"].split("x"):
            raise UsageError(f"--shapes {text!r} is not NAME=SHAPE, e.g. image=1x3x320x320 (or A=1x8,B=1x8)")
        name, shape = match["name"], tuple(int(d) for d in match["shape"].split("x"))
        if name not in known:
            raise UsageError(f"--shapes {text!r}: no input is called {name!r}; {did_you_mean(name, list(known))}")
        if len(shape) != len(known[name].shape):
            raise UsageError(f"--shapes {text!r}: input {name!r} has {len(known[name].shape)} axes ({known[name]})")
        if name in found:
            raise UsageError(f"--shapes {text!r} has {name!r} twice; give a further --shapes for a further size")
        found[name] = InputSpec(name, known[name].dtype, shape)
    return tuple(found.values())


def prepare_shapes(
    source: Any, texts: Iterable[str], main: Prepared, drop_passes: Sequence[str], add_passes: Sequence[str]
) -> Mapping[str, Prepared]:
    """Captures the source at each further set of shapes and checks it there; text of the flag -> what came of it.

    Raises:
        UsageError: a text is wrong, or the same shapes stand twice.
        ModelError: the source cannot be captured at these shapes.
    """
    done: dict[str, Prepared] = {}
    for text in dict.fromkeys(texts):
        prepared = prepare(source, parse_shapes(text, main.inputs), drop_passes, add_passes)
        if any(prepared.inputs == other.inputs for other in (main, *done.values())):
            raise UsageError(f"--shapes {text!r}: these shapes are there already")
        check_capture(prepared, example_samples(prepared.inputs, 1, divisors(prepared.captured.model)))
        done[text] = prepared
    return done


def at_shapes(samples: Iterable[Sample], inputs: Sequence[InputSpec], count: int) -> Iterator[dict[str, Array]]:
    """The first samples at other shapes: cut off or repeated along each axis, so that their values stay as they are."""
    for sample in islice(samples, count):
        fitted = {}
        for spec in inputs:
            array = np.asarray(sample[spec.name])
            places = [np.arange(int(new)) % old for new, old in zip(spec.shape, array.shape, strict=True)]
            fitted[spec.name] = array[np.ix_(*places)] if places else array
        yield fitted
