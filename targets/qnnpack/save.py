"""A torch.fx module -> the file of the lite interpreter: script --> freeze --> bytecode --> [backport] --> .ptl."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from edgeport.targets.qnnpack.archive import settled

NEWEST = 8
"""The bytecode that torch writes by itself."""


def ptl_bytes(module: fx.GraphModule, notes: Mapping[str, str], bytecode: int) -> bytes:
    """The file; the same for the same arguments.

    Args:
        module: what it is to compute; its weights are packed already.
        notes: further records, name -> text, which stand below `extra/`.
        bytecode: its version, from 4 to `NEWEST`.

    Raises:
        RuntimeError: torch does not take the module.
    """
    frozen: Any = torch.jit.freeze(torch.jit.script(module.eval()))
    written: bytes = frozen._save_to_buffer_for_lite_interpreter(_extra_files=dict(notes))
    if bytecode < NEWEST:
        backport: Any = torch._C._backport_for_mobile_from_buffer_to_buffer
        written = backport(written, bytecode)
    return settled(written)
