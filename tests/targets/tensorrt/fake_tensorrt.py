"""TensorRT's Python package and CUDA's runtime library as each version has them, on memory of this machine.

An object has the attributes of that version and no others (read off the bindings wheels of 8.6.1, 10.3.0 and 11.4.0 and
NVIDIA's documentation of 8.4), so that a call that the version lacks is an AttributeError. Engines are JSON and double
what they are given.
"""

from __future__ import annotations

import ctypes
import enum
import json
import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np


class DataType(enum.Enum):
    FLOAT = np.dtype(np.float32)
    HALF = np.dtype(np.float16)
    INT8 = np.dtype(np.int8)
    INT32 = np.dtype(np.int32)
    INT64 = np.dtype(np.int64)
    BOOL = np.dtype(np.bool_)
    BF16 = np.dtype(np.uint16)


TensorIOMode = enum.Enum("TensorIOMode", ["NONE", "INPUT", "OUTPUT"])


def engine_bytes(version: str, inputs: Mapping[str, tuple[str, list[int]]], *, unknown: bool = False) -> bytes:
    """An engine with an output `out.NAME` for each input: name -> (type, shape); -1 is an axis of any size up to 8."""
    return json.dumps({"version": version, "inputs": inputs, "unknown": unknown}).encode()


def package(version: str, log: list[str] | None = None) -> SimpleNamespace:
    """The module `tensorrt` of that version; what is asked of it is noted in `log`."""
    major, minor = (int(part) for part in version.split(".")[:2])
    noted = [] if log is None else log
    named, indexed = (major, minor) >= (8, 5), major < 10

    def deserialize(data: bytes) -> SimpleNamespace | None:
        said = json.loads(data)
        return _engine(said, named, indexed, noted) if said["version"] == version else None

    def logger(severity: int) -> str:
        return "logger"

    logger.ERROR = 1  # type: ignore[attr-defined]
    return SimpleNamespace(
        __version__=version,
        Logger=logger,
        DataType=DataType,
        init_libnvinfer_plugins=lambda logger, namespace: True,
        Runtime=lambda logger: SimpleNamespace(deserialize_cuda_engine=deserialize),
        **({"TensorIOMode": TensorIOMode} if named else {}),
    )


def _engine(said: dict[str, Any], named: bool, indexed: bool, log: list[str]) -> SimpleNamespace:
    ends = {name: (DataType[dtype], tuple(shape)) for name, (dtype, shape) in said["inputs"].items()}
    names = [*ends, *(f"out.{name}" for name in ends)]
    ends |= {f"out.{name}": end for name, end in ends.items()}
    shapes = {name: shape for name, (_, shape) in ends.items()}
    addresses: dict[str, int] = {}

    def set_shape(name: str, shape: tuple[int, ...]) -> bool:
        declared = ends[name][1]
        log.append(f"set {name} {list(shape)}")
        if len(declared) != len(shape) or any(d not in (s, -1) or s > 8 for d, s in zip(declared, shape, strict=True)):
            return False
        shapes[name] = shape
        shapes[f"out.{name}"] = tuple(-1 for _ in shape) if said["unknown"] else shape
        return True

    def execute(where: Mapping[str, int], stream: int) -> bool:
        for name in names[: len(names) // 2]:
            size = math.prod(shapes[name])
            dtype = ends[name][0].value
            taken = np.frombuffer(ctypes.string_at(where[name], size * dtype.itemsize), dtype)
            made = (~taken if dtype == np.bool_ else taken * dtype.type(2)).tobytes()
            ctypes.memmove(where[f"out.{name}"], made, len(made))
        return stream != 0

    def execute_async_v2(bindings: list[int], stream_handle: int) -> bool:
        log.append("v2")
        return execute(dict(zip(names, bindings, strict=True)), stream_handle)

    def execute_async_v3(stream_handle: int) -> bool:
        log.append("v3")
        return execute(addresses, stream_handle)

    context = SimpleNamespace()
    engine = SimpleNamespace(create_execution_context=lambda: context)
    if indexed:
        engine.num_bindings = len(names)
        engine.get_binding_name = lambda index: names[index]
        engine.binding_is_input = lambda end: (end if isinstance(end, int) else names.index(end)) < len(names) // 2
        engine.get_binding_dtype = lambda end: ends[end if isinstance(end, str) else names[end]][0]
        engine.get_binding_shape = lambda end: ends[end if isinstance(end, str) else names[end]][1]
        context.set_binding_shape = lambda index, shape: set_shape(names[index], shape)
        context.get_binding_shape = lambda index: shapes[names[index]]
        context.execute_async_v2 = execute_async_v2
    if named:
        engine.num_io_tensors = len(names)
        engine.get_tensor_name = lambda index: names[index]
        engine.get_tensor_mode = lambda name: TensorIOMode[  # type: ignore[misc]
            "INPUT" if names.index(name) < len(names) // 2 else "OUTPUT"
        ]
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
