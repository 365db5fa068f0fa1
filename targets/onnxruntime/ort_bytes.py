"""An .ort file with the same bytes every time: one table of it has the order of hashes with a random seed.

    InferenceSession { ort_version, model, _, kernel_type_str_resolver }
    KernelTypeStrResolver { [ op_id, [ kernel_type_str, [ arg_type, index ] ] ] }      in front of everything else

The table is read, sorted and written anew behind the rest; the root, in front, is written anew with it. All offsets of
what lies between are relative, so that it stays as it is. References: onnxruntime/core/flatbuffers/schema/ort.fbs of
github.com/microsoft/onnxruntime; flatbuffers.dev/internals.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

_IDENTIFIER = b"ORTM"
_ALIGNMENT = 16
_VERSION, _MODEL, _RESOLVER = 0, 1, 3
_FIELDS = 4


@dataclass(frozen=True)
class _Argument:
    kind: int
    index: int


_Types = tuple[tuple[bytes, tuple[_Argument, ...]], ...]
_Entries = tuple[tuple[bytes, _Types], ...]


class _Reader:
    """Reads objects of a flatbuffer and remembers where the last one ends that lies in front of the model."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.end, self.limit = 0, len(data)

    def seen(self, start: int, end: int) -> None:
        """Strings may be shared with the model's."""
        if start < self.limit:
            self.end = max(self.end, end)

    def number(self, form: str, at: int) -> int:
        value: int = struct.unpack_from(form, self.data, at)[0]
        return value

    def field(self, table: int, index: int) -> int:
        """Where a table's field lies; 0 where it is left out."""
        vtable = table - self.number("<i", table)
        size = self.number("<H", vtable)
        self.seen(table, table + self.number("<H", vtable + 2))
        if 4 + 2 * index >= size:
            return 0
        offset = self.number("<H", vtable + 4 + 2 * index)
        return table + offset if offset else 0

    def target(self, at: int) -> int:
        """What an offset points to."""
        return at + self.number("<I", at)

    def text(self, at: int) -> bytes:
        start = self.target(at)
        length = self.number("<I", start)
        self.seen(start, start + 4 + length + 1)
        return self.data[start + 4 : start + 4 + length]

    def tables(self, at: int) -> list[int]:
        start = self.target(at)
        length = self.number("<I", start)
        self.seen(start, start + 4 + 4 * length)
        return [self.target(start + 4 + 4 * i) for i in range(length)]

    def entries(self, resolver: int) -> _Entries:
        found = []
        for op in self.tables(self.field(resolver, 0)):
            name, types = self.text(self.field(op, 0)), []
            for entry in self.tables(self.field(op, 1)):
                arguments = (self._argument(one) for one in self.tables(self.field(entry, 1)))
                types.append((self.text(self.field(entry, 0)), tuple(arguments)))
            found.append((name, tuple(sorted(types, key=lambda one: one[0]))))
        return tuple(sorted(found, key=lambda one: one[0]))

    def _argument(self, table: int) -> _Argument:
        kind, index = self.field(table, 0), self.field(table, 1)
        return _Argument(self.number("<b", kind) if kind else 0, self.number("<I", index) if index else 0)


def in_order(data: bytes) -> bytes:
    """The same file, its table of kernels' types sorted by operator and type; as it is where it has none."""
    reader = _Reader(data)
    root = reader.target(0)
    version, model, resolver = (reader.field(root, index) for index in (_VERSION, _MODEL, _RESOLVER))
    if data[4:8] != _IDENTIFIER or not (version and model and resolver):
        return data
    reader.limit = reader.target(model)
    entries = reader.entries(reader.target(resolver))
    start = reader.end  # of what lies behind the table, which padding of zeros may precede
    while data[start] == 0:
        start += 1
    vtable = struct.pack("<HH4H", 4 + 2 * _FIELDS, 16, 4, 8, 0, 12)
    table = 8 + len(vtable)
    front = table + 16
    front += (start - front) % _ALIGNMENT
    behind = front + len(data) - start
    behind += -behind % _ALIGNMENT
    blob = _written(entries)
    shift = front - start
    places = (
        reader.target(version) + shift,
        reader.target(model) + shift,
        behind + struct.unpack_from("<I", blob, 0)[0],
    )
    offsets = [place - (table + 4 + 4 * i) for i, place in enumerate(places)]
    head = struct.pack("<I", table) + _IDENTIFIER + vtable + struct.pack("<i3I", len(vtable), *offsets)
    body = head.ljust(front, b"\0") + data[start:]
    return body.ljust(behind, b"\0") + blob


def _written(entries: _Entries) -> bytes:
    import flatbuffers  # comes with ONNX Runtime

    builder = flatbuffers.Builder(1024)

    def vector(offsets: Sequence[int]) -> int:
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())

    def pair(name: bytes, values: Sequence[int]) -> int:
        text, listed = builder.CreateString(name), vector(values)
        builder.StartObject(2)
        builder.PrependUOffsetTRelativeSlot(0, text, 0)
        builder.PrependUOffsetTRelativeSlot(1, listed, 0)
        return int(builder.EndObject())

    def argument(one: _Argument) -> int:
        builder.StartObject(2)
        builder.PrependInt8Slot(0, one.kind, 0)
        builder.PrependUint32Slot(1, one.index, 0)
        return int(builder.EndObject())

    operators = [
        pair(op, [pair(name, [argument(one) for one in arguments]) for name, arguments in types])
        for op, types in entries
    ]
    listed = vector(operators)
    builder.StartObject(1)
    builder.PrependUOffsetTRelativeSlot(0, listed, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())
