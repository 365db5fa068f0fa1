"""Texts inside of a pickle, changed where they stand; nothing of it is executed."""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable


def with_strings(data: bytes, change: Callable[[str], str]) -> bytes:
    """The pickle (of protocol 2, as torch's C++ writes it) with its texts and names of classes changed."""
    made, before = bytearray(), 0
    operations = list(pickletools.genops(data))
    ends = [*(position for _, _, position in operations[1:]), len(data)]
    for (operation, argument, position), end in zip(operations, ends, strict=True):
        if operation.name == "BINUNICODE":
            text = change(str(argument)).encode()
            piece = b"X" + struct.pack("<I", len(text)) + text
        elif operation.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            whole = change(f"{module}.{name}")
            piece = b"c" + "\n".join((*whole.rsplit(".", 1), "")).encode()
        else:
            continue
        assert position is not None
        made += data[before:position] + piece
        before = int(end or 0)
    return bytes(made + data[before:])
