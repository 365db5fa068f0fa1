from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edgeport.bundle import publish
from edgeport.bundle.manifest import write_manifest
from edgeport.bundle.publish import check_replaceable, publishing
from edgeport.errors import BudgetError, UsageError


def fill(folder: Path, text: str) -> None:
    (folder / "tflite").mkdir()
    (folder / "tflite" / "m.tflite").write_text(text)
    write_manifest(folder, source={"name": "m.onnx"}, data={}, options={})


def published(out: Path, text: str = "first") -> Path:
    with publishing(out) as folder:
        fill(folder, text)
    return out


def content(out: Path) -> str:
    return (out / "tflite" / "m.tflite").read_text()


def leftovers(out: Path) -> list[Path]:
    return list(out.parent.glob(f".{out.name}.edgeport-*"))


def test_first_and_second_run(tmp_path: Path) -> None:
    out = published(tmp_path / "build" / "edge")
    assert content(out) == "first"
    with publishing(out) as folder:
        assert list(folder.iterdir()) == []
        fill(folder, "second")
        assert content(out) == "first"  # until the end
    assert content(out) == "second"
    assert leftovers(out) == []
    assert out.stat().st_mode & 0o777 == 0o777 & ~umask()


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("error", [BudgetError("over"), RuntimeError("bug"), KeyboardInterrupt(), SystemExit(1)])
def test_an_exception_changes_nothing(tmp_path: Path, error: BaseException) -> None:
    out = published(tmp_path / "edge")

    def failing() -> None:
        with publishing(out) as folder:
            fill(folder, "second")
            raise error

    with pytest.raises(type(error)):
        failing()
    assert content(out) == "first"
    assert leftovers(out) == []


SCRIPT = """
import sys, time
from pathlib import Path
from edgeport.bundle.publish import publishing
with publishing(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("half")
    print("writing", flush=True)
    time.sleep(600)
"""


def start(out: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen([sys.executable, "-c", SCRIPT, str(out)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "writing\n"
    return child


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_cleans_up(tmp_path: Path, number: signal.Signals) -> None:
    out = published(tmp_path / "edge")
    child = start(out)
    child.send_signal(number)
    child.communicate()
    assert child.returncode != 0
    assert content(out) == "first"
    assert leftovers(out) == []


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_kill_9_leaves_the_output_and_the_next_run_cleans_up(tmp_path: Path) -> None:
    out = published(tmp_path / "edge")
    child, living = start(out), start(out)
    try:
        child.kill()
        child.communicate()
        assert content(out) == "first"
        assert len(leftovers(out)) == 2
        published(out, "second")
        [left] = leftovers(out)  # the living run's
        assert (left / "new" / "half").read_text() == "half"
    finally:
        living.kill()
        living.communicate()
    published(out, "third")
    assert content(out) == "third"
    assert leftovers(out) == []


def test_a_kill_between_the_renames_is_repaired(tmp_path: Path) -> None:
    out = published(tmp_path / "edge")
    work = tmp_path / ".edge.edgeport-dead"
    work.mkdir()
    (work / "lock").touch()
    out.rename(work / "old")

    def failing() -> None:
        with publishing(out):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()
    assert content(out) == "first"
    assert leftovers(out) == []


def test_a_failing_second_rename_restores_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = published(tmp_path / "edge")
    rename = os.rename

    def refuse(source: Path, target: Path) -> None:
        if Path(source).name == "new":
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target)

    def replace() -> None:
        with publishing(out) as folder:
            fill(folder, "second")
            monkeypatch.setattr(publish.os, "rename", refuse)

    with pytest.raises(UsageError, match="cannot write --out .*input/output error"):
        replace()
    assert content(out) == "first"
    assert leftovers(out) == []


def test_disk_full_is_one_line(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if sys.platform != "linux":
        pytest.skip("mounts a tmpfs")
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a small file system here")
    try:
        out = published(disk / "edge")

        def overflow() -> None:
            with publishing(out) as folder:
                (folder / "big").write_bytes(bytes(1 << 20))

        with pytest.raises(UsageError) as caught:
            overflow()
        assert "no space left on device" in str(caught.value)
        assert caught.value.exit_code == 2
        assert content(out) == "first"
        assert leftovers(out) == []
        with pytest.raises(UsageError, match="is a mount point"):
            check_replaceable(disk)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_disk_full_without_a_mount(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    out = published(tmp_path / "edge")

    def overflow() -> None:
        with publishing(out), open("/dev/full", "w", buffering=1) as full:
            full.write("x\n" * 10000)

    with pytest.raises(UsageError, match="no space left on device"):
        overflow()
    assert content(out) == "first"


def test_other_os_errors_of_the_block_keep_their_type(tmp_path: Path) -> None:
    def missing() -> None:
        with publishing(tmp_path / "edge"):
            (tmp_path / "no such file").read_text()

    with pytest.raises(FileNotFoundError):
        missing()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_no_permission_is_one_line(tmp_path: Path) -> None:
    for folder in tmp_path.parents[:3]:  # pytest's own, which only their owner may enter
        if folder.name.startswith(("pytest-", "popen-")):
            folder.chmod(0o755)
    tmp_path.chmod(0o555)
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom edgeport.bundle.publish import publishing\n"
        "from edgeport.errors import UsageError\n"
        "if os.getuid() == 0: os.setuid(65534)  # permissions do not bind root\n"
        "try:\n    with publishing(Path(sys.argv[1])): pass\nexcept UsageError as e: print(e)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "edge")], capture_output=True, text=True, check=True
    )
    assert "cannot write --out" in done.stdout
    assert "permission denied" in done.stdout


def test_what_edgeport_did_not_write_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.tflite"
    file.write_text("x")
    home = tmp_path / "home"
    (home / "deep").mkdir(parents=True)
    (home / "deep" / "thesis.txt").write_text("x")
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "manifest.json").write_text('{"name": "a web app"}')
    mixed = published(tmp_path / "mixed")
    (mixed / "notes.txt").write_text("mine")
    for out, words in (
        (file, "is a file"),
        (home, "has files, but no edgeport manifest"),
        (strange, "has files, but no edgeport manifest"),
        (mixed, "holds 'notes.txt'"),
        (Path("/"), "is the current folder or holds it"),
    ):
        with pytest.raises(UsageError, match=words), publishing(out):
            pytest.fail("must not start")
    assert (home / "deep" / "thesis.txt").read_text() == "x"
    inside = published(tmp_path / "inside")
    monkeypatch.chdir(inside)
    with pytest.raises(UsageError, match="is the current folder"):
        check_replaceable(Path("."))


def test_what_may_be_replaced(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    (empty / "sub").mkdir(parents=True)
    assert content(published(empty)) == "first"
    benched = published(tmp_path / "benched")
    (benched / "bench.json").write_text("{}")
    (benched / "tflite" / ".DS_Store").write_text("")
    assert content(published(benched, "second")) == "second"
    odd = published(tmp_path / "a[1]*")
    (tmp_path / ".a[1]*.edgeport-dead").mkdir()
    assert content(published(odd, "second")) == "second"
    assert not (tmp_path / ".a[1]*.edgeport-dead").exists()


def test_files_that_appear_during_the_run_are_kept(tmp_path: Path) -> None:
    out = published(tmp_path / "edge")

    def replace() -> None:
        with publishing(out) as folder:
            fill(folder, "second")
            (out / "notes.txt").write_text("mine")

    with pytest.raises(UsageError, match="notes.txt"):
        replace()
    assert (out / "notes.txt").read_text() == "mine"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real = published(tmp_path / "real")
    link = tmp_path / "link"
    link.symlink_to(real, target_is_directory=True)
    published(link, "second")
    assert link.is_symlink()
    assert content(real) == "second"


def test_threads_publish_to_the_same_place(tmp_path: Path) -> None:
    out = tmp_path / "edge"
    errors: list[BaseException] = []

    def work(index: int) -> None:
        try:
            for turn in range(10):
                try:
                    published(out, f"{index}.{turn}")
                except UsageError:
                    time.sleep(0)  # another one was just renaming
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert content(out)
    assert leftovers(out) == []
