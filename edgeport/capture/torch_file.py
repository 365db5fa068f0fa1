"""`.pt2` files, and the other things that end in .pt: what each is, and the way out."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from edgeport.errors import ModelError, ToolchainError

if TYPE_CHECKING:
    import torch

_ENTRY = "write a function that builds the module and returns it, and give file.py:function"


def is_torch_file(head: bytes) -> bool:
    """Whether a file that starts so was written by torch.save, torch.jit.save or torch.export.save (zip or pickle)."""
    return head.startswith(b"PK\x03\x04") or (head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05")


def load_program(path: Path) -> torch.export.ExportedProgram:
    """Loads an ExportedProgram; nothing else is unpickled, because unpickling runs code from the file.

    Raises:
        ModelError: the file is damaged, or holds something other than an ExportedProgram.
        ToolchainError: torch is not installed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] for name in archive.namelist()]
    except zipfile.BadZipFile as error:
        if path.read_bytes()[:1] == b"\x80":
            raise ModelError(f"{path} holds weights or a pickled module, not a graph; {_ENTRY}") from error
        raise ModelError(f"{path} is damaged or cut off: {error}; copy or export it again") from error
    if any(n.startswith("code/") for n in names):
        raise ModelError(f"{path} is TorchScript, which torch.export does not read; {_ENTRY}")
    if "data.pkl" in names and "archive_format" not in names:
        raise ModelError(f"{path} holds weights or a pickled module, not a graph; {_ENTRY}")
    if not any(n.startswith("models/") or n.startswith("serialized_exported_program") for n in names):
        raise ModelError(f"{path} is no ExportedProgram; save one with torch.export.save, or {_ENTRY}")
    require_torch(str(path))
    import torch

    from edgeport.capture.torch_program import quiet

    try:
        with quiet():
            return torch.export.load(str(path))
    except Exception as error:  # a damaged archive fails wherever torch reads it first
        first = (str(error).strip().splitlines() or [""])[0][:200]
        raise ModelError(
            f"torch {torch.__version__} cannot load {path}: {type(error).__name__}: {first}; export it again with this "
            "version of torch"
        ) from error


def require_torch(source: str) -> None:
    """Checks that torch is installed.

    Raises:
        ToolchainError: it is not.
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise ToolchainError(f'{source} needs torch, which is not installed; pip install "edgeport[torch]"') from error
