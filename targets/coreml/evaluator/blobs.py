"""Files of weights beside a program: a header, then one aligned blob after another, each behind a record.

The layout is that of coremltools' public MIL blob storage: 64 bytes of header (count, version 2); a record of 64 bytes
for each blob, little-endian `<IIQQQ` (sentinel 0xDEADBEEF, element type, size in bytes, offset of the data, unused bits
at the end).
"""

from __future__ import annotations

import struct
from math import prod
from pathlib import Path

import numpy as np

from edgeport.errors import ModelError
from edgeport.targets.coreml.evaluator.program import BY_NAME, Constant, TensorType
from edgeport.targets.coreml.evaluator.reading import raw_elements
from edgeport.targets.coreml.evaluator.registry import Array

_HEADER_BYTES = 64
_RECORD = struct.Struct("<IIQQQ")
_SENTINEL = 0xDEADBEEF
_VERSION = 2
_ELEMENT_TYPES = {
    1: "fp16",
    2: "fp32",
    3: "uint8",
    4: "int8",
    6: "int16",
    7: "uint16",
    8: "int4",
    9: "uint1",
    10: "uint2",
    11: "uint4",
    12: "uint3",
    13: "uint6",
    14: "int32",
    15: "uint32",
}
_MODEL_PATH = "@model_path/"


class Blobs:
    """The files of weights of one package, mapped into memory when first read."""

    def __init__(self, root: Path) -> None:
        """`root` is the folder that `@model_path` stands for; nothing outside of it is read."""
        self._root = root.resolve()
        self._files: dict[str, Array] = {}

    def read(self, constant: Constant) -> Array:
        """The stored array of a file value.

        Raises:
            ModelError: no such file, or a record that does not hold an array of the declared type.
        """
        assert isinstance(constant.type, TensorType)
        data = self._file(constant.file)
        where = f"weights {constant.file!r} at offset {constant.offset}"
        if constant.offset + _RECORD.size > data.size:
            raise ModelError(f"{where}: behind the end of the file ({data.size} bytes); the package is truncated")
        sentinel, code, size, start, padding = _RECORD.unpack(
            data[constant.offset : constant.offset + _RECORD.size].tobytes()
        )
        if sentinel != _SENTINEL:
            raise ModelError(f"{where}: no record of a blob there; the package is damaged")
        if _ELEMENT_TYPES.get(code) != constant.type.dtype:
            raise ModelError(f"{where}: elements of type {_ELEMENT_TYPES.get(code, code)}, not {constant.type.dtype}")
        if start + size > data.size:
            raise ModelError(f"{where}: data reach behind the end of the file ({data.size} bytes); it is truncated")
        shape = tuple(size or 0 for size in constant.type.shape)
        data_type = BY_NAME[constant.type.dtype]
        # Only types under a byte fill their last byte up; older writers left the field undefined for all others.
        unused = padding if data_type.bits % 8 else 0
        if size * 8 - unused != prod(shape) * data_type.bits:
            raise ModelError(f"{where}: {size} bytes do not hold a {constant.type}; the package is damaged")
        try:
            return raw_elements(data[start : start + size], data_type, prod(shape)).reshape(shape)
        except ValueError as error:
            raise ModelError(f"{where}: {error}; the package is damaged") from None

    def _file(self, name: str) -> Array:
        if name in self._files:
            return self._files[name]
        path = (self._root / name.removeprefix(_MODEL_PATH)).resolve()
        if not path.is_relative_to(self._root):
            raise ModelError(f"weights {name!r} stand outside of the package; it is not opened")
        try:
            data = np.memmap(path, np.uint8, "r").view(np.ndarray) if path.stat().st_size else np.zeros(0, np.uint8)
        except (OSError, ValueError) as error:
            raise ModelError(f"weights {name!r} cannot be read: {getattr(error, 'strerror', error)}") from None
        if data.size < _HEADER_BYTES or struct.unpack("<II", data[:8].tobytes())[1] != _VERSION:
            raise ModelError(f"weights {name!r}: not a file of weights of version {_VERSION}")
        self._files[name] = data
        return data
