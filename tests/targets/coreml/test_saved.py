"""The package on disk: the same bytes from every process, readable by all, whole or not there."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from edge_models import canonical, lowered, parsed

from edgeport.quantize.plan import Plan
from edgeport.targets.coreml.evaluator.package import open_package

CODE = """from edgeport import api
api.export({cnn!r}, target="coreml", precision={precision!r}, {more}, out={out!r}, cache=False)
"""


def digests(folder: Path) -> dict[str, str]:
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def command(cnn: Path, out: Path, precision: str, more: str) -> list[str]:
    return [sys.executable, "-c", CODE.format(cnn=str(cnn), precision=precision, more=more, out=str(out))]


def test_every_process_writes_the_same_bytes(cnn: Path, images: Path, tmp_path: Path) -> None:
    """Hash seeds and the order of protobuf's maps differ between processes."""
    old = os.umask(0o077)
    try:
        for seed in ("1", "2"):
            (tmp_path / seed).mkdir()
            arguments = command(cnn, tmp_path / seed / "out", "int8", f"calib={str(images)!r}")
            subprocess.run(arguments, env={**os.environ, "PYTHONHASHSEED": seed}, check=True)
    finally:
        os.umask(old)
    assert digests(tmp_path / "1/out") == digests(tmp_path / "2/out")
    package = tmp_path / "1/out/coreml/small_cnn.mlpackage"
    files = {p.relative_to(package).as_posix() for p in package.rglob("*") if p.is_file()}
    assert files == {
        "Manifest.json",
        "Data/com.apple.CoreML/model.mlmodel",
        "Data/com.apple.CoreML/weights/weight.bin",
    }
    modes = {p.is_dir(): p.stat().st_mode & 0o777 for p in (package, *package.rglob("*"))}
    assert modes == {True: 0o755, False: 0o644}


def test_a_killed_export_leaves_no_package(cnn: Path, images: Path, tmp_path: Path) -> None:
    """Killed while the user's metric looks at the package, which is written by then."""
    slow = tmp_path / "slow.py"
    slow.write_text(
        f"import time\nfrom pathlib import Path\ndef metric(outputs, labels):\n"
        f"    Path({str(tmp_path / 'started')!r}).touch()\n    time.sleep(600)\n"
    )
    more = f"data={str(images)!r}, metric={str(slow) + ':metric'!r}"
    process = subprocess.Popen(command(cnn, tmp_path / "out", "fp16", more))
    while not (tmp_path / "started").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.wait()
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.rglob("*.mlpackage"))


def test_equal_numbers_stand_once(tmp_path: Path) -> None:
    """Axes, scales and shapes: in a transformer a third of the program's text."""
    text = """net (float[1,4,6] x) => (float[1,4,6] y) {
        a = Transpose<perm=[0,2,1]>(x) b = Softmax<axis=-1>(a) c = Transpose<perm=[0,2,1]>(b) y = Softmax<axis=-1>(c)
    }"""
    artifact = lowered(canonical(parsed(text)), tmp_path, Plan("fp16"))
    operations = open_package(artifact.path).interfaces["main"].function.block.operations
    values = [op.inputs["val"][0].array for op in operations if op.kind == "const"]
    assert sorted((v.tolist() for v in values if v.dtype.kind == "i"), key=str) == [-1, [0, 2, 1]], (
        "an axis and an order"
    )
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

    assert PASS_REGISTRY["common::const_deduplication"].const_threshold == 100, "coremltools' own, for others"
