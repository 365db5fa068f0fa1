"""A file of the lite interpreter without what differs from one run to the next.

That is: the source lines that each operator came from, with the folders of this machine; the number that torch gives
to a class in one process; and memory addresses, after which a backport names constants. A backport also stores each
constant twice, for its code and for its bytecode; here both read one record.
"""

from __future__ import annotations

import io
import pickletools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from edgeport.targets.qnnpack.pickles import with_strings

_WRITTEN_LAST = ("version", "byteorder", ".data/serialization_id")
"""Records that torch's writer adds itself."""
_NUMBERED = re.compile(r"___torch_mangle_\d+")
_CLASS = "edgeport"
_FOLDER, _STORAGE = "constants/", ".storage"


def settled(written: bytes) -> bytes:
    """The same archive, with names that follow from its contents."""
    reader: Any = torch._C.PyTorchFileReader(io.BytesIO(written))
    names = [n for n in reader.get_all_records() if not n.endswith(".debug_pkl") and n not in _WRITTEN_LAST]
    records = {name: bytes(reader.get_record(name)) for name in names}
    constants = _constants(records)

    def renamed(text: str) -> str:
        return constants.get(text) or _NUMBERED.sub(_CLASS, text)

    made = {}
    for name, data in records.items():
        if name.endswith(".pkl"):
            data = with_strings(data, renamed)
        elif name.endswith(".py"):
            data = _NUMBERED.sub(_CLASS, data.decode()).encode()
        file = name.removeprefix(_FOLDER)
        made[_FOLDER + constants[file] if file in constants else _NUMBERED.sub(_CLASS, name)] = data
    result = io.BytesIO()
    writer: Any = torch._C.PyTorchFileWriter(result)
    for name in sorted(made):
        writer.write_record(name, made[name], len(made[name]))
    writer.write_end_of_file()
    return result.getvalue()


def _constants(records: Mapping[str, bytes]) -> dict[str, str]:
    """Record of a constant -> its new name: numbers in the order of use, one for equal bytes of one type."""
    numbers: dict[tuple[str, bytes], int] = {}
    found: dict[str, str] = {}
    for pickle in ("constants.pkl", "bytecode.pkl"):
        for kind, file in _storages(records.get(pickle, b"N.")):
            if _FOLDER + file in records:
                number = numbers.setdefault((kind, records[_FOLDER + file]), len(numbers))
                found.setdefault(file, f"{number}{_STORAGE}")
    return found


def _storages(pickle: bytes) -> Iterator[tuple[str, str]]:
    """Type and file of the storages that a pickle names: it gives the type first, again from its memory later on."""
    kind, memory, last = "", dict[object, str](), ""
    for operation, argument, _ in pickletools.genops(pickle):
        if operation.name == "GLOBAL":
            kind = last = str(argument)
        elif operation.name in ("BINPUT", "LONG_BINPUT") and last:
            memory[argument] = last
        elif operation.name in ("BINGET", "LONG_BINGET"):
            kind = memory.get(argument, kind)
        elif operation.name == "BINUNICODE" and str(argument).endswith(_STORAGE):
            yield kind, str(argument)
        if operation.name != "GLOBAL":
            last = ""
