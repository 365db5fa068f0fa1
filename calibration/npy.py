"""Reads .npy files and .npz members row by row, so that memory does not grow with the number of rows."""

from __future__ import annotations

import contextlib
import math
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.lib.format as npy_format

from edgeport.errors import CalibrationError
from edgeport.sample import Array


@dataclass(frozen=True)
class StoredArray:
    """An array in a file, known by its header.

    Attributes:
        path: the .npy or .npz file.
        member: its name in the .npz, None in a .npy.
        shape: the whole shape.
        dtype: as stored, byte order included.
        fortran: whether it is stored column by column, which cannot be read row by row.
    """

    path: Path
    member: str | None
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool

    @property
    def where(self) -> str:
        """Words for messages."""
        return f"{self.path.name}" if self.member is None else f"{self.path.name}: array {self.member!r}"

    def rows(self, start: int, stop: int) -> Iterator[Array]:
        """The entries `start` to `stop` along the first axis, one at a time.

        Raises:
            CalibrationError: the file is damaged.
        """
        with _reading(self.path), _open(self.path, self.member) as file:
            _read_header(file, self.where)
            if self.fortran:
                flat = np.frombuffer(_read(file, self.dtype.itemsize * math.prod(self.shape), self.where), self.dtype)
                yield from flat.reshape(self.shape, order="F")[start:stop]
                return
            size = self.dtype.itemsize * math.prod(self.shape[1:])
            if start:
                file.seek(start * size, 1)
            for _ in range(start, stop):
                row = np.frombuffer(_read(file, size, self.where), self.dtype).reshape(self.shape[1:])
                yield row.astype(self.dtype.newbyteorder("="), copy=False)

    def whole(self) -> Array:
        """The whole array; for small ones."""
        if self.shape:
            return np.stack(list(self.rows(0, self.shape[0]))) if self.shape[0] else np.zeros(self.shape, self.dtype)
        with _reading(self.path), _open(self.path, self.member) as file:
            _read_header(file, self.where)
            return np.frombuffer(_read(file, self.dtype.itemsize, self.where), self.dtype).reshape(())


def stored_arrays(path: Path) -> dict[str | None, StoredArray]:
    """The arrays in a .npz by name, or the one in a .npy under None. Reads headers only.

    Raises:
        CalibrationError: the file cannot be read, is damaged, or holds Python objects.
    """
    with _reading(path):
        if path.suffix.lower() == ".npy":
            return {None: _describe(path, None)}
        with zipfile.ZipFile(path) as archive:
            members = [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]
        return {member: _describe(path, member) for member in members}


def _describe(path: Path, member: str | None) -> StoredArray:
    where = path.name if member is None else f"{path.name}: array {member!r}"
    with _open(path, member) as file:
        shape, fortran, dtype = _read_header(file, where)
        header = file.tell()
    if dtype.hasobject or dtype.names is not None:
        raise CalibrationError(f"{where} holds Python objects or records; store plain numeric arrays")
    if any(d < 0 for d in shape) or dtype.itemsize * math.prod(shape) > _size(path, member) - header:
        raise CalibrationError(f"{where} is smaller than its shape says: the file is cut off; write it again")
    return StoredArray(path, member, shape, dtype, fortran and len(shape) > 1)


def _size(path: Path, member: str | None) -> int:
    if member is None:
        return path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        return archive.getinfo(member + ".npy").file_size


def _read_header(file: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy_format.read_magic(file)
    if version == (1, 0):
        return npy_format.read_array_header_1_0(file)
    if version == (2, 0):
        return npy_format.read_array_header_2_0(file)
    raise CalibrationError(
        f"{where} has npy format {version[0]}.{version[1]}; store plain numeric arrays with numpy.save"
    )


def _read(file: IO[bytes], size: int, where: str) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise CalibrationError(f"{where} ends early: the file is cut off; write it again")
    return data


@contextlib.contextmanager
def _open(path: Path, member: str | None) -> Iterator[IO[bytes]]:
    if member is None:
        with path.open("rb") as file:
            yield file
        return
    with zipfile.ZipFile(path) as archive, archive.open(member + ".npy") as entry:
        yield entry


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CalibrationError(f"{path.name} cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, KeyError, NotImplementedError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CalibrationError(f"{path.name} is damaged or no numpy file ({reason}); write it again") from error
