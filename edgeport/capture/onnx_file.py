"""ONNX file -> protobuf message with every weight in memory, and the digest of all bytes that were read."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from edgeport.errors import ModelError


def read_onnx_file(path: Path) -> tuple[onnx.ModelProto, str]:
    """Reads a model and its external data.

    Returns:
        The message, whose tensors all hold their own data, and the sha256 (hex) of the file's bytes followed by
        the bytes of each external tensor.

    Raises:
        ModelError: the file is not an ONNX model, is cut off, its external data is missing or too short, or a weight's
            bytes are not what its shape says.
    """
    if path.is_dir():
        raise ModelError(f"{path} is a folder, not a model; give the .onnx file in it")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}; check the path") from error
    if not data:
        raise ModelError(f"{path} is empty (0 bytes); copy or export it again")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        raise ModelError(
            f"{path} is not a readable ONNX model: it is cut off, damaged, or another format ({len(data)} bytes); "
            "copy or export it again"
        ) from error
    if not proto.HasField("graph") or not proto.ir_version:
        raise ModelError(f"{path} holds no ONNX graph: it is cut off or another format; copy or export it again")
    digest = hashlib.sha256(data)
    for tensor in tensors(proto):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            tensor.raw_data = _external_bytes(tensor, path)
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]
            digest.update(tensor.raw_data)
        elif tensor.HasField("raw_data"):
            _check_size(tensor, path)
        else:
            _check_field(tensor, path)
    return proto, digest.hexdigest()


def digest_message(proto: onnx.ModelProto) -> str:
    """sha256 (hex) of a message of any size; the weights are taken out of it on the way."""
    digest = hashlib.sha256()
    for tensor in tensors(proto):
        digest.update(tensor.raw_data)
        tensor.ClearField("raw_data")
    digest.update(proto.SerializeToString(deterministic=True))
    return digest.hexdigest()


def _external_bytes(tensor: onnx.TensorProto, model: Path) -> bytes:
    entries = {e.key: e.value for e in tensor.external_data}
    what = f"tensor {tensor.name!r} of {model}"
    location = entries.get("location", "")
    relative = PurePosixPath(location.replace("\\", "/"))
    if not relative.parts or relative.is_absolute() or ".." in relative.parts or ":" in relative.parts[0]:
        raise ModelError(
            f"{what} points outside the model's folder ({location!r}); keep its data file beside the model"
        )
    path = model.parent / relative
    try:
        offset, size = int(entries.get("offset", 0)), path.stat().st_size
        length = int(entries["length"]) if "length" in entries else size - offset
        needed = _byte_size(tensor)
    except OSError as error:
        raise ModelError(
            f"external data file {path} is missing ({what} is in it); put it beside the model, or export again"
        ) from error
    except ValueError as error:
        raise ModelError(f"{what} has a damaged reference into {path} ({error}); export the model again") from error
    if offset < 0 or length < 0 or offset + length > size or length < needed:
        raise ModelError(
            f"external data file {path} is too short: {what} needs {max(length, needed)} bytes from {offset}, the file "
            f"has {size}; copy or export it again"
        )
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(needed)


def _check_size(tensor: onnx.TensorProto, model: Path) -> None:
    """ONNX Runtime refuses it too, in words that name neither the weight nor the file."""
    if tensor.data_type not in onnx.helper.get_all_tensor_dtypes():
        return  # refused with the graph
    try:
        fits = len(tensor.raw_data) == _byte_size(tensor)
    except ValueError:
        fits = False
    if not fits:
        raise ModelError(
            f"weight {tensor.name!r} of {model} has {len(tensor.raw_data)} bytes, which do not fill its shape "
            f"{list(tensor.dims)}: the file is damaged; export the model again"
        )


_PACKED = frozenset(
    onnx.TensorProto.DataType.Value(name)
    for name in onnx.TensorProto.DataType.keys()  # noqa: SIM118 - an enum wrapper, not a mapping
    if name.startswith(("COMPLEX", "INT4", "UINT4", "FLOAT4", "INT2", "UINT2", "FLOAT6E"))
)
"""Types whose lists have another length than the tensor."""
_FIELDS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")


def _check_field(tensor: onnx.TensorProto, model: Path) -> None:
    """A tensor without raw bytes keeps its numbers in the list that belongs to its type (onnx.proto, TensorProto)."""
    if tensor.data_type not in onnx.helper.get_all_tensor_dtypes():
        return  # refused with the graph
    right = onnx.helper.tensor_dtype_to_field(tensor.data_type)
    wrong = [field for field in _FIELDS if field != right and len(getattr(tensor, field))]
    if wrong:
        kind = onnx.TensorProto.DataType.Name(tensor.data_type)
        raise ModelError(
            f"weight {tensor.name!r} of {model} is {kind} but has its numbers in {wrong[0]}: the file is damaged; "
            "export the model again"
        )
    count = len(getattr(tensor, right))
    if right == "string_data" or tensor.data_type in _PACKED or count == math.prod(tensor.dims):
        return
    raise ModelError(
        f"weight {tensor.name!r} of {model} has {count} numbers, which do not fill its shape {list(tensor.dims)}: the "
        "file is damaged; export the model again"
    )


def _byte_size(tensor: onnx.TensorProto) -> int:
    """Bytes that the tensor's dtype and shape need; types of less than a byte are packed."""
    if any(d < 0 for d in tensor.dims):
        raise ValueError("a negative dimension")
    count: int = math.prod(tensor.dims)
    if tensor.data_type in (onnx.TensorProto.INT4, onnx.TensorProto.UINT4, onnx.TensorProto.FLOAT4E2M1):
        return (count + 1) // 2
    return count * int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of a model: weights and node attributes, of subgraphs and functions too."""
    yield from _tensors_of_graph(proto.graph)
    for function in proto.functions:
        for node in function.node:
            yield from _tensors_of_node(node)


def _tensors_of_graph(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        yield from _tensors_of_node(node)


def _tensors_of_node(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        if attribute.HasField("g"):
            yield from _tensors_of_graph(attribute.g)
        for graph in attribute.graphs:
            yield from _tensors_of_graph(graph)
