"""The evaluator: runs one function of a package on named arrays."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgeport.errors import ModelError
from edgeport.targets.coreml.evaluator.apply import apply
from edgeport.targets.coreml.evaluator.call import Call, State, Value
from edgeport.targets.coreml.evaluator.package import Feature, Package, open_package
from edgeport.targets.coreml.evaluator.program import BY_NAME, Block, StateType, TensorType, Typed
from edgeport.targets.coreml.evaluator.registry import Array, EvaluationError
from edgeport.targets.coreml.evaluator.rounding import EXACT, Arithmetic, Overflow, settle
from edgeport.targets.coreml.evaluator.steps import Step, prepare


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What one run gave.

    Attributes:
        outputs: the function's outputs; floats are float32 arrays whatever their declared precision, a dictionary is an
            object array of rank 0 that holds it.
        values: the intermediate values asked for, likewise.
        overflows: results that their declared type could not hold, in the order of computation.
    """

    outputs: Mapping[str, Array]
    values: Mapping[str, Array]
    overflows: tuple[Overflow, ...]


@dataclass(eq=False)
class _Records:
    """What is collected during one run."""

    keep: Collection[str] | None
    values: dict[str, Array] = field(default_factory=dict)
    overflows: dict[str, Overflow] = field(default_factory=dict)

    def note(self, overflow: Overflow) -> None:
        """Keeps the largest overflow of each value: one in a loop may have many."""
        known = self.overflows.get(overflow.value)
        if known is None or known.magnitude < overflow.magnitude:
            self.overflows[overflow.value] = overflow


class Evaluator:
    """Runs one function of a saved package.

    Constants are read and decompressed once, on construction; every other value is freed after its last use.
    """

    def __init__(
        self, package: Package | Path | str, function: str | None = None, arithmetic: Arithmetic = "float32"
    ) -> None:
        """Prepares a function.

        Args:
            package: a package or its path.
            function: name of a function, None for the package's default.
            arithmetic: see `rounding`.

        Raises:
            ModelError: an unreadable package, an unknown function or operation kind, or damaged constants.
        """
        self.package = package if isinstance(package, Package) else open_package(package)
        name = self.package.default if function is None else function
        if name not in self.package.interfaces:
            known = ", ".join(sorted(self.package.interfaces))
            raise ModelError(f"{self.package.path.name} has no function {name!r}; it has {known}")
        self._interface = self.package.interfaces[name]
        self._function = self._interface.function
        self._arithmetic: Arithmetic = arithmetic
        self._prepared = prepare(self._function, self.package.blobs)

    @property
    def features(self) -> tuple[tuple[Feature, ...], tuple[Feature, ...]]:
        """The inputs and the outputs with all that the description says about them."""
        return self._interface.inputs, self._interface.outputs

    @property
    def inputs(self) -> dict[str, TensorType]:
        """Input arrays: name -> the app's element type and the shape (None for a flexible dimension)."""
        return {feature.name: feature.type for feature in self._interface.inputs if feature.type is not None}

    @property
    def outputs(self) -> dict[str, TensorType]:
        """Output arrays, likewise."""
        return {feature.name: feature.type for feature in self._interface.outputs if feature.type is not None}

    @property
    def states(self) -> Mapping[str, TensorType]:
        """States: name -> type. They are zero at the start."""
        return self._interface.states

    @property
    def labels(self) -> tuple[str, ...]:
        """Class labels of a classifier, empty otherwise."""
        return self._interface.labels

    def run(
        self,
        inputs: Mapping[str, Array],
        keep: Collection[str] | None = (),
        state: dict[str, Array] | None = None,
    ) -> Evaluation:
        """Runs the function once.

        Args:
            inputs: input name -> array. Integers may be of any integer type, floats of any float type.
            keep: names of intermediate values to return as well; None for all.
            state: state name -> array, updated in place so that the next run continues; None to start from zero.

        Raises:
            EvaluationError: a wrong input, an argument that an operation's function does not read, or a result that is
                not of its declared type.
        """
        records = _Records(keep)
        unknown = sorted(set(inputs) - {feature.name for feature in self._interface.inputs})
        if unknown:
            raise EvaluationError(f"the model has no input {unknown[0]!r}; it has {', '.join(self.inputs)}")
        with np.errstate(all="ignore"):
            environment: dict[str, Value] = {}
            for item in self._function.inputs:
                if isinstance(item.type, StateType):
                    environment[item.name] = _open_state(item.name, item.type.wrapped, state)
                else:
                    environment[item.name] = self._input(item, inputs, records)
            held = {name: value for name, value in environment.items() if isinstance(value, State)}
            results = self._run_block(self._function.block, environment, records)
        if state is not None:
            state.update({name: buffer.array for name, buffer in held.items()})
        returned = dict(zip(self._function.block.outputs, results, strict=True))
        outputs = {feature.name: returned[feature.name] for feature in self._interface.outputs}
        return Evaluation(outputs, records.values, tuple(records.overflows.values()))

    def _input(self, item: Typed, inputs: Mapping[str, Array], records: _Records) -> Array:
        """An input checked against the description and brought to the program's type."""
        feature = next(feature for feature in self._interface.inputs if feature.name == item.name)
        if feature.type is None or not isinstance(item.type, TensorType):
            raise EvaluationError(f"input {item.name!r} is not an array; the evaluator has no other inputs")
        if item.name in inputs:
            array = np.asarray(inputs[item.name])
            array = array.astype(np.float32) if feature.kind == "image" else array  # pixels are integers as a rule
        elif feature.default is not None and None not in item.type.shape:
            array = np.full([size or 0 for size in item.type.shape], feature.default, BY_NAME[item.type.dtype].numpy)
        else:
            raise EvaluationError(f"input {item.name!r} of type {feature.type} is missing")
        if not feature.admits(array.shape):
            raise EvaluationError(
                f"input {item.name!r} has shape {list(array.shape)}, which {feature.type} does not admit"
            )
        return self._settled(array, item.name, item.type, "input", records)

    def _run_block(self, block: Block, environment: dict[str, Value], records: _Records) -> tuple[Array, ...]:
        for step in self._prepared.steps[block]:
            self._run_step(step, environment, records)
        return tuple(self._look_up(name, environment) for name in block.outputs)

    def _run_step(self, step: Step, environment: dict[str, Value], records: _Records) -> None:
        operation = step.operation
        arguments: dict[str, tuple[Value, ...]] = {**step.constants}
        for key, items in step.arguments:
            arguments[key] = tuple([environment[item] if isinstance(item, str) else item for item in items])

        def enter(block: Block, args: tuple[Array, ...]) -> tuple[Array, ...]:
            if len(args) != len(block.inputs):
                raise EvaluationError(f"a nested block has {len(block.inputs)} inputs, {len(args)} are given")
            names = (item.name for item in block.inputs)
            return self._run_block(block, environment | dict(zip(names, args, strict=True)), records)

        call = Call(operation, arguments, self._function.opset, self._arithmetic == "accumulate16", enter)
        for output, array in zip(operation.outputs, apply(step.handler, call), strict=True):
            if isinstance(output.type, TensorType):
                array = self._settled(array, output.name, output.type, operation.kind, records)
            environment[output.name] = array
            if records.keep is None or output.name in records.keep:
                records.values[output.name] = array
        if call.overflowed:
            records.note(Overflow(operation.outputs[0].name, operation.kind, call.overflowed, call.types[0].dtype))
        for name in step.done:
            environment.pop(name, None)

    def _settled(self, array: Array, name: str, declared: TensorType, kind: str, records: _Records) -> Array:
        try:
            settled, magnitude = settle(array, declared, "float32" if kind in EXACT else self._arithmetic)
        except EvaluationError as error:
            where = f"input {name!r}" if kind == "input" else f"operation {name!r} ({kind})"
            raise EvaluationError(f"{where}: {error}") from None
        if magnitude is not None:
            records.note(Overflow(name, kind, magnitude, declared.dtype))
        return settled

    def _look_up(self, name: str, environment: dict[str, Value]) -> Array:
        constant = self._prepared.constant(name)
        value = environment[name] if constant is None else constant
        if isinstance(value, State):
            raise EvaluationError(f"a block returns the state {name!r} itself; only its contents can be returned")
        return value


def _open_state(name: str, wanted: TensorType, given: Mapping[str, Array] | None) -> State:
    array = None if given is None else given.get(name)
    if array is None:
        array = np.zeros([size or 0 for size in wanted.shape], BY_NAME[wanted.dtype].numpy)
    if not wanted.admits(array.shape):
        raise EvaluationError(f"state {name!r} has shape {list(array.shape)}, the program declares {wanted}")
    return State(wanted, array.astype(np.float32, copy=False) if BY_NAME[wanted.dtype].numpy.kind == "f" else array)
