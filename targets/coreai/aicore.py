"""coreai-core, and the only module that imports it: writes a program as an .aimodel, and runs one.

It is loaded in the process of `worker` only, because what the beta's compiler and runtime do not like can end the
process that they run in.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import coreai.authoring as authoring  # before its parts, which import one another
import numpy as np
from coreai._compiler._mlir_libs._coreaiIR._bindings.compiler import copy_constant_value_to_array
from coreai._compiler.dialects import coreai as dialect
from coreai._compiler.ir import Attribute, DenseResourceElementsAttr, IntegerType, RankedTensorType
from coreai.authoring.graph_builder import GraphOp
from coreai.authoring.tensor_type import TensorType
from coreai.runtime import AIModelAssetMetadata, NDArray

from edgeport.sample import Array
from edgeport.targets.coreai.program import Program, Step, Type

FUNCTION = "main"
_SUB_BYTE = {f"{sign}int{bits}": bits for bits in (1, 2, 3, 4, 6) for sign in ("", "u")}
"""Integers of less than a byte, which only constants have -> how many bits."""
_HASHED = "dense_resource<resource_"
_INLINE = 512
"""Bytes of constants that stand in the program itself."""


class ProgramError(Exception):
    """The toolchain declines a program; the message is its reason."""


def write(program: Program, path: Path, notes: Mapping[str, Any]) -> None:
    """Builds a program and saves it as the folder `path`; the same program gives the same bytes.

    Args:
        program: what is built.
        path: the folder.
        notes: JSON-ready facts for the metadata.

    Raises:
        ProgramError: an operation does not exist or declines its operands, or the rewriting passes fail.
    """
    try:
        module = authoring.Module.create()
        with module, _place(None).activate():
            _function(program)
        made = authoring.AIProgram(module)
        _name_folded(made)
        metadata = AIModelAssetMetadata()
        for key, value in notes.items():
            metadata.set_custom(key, value)
        made.save_asset(path, metadata)
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise ProgramError(_reason(error)) from error
    _forget_the_clock(path / "metadata.json")


def _forget_the_clock(path: Path) -> None:
    """Leaves the date out of the metadata."""
    stated = json.loads(path.read_text(encoding="utf-8"))
    kept = {key: value for key, value in stated.items() if key != "creationDate"}
    path.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _function(program: Program) -> None:
    given = [_type(kind) for _, kind in program.inputs]
    types = _types(program)
    made = [_type(types[number]) for number in program.outputs.values()]
    names = [name for name, _ in program.inputs]
    graph = GraphOp(FUNCTION, given, made, names or None, list(program.outputs))
    with graph.block:
        values: dict[int, Any] = dict(enumerate(graph.arguments))
        parameters: dict[tuple[str, tuple[int, ...], bytes], Any] = {}
        for number, (array, dtype) in program.constants.items():
            values[number] = _constant(array, dtype, f"constant_{number}")
        for step in program.steps:
            with _place(program.names.get(step.results[-1])).activate():
                _emit(step, values, parameters)
        dialect.output([values[number] for number in program.outputs.values()])


_NAMED = 2
"""Line in the debug information of operations that make a canonical tensor, whose name stands for the file."""


def _place(name: str | None) -> Any:
    """Debug information of an operation."""
    file = authoring.DebugInfo.file
    return file(FUNCTION, 1) if name is None else file(name, _NAMED)


def _types(program: Program) -> dict[int, Type]:
    types = {number: kind for number, (_, kind) in enumerate(program.inputs)}
    types |= {number: Type(array.shape, dtype) for number, (array, dtype) in program.constants.items()}
    for step in program.steps:
        types |= dict(zip(step.results, step.types, strict=True))
    return types


def _type(kind: Type) -> Any:
    if kind.dtype in _SUB_BYTE:
        sign = IntegerType.get_unsigned if kind.dtype.startswith("u") else IntegerType.get_signed
        return RankedTensorType.get(list(kind.shape), sign(_SUB_BYTE[kind.dtype]))
    return TensorType(list(kind.shape), np.bool_ if kind.dtype == "bool" else np.dtype(kind.dtype).type)._to_mlir_type()


def _constant(array: Array, dtype: str, name: str) -> Any:
    """A constant under a name of its own: those that the toolchain makes up differ from run to run."""
    if dtype == "bool" or (dtype not in _SUB_BYTE and array.nbytes <= _INLINE):
        return dialect.constant(array)
    data = _packed(array, _SUB_BYTE[dtype]) if dtype in _SUB_BYTE else np.asarray(array, order="C")
    stored = DenseResourceElementsAttr.get_from_buffer(data, name, _type(Type(array.shape, dtype)))
    return dialect.ConstantOp(value=stored).result


def _name_folded(program: Any) -> None:
    """Gives large constants that the toolchain has folded names that follow from their place in the program.

    Those of its own are hashes that differ from process to process.
    """
    graph = program._get_graph(FUNCTION)
    with graph.context, graph.location:
        for number, operation in enumerate(graph.entry_block.operations):
            if operation.name != "coreai.constant" or not str(operation.attributes["value"]).startswith(_HASHED):
                continue
            kind = operation.results[0].type
            data = np.empty(math.prod(kind.shape) * _width(kind.element_type), np.uint8)
            copy_constant_value_to_array(constant_op=operation, destination=data)
            named = DenseResourceElementsAttr.get_from_buffer(data, f"folded_{number}", kind)
            operation.attributes["value"] = named


def _width(element: Any) -> int:
    """Bytes of a stored element."""
    bits = int(re.sub(r"\D", "", str(element)))
    return -(-bits // 8)


def _packed(array: Array, bits: int) -> Array:
    """The lower bits of integers one behind the other, from the lowest bit of the first byte on."""
    lowest = (array.reshape(-1, 1).astype(np.uint8) >> np.arange(bits, dtype=np.uint8)) & 1
    return np.packbits(lowest.reshape(-1), bitorder="little")


def _emit(step: Step, values: dict[int, Any], parameters: dict[tuple[str, tuple[int, ...], bytes], Any]) -> None:
    """One operation; equal parameters of several are one constant."""
    operands = []
    for operand in step.operands:
        if isinstance(operand, int):
            operands.append(values[operand])
            continue
        key = operand.dtype.name, operand.shape, operand.tobytes()
        if key not in parameters:
            parameters[key] = _constant(operand, operand.dtype.name, f"parameter_{len(parameters)}")
        operands.append(parameters[key])
    types = [_type(kind) for kind in step.types]
    form = _FORMS.get(step.kind)
    try:
        if form is None:
            made = getattr(dialect, step.kind)(*operands, **step.options)
        else:
            made = form(types, operands, step.options)
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise ProgramError(f"{step.kind} of {_listed(operands)}: {_reason(error)}") from error
    results = made if isinstance(made, (list, tuple)) else [made]
    for number, result, wanted in zip(step.results, results, types, strict=True):
        if result.type != wanted:
            raise ProgramError(f"{step.kind} of {_listed(operands)} gives {result.type}, not {wanted}")
        values[number] = result


def _listed(operands: Sequence[Any]) -> str:
    return ", ".join(str(o.type) for o in operands)


_Form = Callable[[Sequence[Any], Sequence[Any], Mapping[str, Any]], Any]


def _typed(kind: str) -> _Form:
    """Operations that are told the type of their result."""
    return lambda types, operands, options: getattr(dialect, kind)(types[0], *operands, **options)


def _mode(kind: str) -> _Form:
    def form(types: Sequence[Any], operands: Sequence[Any], options: Mapping[str, Any]) -> Any:
        mode = Attribute.parse(f"#coreai.interpolation_mode<{options['mode']}>")
        return getattr(dialect, kind)(*operands, mode)

    return form


def _cast(types: Sequence[Any], operands: Sequence[Any], options: Mapping[str, Any]) -> Any:
    return dialect.CastOp(types[0], operands[0]).result


def _concat(types: Sequence[Any], operands: Sequence[Any], options: Mapping[str, Any]) -> Any:
    return dialect.concat(operands[0], operands[1:])


def _places(kind: str) -> _Form:
    """The toolchain numbers places without sign, but takes them with sign."""

    def form(types: Sequence[Any], operands: Sequence[Any], options: Mapping[str, Any]) -> Any:
        made = getattr(dialect, kind)(*operands)
        return made if made.type == types[0] else dialect.CastOp(types[0], made).result

    return form


def _scatter(types: Sequence[Any], operands: Sequence[Any], options: Mapping[str, Any]) -> Any:
    mode = Attribute.parse(f"#coreai.scatter_mode<{options['mode']}>")
    return dialect.scatter_along_axis(types[0], *operands, scatter_mode=mode)


_FORMS: dict[str, _Form] = {
    "cast": _cast,
    "concat": _concat,
    "argsort": _places("argsort"),
    "argmax": _places("argmax"),
    "scatter_along_axis": _scatter,
    "interpolate": _mode("interpolate"),
    "interpolate_coordinates": _mode("interpolate_coordinates"),
} | {kind: _typed(kind) for kind in ("maxpool2d", "maxpool3d")}


def _reason(error: BaseException) -> str:
    text = " ".join(f"{error} {error.__cause__ or ''}".split())
    head, _, tail = text.partition("at #debuginfo.location")
    return (head + tail.rpartition("]>")[2] if tail else text)[:500] or type(error).__name__


class Model:
    """An .aimodel, compiled for this machine."""

    def __init__(self, path: Path) -> None:
        self._loop = asyncio.new_event_loop()
        try:
            self._opened = authoring.AIModelAsset.load(path).executable()
            model = self._loop.run_until_complete(self._opened.__aenter__())
            self._function = model.load_function(FUNCTION)
        except (RuntimeError, ValueError, KeyError, OSError) as error:
            raise ProgramError(_reason(error)) from error

    @property
    def inputs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Name -> shape and dtype, in the file's order."""
        desc = self._function.desc
        return {name: _described(desc.input_descriptor(name)) for name in desc.input_names}

    @property
    def outputs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Name -> shape and dtype, in the file's order."""
        desc = self._function.desc
        return {name: _described(desc.output_descriptor(name)) for name in desc.output_names}

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Every output by name; shapes and dtypes of `feeds` must be those of `inputs`, or the process ends.

        Raises:
            ProgramError: a kernel fails.
        """
        given = {name: NDArray(np.array(array, order="C")) for name, array in feeds.items()}
        try:
            results = self._loop.run_until_complete(self._function(given))
        except (RuntimeError, ValueError) as error:
            raise ProgramError(_reason(error)) from error
        return {name: np.array(result.numpy(), order="C") for name, result in results.items()}

    def close(self) -> None:
        """Removes the compiled form."""
        self._loop.run_until_complete(self._opened.__aexit__(None, None, None))
        self._loop.close()


def _described(descriptor: Any) -> tuple[tuple[int, ...], str]:
    return tuple(int(d) for d in descriptor.shape), str(descriptor.dtype)


def watched(path: Path, names: Sequence[str], copy: Path) -> tuple[str, ...]:
    """Saves a copy of a program that gives inner tensors instead of its outputs, called `0`, `1` and so on.

    Args:
        path: the program.
        names: canonical tensors.
        copy: the folder of the copy.

    Returns:
        The names of those that the program still has, in the copy's order.

    Raises:
        ProgramError: the program cannot be read or written.
    """
    wanted, found = set(names), dict[str, Any]()
    try:
        program = authoring.AIModelAsset.load(path).program
        graph = program._get_graph(FUNCTION)
        assert graph is not None
        for operation in graph.entry_block.operations:
            info = authoring.DebugInfo._from_mlir(operation.location)
            if info.filename in wanted and info.line == _NAMED and len(operation.results) == 1:
                found[info.filename] = operation.results[0]
        with program._module._context, graph.location:
            graph.res_attrs = []
            graph.outputs_spec = [(str(i), value) for i, value in enumerate(found.values())]
        program.save_asset(copy)
    except (RuntimeError, ValueError, TypeError, AttributeError, OSError) as error:
        raise ProgramError(_reason(error)) from error
    return tuple(found)
