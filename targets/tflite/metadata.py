"""TFLite Metadata: what the Task and Support libraries read from a file (metadata_schema.fbs 1.0.0, identifier M001).

The table goes into the model's buffer TFLITE_METADATA; files it names (the labels) follow the model as a zip archive.
The schema's generated code comes with no package that is needed here, so its few tables are written by field number.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgeport.description import Description, ImageInput

KEY, LABELS = "TFLITE_METADATA", "labels.txt"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_AXIS_LABELS = 2
_FEATURE, _IMAGE = 1, 2
_NORMALIZATION = 1
_COLOURS = {"RGB": 1, "GRAY": 2}
_Field = tuple[int, Callable[[Any, int], None]]


def metadata(
    name: str, inputs: Sequence[str], outputs: Mapping[str, tuple[int, ...]], said: Description
) -> dict[str, bytes]:
    """The buffer TFLITE_METADATA, none where nothing is declared.

    Args:
        name: of the model.
        inputs: names of the inputs, in the file's order.
        outputs: name -> shape of the outputs, in the file's order.
        said: what is declared.
    """
    if not said.images and not said.labels:
        return {}
    import flatbuffers

    b = flatbuffers.Builder(1024)
    labelled = next(
        (o for o, shape in outputs.items() if said.labels and shape and shape[-1] == len(said.labels)), None
    )
    ins = [_tensor(b, i, said.images.get(i), labels=False) for i in inputs]
    outs = [_tensor(b, o, None, labels=o == labelled) for o in outputs]
    graph = _table(b, [_offset(2, _offsets(b, ins)), _offset(3, _offsets(b, outs))])
    fields = [_offset(0, b.CreateString(name)), _offset(3, _offsets(b, [graph])), _offset(7, b.CreateString("1.0.0"))]
    b.Finish(_table(b, fields), b"M001")
    return {KEY: bytes(b.Output())}


def with_files(data: bytes, said: Description) -> bytes:
    """The model followed by the archive of its associated files; readers of the model ignore what follows."""
    if not said.labels:
        return data
    stream = io.BytesIO(data)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(LABELS, _EPOCH), "".join(f"{label}\n" for label in said.labels))
    return stream.getvalue()


def _tensor(b: Any, name: str, image: ImageInput | None, labels: bool) -> int:
    """TensorMetadata."""
    fields = [_offset(0, b.CreateString(name))]
    if image is None:
        properties, kind = _table(b, []), _FEATURE
    else:
        size = _table(b, [_scalar(0, "Uint32", image.size[0]), _scalar(1, "Uint32", image.size[1])])
        properties = _table(b, [_scalar(0, "Int8", _COLOURS.get(image.colour, 0)), _offset(1, size)])
        kind = _IMAGE
        options = _table(b, [_offset(0, _floats(b, image.mean)), _offset(1, _floats(b, image.std))])
        unit = _table(b, [_scalar(0, "Uint8", _NORMALIZATION), _offset(1, options)])
        fields.append(_offset(4, _offsets(b, [unit])))
    fields.append(_offset(3, _table(b, [_scalar(0, "Uint8", kind), _offset(1, properties)])))
    if labels:
        file = _table(b, [_offset(0, b.CreateString(LABELS)), _scalar(2, "Int8", _AXIS_LABELS)])
        fields.append(_offset(6, _offsets(b, [file])))
    return _table(b, fields)


def _table(b: Any, fields: Sequence[_Field]) -> int:
    b.StartObject(1 + max((number for number, _ in fields), default=0))
    for number, write in fields:
        write(b, number)
    return int(b.EndObject())


def _offset(number: int, target: int) -> _Field:
    return number, lambda b, slot: b.PrependUOffsetTRelativeSlot(slot, target, 0)


def _scalar(number: int, kind: str, value: int) -> _Field:
    return number, lambda b, slot: getattr(b, f"Prepend{kind}Slot")(slot, value, 0)


def _offsets(b: Any, targets: Sequence[int]) -> int:
    b.StartVector(4, len(targets), 4)
    for target in reversed(targets):
        b.PrependUOffsetTRelative(target)
    return int(b.EndVector())


def _floats(b: Any, values: Sequence[float]) -> int:
    b.StartVector(4, len(values), 4)
    for value in reversed(values):
        b.PrependFloat32(value)
    return int(b.EndVector())
