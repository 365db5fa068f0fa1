"""TensorRT's Python package and CUDA's runtime library as each version has them, on memory of this machine.

An object has the attributes of that version and no others (read off the bindings wheels of 8.6.1, 10.3.0 and 11.4.0 and
NVIDIA's documentation of 8.4), so that a call that the version lacks is an AttributeError. Engines are JSON: they
double numbers, or hold a model that ONNX Runtime runs.
"""

from __future__ import annotations

import base64
import ctypes
import enum
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx

from edgeport.validate.onnx_runner import OnnxRunner


class DataType(enum.Enum):
    FLOAT = np.dtype(np.float32)
    HALF = np.dtype(np.float16)
    INT8 = np.dtype(np.int8)
    INT32 = np.dtype(np.int32)
    INT64 = np.dtype(np.int64)
    BOOL = np.dtype(np.bool_)
    BF16 = np.dtype(np.uint16)


TensorIOMode = enum.Enum("TensorIOMode", ["NONE", "INPUT", "OUTPUT"])


Ends = dict[str, tuple[DataType, tuple[int, ...]]]
Compute = Callable[[dict[str, "np.ndarray[Any, Any]"]], dict[str, "np.ndarray[Any, Any]"]]


def engine_bytes(version: str, inputs: Mapping[str, tuple[str, list[int]]], *, unknown: bool = False) -> bytes:
    """An engine with an output `out.NAME` for each input: name -> (type, shape); -1 is an axis of any size up to 8."""
    return json.dumps({"version": version, "inputs": inputs, "unknown": unknown}).encode()


@dataclass
class Log:
    """What was asked of TensorRT: the calls of `run`, and the flags of networks and builders by their names."""

    calls: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)


def package(version: str, log: Log | None = None) -> SimpleNamespace:
    """The module `tensorrt` of that version."""
    major, minor = (int(part) for part in version.split(".")[:2])
    noted = log or Log()

    def deserialize(data: bytes) -> SimpleNamespace | None:
        said = json.loads(data)
        return _engine(said, (major, minor), noted) if said["version"] == version else None

    return SimpleNamespace(
        __version__=version,
        ILogger=ILogger,
        Logger=Logger,
        DataType=DataType,
        init_libnvinfer_plugins=lambda logger, namespace: True,
        Runtime=lambda logger: SimpleNamespace(deserialize_cuda_engine=deserialize),
        **({"TensorIOMode": TensorIOMode} if (major, minor) >= (8, 5) else {}),
        **_building(version, major, noted),
    )


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING = range(3)

    def log(self, severity: int, text: str) -> None:
        raise NotImplementedError


class Logger(ILogger):
    def __init__(self, severity: int = ILogger.WARNING) -> None:
        self.severity = severity


def _building(version: str, major: int, log: Log) -> dict[str, Any]:
    """Builder and parser. They refuse what those of the version refuse of the flags and of Q/DQ."""
    network_flags = {8: ["EXPLICIT_BATCH", "EXPLICIT_PRECISION"], 10: ["EXPLICIT_BATCH", "STRONGLY_TYPED"]}
    network_flag = enum.IntEnum("NetworkDefinitionCreationFlag", network_flags.get(major, ["STRONGLY_TYPED"]), start=0)
    builder_flags = {8: ["FP16", "INT8", "FP8"], 10: ["FP16", "INT8", "FP8", "INT4", "BF16"]}.get(major, [])
    builder_flag = enum.Enum("BuilderFlag", ["DEBUG", "TF32", *builder_flags])

    def create_network(flags: int = 0) -> SimpleNamespace:
        names = {one.name for one in network_flag if flags & 1 << one}
        log.flags += sorted(names)
        return SimpleNamespace(names=names, model=None)

    def create_builder_config() -> SimpleNamespace:
        config = SimpleNamespace(flags=set())

        def set_flag(flag: Any) -> None:
            assert isinstance(flag, builder_flag)
            log.flags.append(flag.name)
            config.flags.add(flag.name)

        config.set_flag = set_flag
        return config

    def builder(logger: ILogger) -> SimpleNamespace:
        def build_serialized_network(network: Any, config: Any) -> bytes | None:
            quantized = any(node.op_type == "QuantizeLinear" for node in network.model.graph.node)
            typed = major >= 11 or "STRONGLY_TYPED" in network.names
            if (typed and config.flags) or (quantized and not typed and "INT8" not in config.flags):
                logger.log(ILogger.ERROR, "IBuilder::buildSerializedNetwork:\nError Code 4: API Usage Error")
                return None
            model = base64.b64encode(network.model.SerializeToString()).decode()
            return json.dumps({"version": version, "model": model}).encode()

        return SimpleNamespace(
            create_network=create_network,
            create_builder_config=create_builder_config,
            build_serialized_network=build_serialized_network,
        )

    def parser(network: Any, logger: ILogger) -> SimpleNamespace:
        def parse_from_file(path: str) -> bool:
            network.model = onnx.load(path)
            good = major > 8 or "EXPLICIT_BATCH" in network.names
            if not good:
                logger.log(ILogger.ERROR, "This version of the ONNX parser only supports explicit batches")
            return good

        return SimpleNamespace(parse_from_file=parse_from_file)

    flags = {"NetworkDefinitionCreationFlag": network_flag, "BuilderFlag": builder_flag}
    return {"Builder": builder, "OnnxParser": parser, **flags}


def _doubling(said: dict[str, Any]) -> tuple[Ends, Ends, Compute]:
    inputs = {name: (DataType[dtype], tuple(shape)) for name, (dtype, shape) in said["inputs"].items()}

    def compute(taken: dict[str, Any]) -> dict[str, Any]:
        return {f"out.{n}": ~a if a.dtype == np.bool_ else a * a.dtype.type(2) for n, a in taken.items()}

    return inputs, {f"out.{name}": end for name, end in inputs.items()}, compute


def _model(said: dict[str, Any], major: int) -> tuple[Ends, Ends, Compute]:
    """A model in ONNX Runtime; TensorRT 8 has int32 where it has int64."""
    runner = OnnxRunner(base64.b64decode(said["model"]), optimize=False)

    def end(spec: Any) -> tuple[DataType, tuple[int, ...]]:
        dtype = np.dtype("int32" if spec.dtype == "int64" and major < 10 else spec.dtype)
        return DataType(dtype), tuple(spec.shape)

    def compute(taken: dict[str, Any]) -> dict[str, Any]:
        return runner.run({spec.name: taken[spec.name].astype(spec.dtype) for spec in runner.inputs})

    ends = [{spec.name: end(spec) for spec in specs} for specs in (runner.inputs, runner.output_specs)]
    return ends[0], ends[1], compute


def _engine(said: dict[str, Any], version: tuple[int, int], log: Log) -> SimpleNamespace:
    inputs, outputs, compute = _model(said, version[0]) if "model" in said else _doubling(said)
    ends = inputs | outputs
    names = list(ends)
    shapes = {name: shape for name, (_, shape) in ends.items()}
    addresses: dict[str, int] = {}

    def set_shape(name: str, shape: tuple[int, ...]) -> bool:
        declared = ends[name][1]
        log.calls.append(f"set {name} {list(shape)}")
        if len(declared) != len(shape) or any(d not in (s, -1) or s > 8 for d, s in zip(declared, shape, strict=True)):
            return False
        shapes[name] = shape
        shapes[f"out.{name}"] = tuple(-1 for _ in shape) if said["unknown"] else shape
        return True

    def execute(where: Mapping[str, int], stream: int) -> bool:
        taken = {}
        for name, (dtype, _) in inputs.items():
            data = ctypes.string_at(where[name], math.prod(shapes[name]) * dtype.value.itemsize)
            taken[name] = np.frombuffer(data, dtype.value).reshape(shapes[name])
        for name, array in compute(taken).items():
            data = array.astype(ends[name][0].value).tobytes()
            ctypes.memmove(where[name], data, len(data))
        return stream != 0

    def execute_async_v2(bindings: list[int], stream_handle: int) -> bool:
        log.calls.append("v2")
        return execute(dict(zip(names, bindings, strict=True)), stream_handle)

    def execute_async_v3(stream_handle: int) -> bool:
        log.calls.append("v3")
        return execute(addresses, stream_handle)

    context = SimpleNamespace()
    engine = SimpleNamespace(create_execution_context=lambda: context)
    if version < (10, 0):
        engine.num_bindings = len(names)
        engine.get_binding_name = lambda index: names[index]
        engine.binding_is_input = lambda end: (end if isinstance(end, str) else names[end]) in inputs
        engine.get_binding_dtype = lambda end: ends[end if isinstance(end, str) else names[end]][0]
        engine.get_binding_shape = lambda end: ends[end if isinstance(end, str) else names[end]][1]
        context.set_binding_shape = lambda index, shape: set_shape(names[index], shape)
        context.get_binding_shape = lambda index: shapes[names[index]]
        context.execute_async_v2 = execute_async_v2
    if version >= (8, 5):
        engine.num_io_tensors = len(names)
        engine.get_tensor_name = lambda index: names[index]
        engine.get_tensor_mode = lambda name: TensorIOMode["INPUT" if name in inputs else "OUTPUT"]  # type: ignore[misc]
        engine.get_tensor_dtype = lambda name: ends[name][0]
        engine.get_tensor_shape = lambda name: ends[name][1]
        context.set_input_shape = set_shape
        context.get_tensor_shape = lambda name: shapes[name]
        context.set_tensor_address = addresses.__setitem__
        context.execute_async_v3 = execute_async_v3
    return engine


class Cudart:
    """libcudart's functions as C functions, on this machine's memory; `held` is what has not been freed."""

    def __init__(self, *, capability: tuple[int, int] = (8, 7), devices: int = 1) -> None:
        self.held: dict[int, Any] = {}
        integer, pointer, size = ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t
        to_integer, to_pointer = ctypes.POINTER(integer), ctypes.POINTER(pointer)

        def allocate(address: Any, count: int) -> int:
            if count > 2**40:
                return 2
            block = ctypes.create_string_buffer(count)
            address[0] = ctypes.addressof(block)
            self.held[ctypes.addressof(block)] = block
            return 0

        def copy(target: int, source: int, count: int, kind: int) -> int:
            if (target if kind == 1 else source) not in self.held:
                return 1
            ctypes.memmove(target, source, count)
            return 0

        def device(index: Any) -> int:
            index[0] = 0
            return 0 if devices else 100

        def attribute(value: Any, which: int, index: int) -> int:
            value[0] = capability[which - 75]
            return 0

        def stream(handle: Any) -> int:
            handle[0] = 0xCAFE
            return 0

        def message(code: int) -> bytes:
            return {1: b"invalid argument", 2: b"out of memory", 100: b"no CUDA-capable device is detected"}[code]

        self.cudaMalloc = ctypes.CFUNCTYPE(integer, to_pointer, size)(allocate)
        self.cudaFree = ctypes.CFUNCTYPE(integer, pointer)(lambda address: 0 if self.held.pop(address, None) else 1)
        self.cudaMemcpy = ctypes.CFUNCTYPE(integer, pointer, pointer, size, integer)(copy)
        self.cudaGetDevice = ctypes.CFUNCTYPE(integer, to_integer)(device)
        self.cudaDeviceGetAttribute = ctypes.CFUNCTYPE(integer, to_integer, integer, integer)(attribute)
        self.cudaStreamCreate = ctypes.CFUNCTYPE(integer, to_pointer)(stream)
        self.cudaStreamSynchronize = ctypes.CFUNCTYPE(integer, pointer)(lambda handle: 0 if handle == 0xCAFE else 1)
        self.cudaGetErrorString = message  # a callback cannot own the text that it returns
