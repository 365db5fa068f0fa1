"""From an export to the board: its folder is copied there, build.sh builds and verify.py compares.

trtexec is a stand-in that answers what ONNX Runtime computes of the file that build.sh gave it, a little off.
"""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from fake_trtexec import answer, calls, install
from safetensors.numpy import load_file, save_file

from edgeport import api
from edgeport.validate.onnx_runner import OnnxRunner

BOARDS = [
    ("jetson-nano-jp4", "fp16", "8.2.1"),
    ("jetson-xavier-jp5", "int8", "8.5.2"),
    ("jetson-orin-jp6", "int8", "10.3.0"),
    ("jetson-orin-jp7", "int8", "11.4.1"),
]


def on_the_board(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Runs build.sh there; --insist, since this machine is no Jetson."""
    environment = {**os.environ, "TRTEXEC": str(folder / "bin/trtexec"), "HOME": str(folder)}
    command = [str(folder / "build.sh"), "--insist", *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(("profile", "precision", "version"), BOARDS)
def test_an_exported_folder_is_built_and_verified_on_the_board(
    cnn: Path, images: Path, tmp_path: Path, profile: str, precision: str, version: str
) -> None:
    api.export(cnn, target="tensorrt", profile=profile, precision=precision, calib=images, out=tmp_path / "out")
    board = Path(shutil.copytree(tmp_path / "out/tensorrt", tmp_path / "on the board"))
    golden = load_file(board / "golden/golden.safetensors")
    inputs = [{"image": golden[f"input/{index}/image"]} for index in range(2)]
    trtexec = install(board / "bin/trtexec", version)
    planned = on_the_board(board, "--dry-run").stdout
    model = next(path for path in board.glob("*.onnx") if f"--onnx={path}'" in planned)
    runner = OnnxRunner(model, optimize=False)

    def engine_gives(error: float) -> None:
        """An answer to each sample, off by that share of its largest number."""
        found = [runner.run(sample)["logits"] for sample in inputs]
        off = [{"logits": logits + np.float32(error) * np.abs(logits).max()} for logits in found]
        answer(trtexec, list(zip(inputs, off, strict=True)))

    engine_gives(0.2)  # 14 dB and less
    done = on_the_board(board)
    assert (done.returncode, done.stdout) == (6, "")
    assert "FAIL sample 0, logits:" in done.stderr
    assert list(board.glob("*.engine")) == []

    engine_gives(0.0001)
    done = on_the_board(board)
    assert done.returncode == 0, done.stderr
    assert "every output passes" in done.stderr
    assert [str(path) for path in board.glob("*.engine")] == done.stdout.split("\n")[:-1]
    assert sum("--loadEngine" in " ".join(call) for call in calls(trtexec)) == 4

    zeroed = {name: np.zeros_like(a) if name.startswith("output/") else a for name, a in golden.items()}
    save_file(zeroed, board / "golden/golden.safetensors")
    done = on_the_board(board, "--verify")
    assert done.returncode == 6
    assert "golden/golden.safetensors is not the file that edgeport wrote" in done.stderr
