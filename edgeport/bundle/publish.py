"""Replacing an output folder as a whole: either the new one is there, or the old one still is.

    parent/.NAME.edgeport-XXXX/lock    held by the process that works in it; the system frees it even after kill -9
    parent/.NAME.edgeport-XXXX/new     the folder being written, renamed to parent/NAME at the end
    parent/.NAME.edgeport-XXXX/old     the previous parent/NAME, there only between the two renames

All of it lies beside the output, since a rename is atomic only within one file system. A run that was killed leaves
its temporary folder; the next run to the same output removes it, and puts `old` back if the kill fell between the
renames.
"""

from __future__ import annotations

import errno
import glob
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from edgeport.bundle.manifest import MANIFEST, read_manifest
from edgeport.errors import UsageError

_OTHERS_MAY_ADD = ("bench.json", ".DS_Store", "Thumbs.db")
"""Files that do not stand in a manifest, yet are no work of the user's."""

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def publishing(out: Path) -> Iterator[Path]:
    """Gives an empty folder to write into; it replaces `out` when the block ends without an exception.

    On any exception, Ctrl-C or SIGTERM, `out` stays as it was and what was written is removed. A disk that runs full
    is reported with exit code 2, like every output path that cannot be written.

    Args:
        out: the output folder; it may not exist yet. A link to a folder stays a link.

    Raises:
        UsageError: `out` is not edgeport's to replace (see `check_replaceable`), or cannot be written.
    """
    target = Path(os.path.realpath(out))
    check_replaceable(out)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _clean_up(target)
        work, lock = _claim(target)
    except OSError as error:
        raise _cannot_write(out, error) from error
    try:
        with _terminable():
            new = work / "new"
            new.mkdir()
            yield new
            check_replaceable(out)  # the block may have taken minutes
            try:
                _swap(new, target, work / "old")
            except OSError as error:
                raise _cannot_write(out, error) from error
    except OSError as error:
        if error.errno in _FULL:
            raise _cannot_write(out, error) from error
        raise
    finally:
        _remove(work, lock)


def check_replaceable(out: Path) -> None:
    """Refuses an output path whose replacement could destroy something that edgeport did not write.

    Raises:
        UsageError: a file; the current folder or one above it; a mount point; a folder with files that do not stand in
            its manifest.
    """
    target = Path(os.path.realpath(out))
    try:
        there = target.exists()
    except OSError as error:  # a name too long, a folder that may not be searched
        raise _cannot_write(out, error) from error
    if not there:
        return
    if not target.is_dir():
        raise UsageError(f"--out {out} is a file; give a folder")
    if Path.cwd().is_relative_to(target):
        raise UsageError(f"--out {out} is the current folder or holds it; give a folder below it, e.g. {out / 'edge'}")
    if os.path.ismount(target):
        raise UsageError(
            f"--out {out} is a mount point and cannot be replaced; give a folder in it, e.g. {out / 'edge'}"
        )
    manifest = read_manifest(target)
    try:
        files = (p for p in target.rglob("*") if p.is_symlink() or not p.is_dir())
        if manifest is None:
            if next(files, None) is None:
                return
            raise UsageError(f"--out {out} has files, but no edgeport {MANIFEST}; give another folder, or empty it")
        present = {p.relative_to(target).as_posix() for p in files}
    except OSError as error:
        raise _cannot_write(out, error) from error
    listed = {MANIFEST, *(str(f.get("path")) for f in manifest["files"] if isinstance(f, dict))}
    foreign = sorted(p for p in present - listed if p.rpartition("/")[2] not in _OTHERS_MAY_ADD)
    if foreign:
        raise UsageError(
            f"--out {out} holds {foreign[0]!r}, which edgeport did not write; move it, or give another folder"
        )


def _swap(new: Path, target: Path, old: Path) -> None:
    """Puts `new` in the place of `target`; if that fails or is interrupted, `target` is what it was."""
    try:
        if target.exists():
            os.rename(target, old)
        os.rename(new, target)
    except BaseException:
        if old.exists() and not target.exists():
            os.rename(old, target)
        raise


def _claim(target: Path) -> tuple[Path, int]:
    """A new temporary folder beside `target`, with the descriptor of its lock."""
    while True:
        work = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.parent))
        lock = None
        with suppress(FileNotFoundError):  # another run took it for a stale one before it was locked
            lock = _lock(work)
        if lock is not None:
            return work, lock


def _clean_up(target: Path) -> None:
    """Removes temporary folders of runs that are gone, and restores an output whose run died between the renames."""
    for work in sorted(target.parent.glob(f"{glob.escape(_prefix(target))}*")):
        lock = None
        with suppress(OSError):  # another user's, or just removed by its own run
            lock = _lock(work)
        if lock is None:
            continue
        old = work / "old"
        if old.is_dir() and not target.exists():
            os.rename(old, target)
        _remove(work, lock)


def _remove(work: Path, lock: int) -> None:
    """Removes a temporary folder while its lock is held, so that no other run can claim what is half gone."""
    shutil.rmtree(work, ignore_errors=True)
    os.close(lock)
    shutil.rmtree(work, ignore_errors=True)  # Windows cannot remove the open lock


def _prefix(target: Path) -> str:
    return f".{target.name}.edgeport-"


def _lock(work: Path) -> int | None:
    """Takes the lock of a temporary folder, or returns None if a living process has it."""
    descriptor = os.open(work / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
            return None
        raise
    # The run that held the lock may have removed the folder before it let go: then this is the lock of nothing.
    if not (work / "lock").exists():
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def _terminable() -> Iterator[None]:
    """Lets SIGTERM unwind the block, as Ctrl-C does, unless the program has a handler of its own."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _cannot_write(out: Path, error: OSError) -> UsageError:
    reason = (error.strerror or str(error)).lower()
    return UsageError(f"cannot write --out {out}: {reason}; whatever was there before is untouched")
