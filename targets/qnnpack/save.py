"""A torch.fx module -> the file of the lite interpreter, byte for byte the same for the same module.

    script --> freeze --> bytecode --> [backport] --> names and records in order --> .ptl
"""

from __future__ import annotations

import contextlib
import io
import re
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import fx

NEWEST = 8
"""The bytecode that torch writes by itself."""
OLDEST = 4
_WRITTEN_LAST = ("version", "byteorder", ".data/serialization_id")
"""Records that the writer adds itself."""
_ADDRESS = re.compile(r"^constants/(\d{6,})(\.storage)?$")


def ptl_bytes(module: fx.GraphModule, notes: Mapping[str, str], bytecode: int) -> bytes:
    """The file.

    Args:
        module: what it is to compute; its weights are packed already.
        notes: further records, name -> text, which stand below `extra/`.
        bytecode: its version, from `OLDEST` to `NEWEST`.
    """
    with _own_unit():
        frozen = torch.jit.freeze(torch.jit.script(module.eval()))
        written: bytes = frozen._save_to_buffer_for_lite_interpreter(_extra_files=dict(notes))
    if bytecode < NEWEST:
        backport: Any = torch._C._backport_for_mobile_from_buffer_to_buffer  # type: ignore[attr-defined]
        written = backport(written, bytecode)
    return _settled(written)


@contextlib.contextmanager
def _own_unit() -> Iterator[None]:
    """Compiles into a unit of its own: in torch's common one the class would be numbered, differently each time."""
    state: Any = torch.jit._state
    before = state._python_cu
    state._python_cu = torch._C.CompilationUnit()
    try:
        yield
    finally:
        state._python_cu = before


def _settled(written: bytes) -> bytes:
    """The same archive without the source lines of this machine (which name its folders) and memory addresses."""
    reader: Any = torch._C.PyTorchFileReader(io.BytesIO(written))
    names = [n for n in reader.get_all_records() if not n.endswith(".debug_pkl") and n not in _WRITTEN_LAST]
    records = {name: reader.get_record(name) for name in names}
    renamed = _addresses(names, records)
    result = io.BytesIO()
    writer: Any = torch._C.PyTorchFileWriter(result)
    for name in sorted(names, key=lambda n: (n in renamed, renamed.get(n, ""))):
        data = records[name]
        if name.endswith(".pkl"):
            for old, new in renamed.items():
                data = data.replace(_text(old.removeprefix("constants/")), _text(new.removeprefix("constants/")))
                data = data.replace(_text(_key(old)), _text(_key(new)))
        writer.write_record(renamed.get(name, name), data, len(data))
    writer.write_end_of_file()
    return result.getvalue()


def _addresses(names: list[str], records: Mapping[str, bytes]) -> dict[str, str]:
    """New names for the records that a backport names after places in memory, in the order of their use."""
    index = records.get("constants.pkl", b"") + records.get("bytecode.pkl", b"")
    found = [name for name in names if _ADDRESS.match(name)]
    found.sort(key=lambda name: index.find(_text(_key(name))))
    return {name: f"constants/{number}.storage" for number, name in enumerate(found)}


def _key(name: str) -> str:
    return name.removeprefix("constants/").removesuffix(".storage")


def _text(text: str) -> bytes:
    """A string as it stands in a pickle of protocol 2."""
    data = text.encode()
    return b"X" + struct.pack("<I", len(data)) + data
