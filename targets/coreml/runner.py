"""Runs an .mlpackage under canonical names, shapes and dtypes."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgeport.description import ImageInput
from edgeport.errors import ModelError, UsageError
from edgeport.findings import Finding
from edgeport.sample import Array, InputSpec, Sample
from edgeport.targets.coreml.evaluator.package import Package, open_package
from edgeport.targets.coreml.evaluator.rounding import Arithmetic, Overflow
from edgeport.targets.coreml.evaluator.run import Evaluator
from edgeport.targets.coreml.native import Predict, predictor
from edgeport.targets.coreml.pixels import handed_in, read_back
from edgeport.targets.coreml.save import IMAGES_KEY, NAMES_KEY, STATES_KEY
from edgeport.targets.values import dtype_of, shape_of, spec_of
from edgeport.validate.runner import Verdict

_INT32 = np.iinfo(np.int32)


@dataclass
class PackageRunner:
    """A `Runner` over a saved package: the evaluator, every value rounded to its declared type; on a Mac Core ML.

    Args:
        path: the package.
        graph: the canonical graph it was lowered from; gives names, shapes and dtypes.
        arithmetic: how the evaluator rounds.
    """

    path: Path
    graph: ir.Model
    arithmetic: Arithmetic = "declared"

    @functools.cached_property
    def _package(self) -> Package:
        return open_package(self.path)

    @functools.cached_property
    def _evaluator(self) -> Evaluator:
        return Evaluator(self._package, self._function, arithmetic=self.arithmetic)

    @functools.cached_property
    def _core_ml(self) -> Predict | None:
        colours = {self._identifiers.get(name, name): image.colour for name, image in self._images.items()}
        return predictor(self.path, self._function, colours) if self.arithmetic == "declared" else None

    @property
    def _function(self) -> str | None:
        """The function that takes the graph's shapes, None for the package's default."""
        last = [name for name, image in self._images.items() if image.channels_last]
        shapes = {s.name: s.shape or (1,) for s in self.inputs}
        shapes |= {n: tuple(shapes[n][axis] for axis in (0, 3, 1, 2)) for n in last}
        wanted = {self._identifiers.get(name, name): shape for name, shape in shapes.items()}
        for name, interface in self._package.interfaces.items() if len(self._package.interfaces) > 1 else ():
            if wanted == {f.name: f.type.shape for f in interface.inputs if f.type is not None}:
                return name
        return None

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """The graph's inputs."""
        return tuple(spec_of(v) for v in self.graph.graph.inputs)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The graph's output names."""
        return tuple(v.name or "" for v in self.graph.graph.outputs)

    @property
    def verdict(self) -> Verdict:
        """The evaluator is a reference, not Core ML."""
        return "reference-verified" if self._core_ml is None else "measured"

    @property
    def remarks(self) -> tuple[Finding, ...]:
        """The first value that float16 could not hold in the runs so far: infinities after it may come from it."""
        return tuple(_overflowed(o, self._canonical) for o in list(self._overflows.values())[:1])

    def run(self, sample: Sample) -> dict[str, Array]:
        """Runs one sample (batch axis included) and returns every output by name.

        Raises:
            UsageError: the sample does not fit the model's inputs.
            ModelError: the package is no program that the evaluator can run.
        """
        feeds, state = self._feeds(sample)
        outputs = self._evaluated(feeds, state) if self._core_ml is None else self._core_ml(feeds, state)
        kept = {self._identifiers.get(own["output"], own["output"]): state[key] for key, own in self._states.items()}
        return self._returned({**outputs, **kept})

    def _evaluated(self, feeds: Mapping[str, Array], state: dict[str, Array]) -> Mapping[str, Array]:
        done = self._evaluator.run(feeds, state=state)
        for overflow in done.overflows:
            known = self._overflows.get(overflow.value)
            if known is None or overflow.magnitude > known.magnitude:
                self._overflows[overflow.value] = overflow
        return done.outputs

    def intermediates(self, sample: Sample, names: Sequence[str]) -> dict[str, Array]:
        """Internal tensors by canonical name, as float; values that the program does not have are left out."""
        values = {v.name or "": v for node in self.graph.graph for v in node.outputs}
        wanted = {self._identifiers.get(name, name): name for name in names if name in values}
        feeds, state = self._feeds(sample)
        kept = self._evaluator.run(feeds, wanted.keys(), state).values
        return {wanted[key]: array for key, array in kept.items() if array.shape == shape_of(values[wanted[key]])}

    @functools.cached_property
    def _overflows(self) -> dict[str, Overflow]:
        return {}

    @functools.cached_property
    def _canonical(self) -> dict[str, str]:
        return {identifier: name for name, identifier in self._identifiers.items()}

    @functools.cached_property
    def _identifiers(self) -> dict[str, str]:
        """Canonical name -> the program's, of what was renamed."""
        renamed: dict[str, str] = json.loads(self._package.metadata.get(NAMES_KEY, "{}"))
        return {name: identifier for identifier, name in renamed.items()}

    @functools.cached_property
    def _taken(self) -> dict[str, str]:
        """Identifier of an input -> the element type that an app hands in."""
        return {name: declared.dtype for name, declared in self._evaluator.inputs.items()}

    @functools.cached_property
    def _images(self) -> dict[str, ImageInput]:
        """Canonical names of the inputs that are images."""
        return read_back(json.loads(self._package.metadata.get(IMAGES_KEY, "{}")))

    @functools.cached_property
    def _states(self) -> dict[str, dict[str, str]]:
        """Identifiers of the states -> canonical names of the `input` and the `output` that they stand for."""
        said: dict[str, dict[str, str]] = json.loads(self._package.metadata.get(STATES_KEY, "{}"))
        return {one["coreml_name"]: {"input": name, "output": one["output"]} for name, one in said.items()}

    def _feeds(self, sample: Sample) -> tuple[dict[str, Array], dict[str, Array]]:
        """Inputs and states, by identifier."""
        wanted = {spec.name: spec for spec in self.inputs}
        if set(sample) != set(wanted):
            raise UsageError(f"the sample has inputs {sorted(sample)}, {self.path.name} takes {sorted(wanted)}")
        feeds, states = {}, {}
        for name, spec in wanted.items():
            array = np.asarray(sample[name])
            if array.shape != spec.shape:
                raise UsageError(f"input {name!r} has shape {array.shape}, {self.path.name} takes {spec.shape}")
            identifier = self._identifiers.get(name, name)
            if identifier not in self._states and identifier not in self._taken:
                raise UsageError(f"the model has input {name!r}, {self.path.name} takes {sorted(self._taken)}")
            if name in self._images:
                array = handed_in(array, self._images[name])
            if identifier in self._states:
                states[identifier] = _as_handed_in(array, name, "fp16")
            else:
                feeds[identifier] = _as_handed_in(array, name, self._taken[identifier])
        return feeds, states

    def _returned(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        results = {}
        for value in self.graph.graph.outputs:
            name = value.name or ""
            array = outputs.get(self._identifiers.get(name, name))
            if array is None:
                raise ModelError(f"the model has output {name!r}, {self.path.name} gives {sorted(outputs)}")
            if array.size != math.prod(shape_of(value)):
                raise ModelError(f"output {name!r} has shape {array.shape} in {self.path.name}, not {shape_of(value)}")
            results[name] = np.array(array, dtype=dtype_of(value)).reshape(shape_of(value))
        return results


def _overflowed(overflow: Overflow, canonical: Mapping[str, str]) -> Finding:
    name = canonical.get(overflow.value, overflow.value)
    what = f"a result of {overflow.kind} reaches {overflow.magnitude:.3g}, which float16 does not hold: it is infinite"
    hint = f'keep what makes it in float32: --layer-precision "{name}=fp32", or the whole model: --precision fp32'
    return Finding("warning", "float16-overflow", what, node=name, op=overflow.kind, hint=hint)


def _as_handed_in(array: Array, name: str, dtype: str) -> Array:
    """An input as an app gives it to Core ML: at least one axis, float32, float16 or int32."""
    stored = array if array.ndim else array.reshape(1)
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return stored.astype(np.float16 if dtype == "fp16" else np.float32)
    if array.size and array.dtype.kind in "iu" and not _INT32.min <= array.min() <= array.max() <= _INT32.max:
        raise UsageError(f"input {name!r} has integers beyond int32, which Core ML does not take")
    return stored.astype(np.int32)
