"""A content-addressed cache of files: what was computed from the same content is not computed again.

    <cache>/<kind>/<key>     sha256 of the payload (32 bytes), payload

The folder is $EDGEPORT_CACHE, or edgeport/ under $XDG_CACHE_HOME or ~/.cache. Entries are written to a temporary file
and renamed, so that processes may share it. A damaged entry counts as missing, and a cache that cannot be written is
done without: it must never fail a run.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path


def cache_folder() -> Path:
    """Where entries live; the folder need not exist."""
    own = os.environ.get("EDGEPORT_CACHE")
    if own:
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "edgeport"


def cache_key(parts: Iterable[str | bytes]) -> str:
    """sha256 over the parts, which stay apart: ("ab", "c") and ("a", "bc") have different keys."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.hexdigest()


def read_cached(kind: str, key: str) -> bytes | None:
    """The payload stored under `key`; None if there is none, or only a damaged one."""
    try:
        data = (cache_folder() / kind / key).read_bytes()
    except OSError:
        return None
    payload = data[32:]
    return payload if hashlib.sha256(payload).digest() == data[:32] else None


def write_cached(kind: str, key: str, payload: bytes) -> None:
    """Stores `payload` under `key`, over whatever is there; does nothing where the cache cannot be written."""
    folder = cache_folder() / kind
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".", dir=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(payload).digest() + payload)
            os.replace(temporary, folder / key)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
