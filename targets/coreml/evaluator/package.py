"""Opens a saved .mlpackage: manifest, model description, functions of the ML program, and the files of weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgeport.errors import ModelError
from edgeport.targets.coreml.evaluator.blobs import Blobs
from edgeport.targets.coreml.evaluator.program import Constant, Function, StateType, TensorType
from edgeport.targets.coreml.evaluator.reading import read_function
from edgeport.targets.coreml.evaluator.schema import model_class

_ARRAY_TYPES = {65568: "fp32", 65552: "fp16", 65600: "fp64", 131104: "int32", 131080: "int8"}
_MOST_MANIFEST_BYTES = 1 << 20


@dataclass(frozen=True)
class Feature:
    """An input or output as an app sees it.

    Attributes:
        name: its name.
        kind: what the app hands over or gets.
        type: element type (the app's) and shape (the program's, channels first for an image); None for a string or
            dictionary.
        shapes: the shapes allowed, where the description lists them.
        ranges: (least, most) of every dimension, where the description gives intervals; most is None without a limit.
        default: value of an input that may be left out, None when it may not.
    """

    name: str
    kind: Literal["array", "image", "other"]
    type: TensorType | None
    shapes: tuple[tuple[int, ...], ...] = ()
    ranges: tuple[tuple[int, int | None], ...] = ()
    default: float | None = None

    def admits(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of that shape may be given."""
        if self.type is not None and not self.type.admits(shape):
            return False
        if self.shapes:
            return shape in self.shapes
        return not self.ranges or all(
            least <= size and (most is None or size <= most)
            for size, (least, most) in zip(shape, self.ranges, strict=True)
        )


@dataclass(frozen=True, eq=False)
class Interface:
    """One function with the features by which it is called."""

    function: Function
    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    states: Mapping[str, TensorType]
    labels: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Package:
    """A .mlpackage that was read.

    Attributes:
        path: the folder.
        specification: version of the model specification (6 is iOS 15, 9 is iOS 18).
        interfaces: function name -> function and features, in the file's order.
        default: name of the function that runs when none is named.
        metadata: texts of the model's metadata (author, license, the user's own keys).
        blobs: the files of weights.
    """

    path: Path
    specification: int
    interfaces: Mapping[str, Interface]
    default: str
    metadata: Mapping[str, str]
    blobs: Blobs


def open_package(path: Path | str) -> Package:
    """Reads a .mlpackage without running anything; weights stay on disk until they are used.

    Raises:
        ModelError: not a package, a damaged or truncated one, or a model that is not an ML program.
    """
    path = Path(path)
    model_file = _model_file(path)
    message = _parse(model_file, path)
    program = message.mlProgram
    if not message.HasField("mlProgram") or not program.functions:
        raise ModelError(f"{path.name}: holds another kind of model than an ML program (an older neural network?)")
    described = _described_functions(message)
    default = message.description.defaultFunctionName or "main"
    if default not in described:
        default = next(iter(described))
    interfaces = {}
    for name, description in described.items():
        if name not in program.functions:
            raise ModelError(
                f"{path.name}: function {name!r} is described but not in the program; the package is damaged"
            )
        interfaces[name] = _interface(read_function(name, program.functions[name]), description)
    if not interfaces:
        raise ModelError(f"{path.name}: describes none of its functions; the package is damaged")
    return Package(
        path,
        message.specificationVersion,
        interfaces,
        default,
        _metadata(message.description.metadata),
        Blobs(model_file.parent),
    )


def _model_file(path: Path) -> Path:
    """The file that the manifest names as the model."""
    manifest = path / "Manifest.json"
    try:
        if manifest.stat().st_size > _MOST_MANIFEST_BYTES:
            raise ModelError(f"{path.name}: its Manifest.json has over a megabyte; this is not a package")
        root: Any = json.loads(manifest.read_bytes())
        entry = root["itemInfoEntries"][root["rootModelIdentifier"]]
        file = path.joinpath("Data", str(entry["path"])).resolve()
    except OSError as error:
        raise ModelError(f"{path}: not an .mlpackage, no Manifest.json to read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ModelError(f"{path.name}: its Manifest.json names no model; the package is damaged") from None
    if not file.is_relative_to(path.resolve()):
        raise ModelError(f"{path.name}: its Manifest.json points outside of the package; it is not opened")
    return file


def _parse(file: Path, package: Path) -> Any:
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    message = model_class()()
    try:
        message.ParseFromString(file.read_bytes())
    except OSError as error:
        raise ModelError(f"{package.name}: {file.name} cannot be read ({error.strerror})") from None
    except (DecodeError, ValueError, RecursionError):
        raise ModelError(f"{package.name}: {file.name} is not a Core ML model, or it is truncated") from None
    return message


def _described_functions(message: Any) -> dict[str, Any]:
    """Function name -> its description; a model with one function describes it at the top."""
    description = message.description
    if description.functions:
        return {function.name: function for function in description.functions}
    functions = message.mlProgram.functions
    return {"main" if "main" in functions else min(functions): description}


def _interface(function: Function, description: Any) -> Interface:
    declared = {item.name: item.type for item in function.inputs}
    results: dict[str, Any] = {}
    for operation in function.block.operations:
        results.update({output.name: output.type for output in operation.outputs})
    inputs = tuple(_feature(item, declared, function.name) for item in description.input)
    states = {name: value.wrapped for name, value in declared.items() if isinstance(value, StateType)}
    unknown = declared.keys() - {feature.name for feature in inputs} - states.keys()
    if unknown:
        raise ModelError(f"function {function.name!r}: input {min(unknown)!r} is not described; the package is damaged")
    lost = {item.name for item in description.output} - set(function.block.outputs)
    if lost:
        raise ModelError(f"function {function.name!r}: {min(lost)!r} is described, but the program does not return it")
    outputs = tuple(_feature(item, {**declared, **results}, function.name) for item in description.output)
    return Interface(function, inputs, outputs, states, _labels(function))


def _feature(message: Any, declared: Mapping[str, Any], function: str) -> Feature:
    name, feature = message.name, message.type
    if name not in declared:
        raise ModelError(f"function {function!r}: {name!r} is described but is no value of the program")
    value_type = declared[name]
    chosen = feature.WhichOneof("kind")
    if not isinstance(value_type, TensorType) or chosen not in ("multiArrayType", "imageType"):
        return Feature(name, "other", None)
    if chosen == "imageType":
        return Feature(name, "image", value_type)
    array = feature.multiArrayType
    dtype = _ARRAY_TYPES.get(array.dataType)
    if dtype is None:
        raise ModelError(f"{name!r}: unknown element type {array.dataType} in the model's description")
    default = None
    if feature.isOptional:
        chosen = array.WhichOneof("default")
        default = float(getattr(array, chosen)) if chosen else 0.0
    ranges = tuple(
        (item.lowerBound, None if item.upperBound < 0 else item.upperBound) for item in array.shapeRange.sizeRanges
    )
    return Feature(
        name,
        "array",
        TensorType(dtype, value_type.shape),
        tuple(tuple(item.shape) for item in array.enumeratedShapes.shapes),
        ranges if len(ranges) == len(value_type.shape) else (),
        default,
    )


def _labels(function: Function) -> tuple[str, ...]:
    """Class labels of a classifier, empty otherwise."""
    for operation in function.block.operations:
        for argument in operation.inputs.get("classes", ()) if operation.kind == "classify" else ():
            if isinstance(argument, Constant) and argument.array is not None:
                values: Sequence[Any] = argument.array.tolist()
                return tuple(str(value) for value in values) if isinstance(values, list) else ()
    return ()


def _metadata(message: Any) -> dict[str, str]:
    fixed = {key: getattr(message, key) for key in ("shortDescription", "versionString", "author", "license")}
    return {key: value for key, value in (fixed | dict(sorted(message.userDefined.items()))).items() if value}
