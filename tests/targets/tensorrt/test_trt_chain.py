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
    ("jetson-nano-jp4", "nvidia,p3448-0000", "8.2.1", "net.fp32.onnx", ["--precision", "fp32"]),
    ("jetson-xavier-jp5", "nvidia,p2888-0001", "8.5.2", "net.int8.onnx", ["--cache"]),
    ("jetson-orin-jp6", "nvidia,p3701-0005", "10.3.0", "net.int8.onnx", ["--dla", "0"]),
    ("jetson-orin-jp7", "nvidia,p3701-0005", "11.4.1", "net.int8-fp16.onnx", ["--precision", "fp16"]),
]


def on_the_board(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Runs build.sh there."""
    settings = {"TRTEXEC": str(folder / "bin/trtexec"), "HOME": str(folder), "EDGEPORT_ROOT": str(folder / "root")}
    command = [str(folder / "build.sh"), *options]
    return subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)


@pytest.mark.parametrize(("profile", "module", "version", "model", "further"), BOARDS)
def test_an_exported_folder_is_built_and_verified_on_the_board(
    cnn: Path, images: Path, tmp_path: Path, profile: str, module: str, version: str, model: str, further: list[str]
) -> None:
    precision = "fp16" if profile == "jetson-nano-jp4" else "int8"
    source = cnn.rename(tmp_path / "net.onnx")
    api.export(source, target="tensorrt", profile=profile, precision=precision, calib=images, out=tmp_path / "out")
    board = Path(shutil.copytree(tmp_path / "out/tensorrt", tmp_path / "on the board"))
    golden = load_file(board / "golden/golden.safetensors")
    inputs = [{"image": golden[f"input/{index}/image"]} for index in range(2)]
    trtexec = install(board / "bin/trtexec", version)
    assert "no Jetson" in on_the_board(board).stderr
    compatible = board / "root/proc/device-tree/compatible"
    compatible.parent.mkdir(parents=True)
    compatible.write_text(module)
    assert f"--onnx={board / model}'" in on_the_board(board, "--dry-run").stdout
    runner = OnnxRunner(board / model, optimize=False)

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
    assert on_the_board(board, *further).returncode == 0

    zeroed = {name: np.zeros_like(a) if name.startswith("output/") else a for name, a in golden.items()}
    save_file(zeroed, board / "golden/golden.safetensors")
    done = on_the_board(board, "--verify")
    assert done.returncode == 6
    assert "golden/golden.safetensors is not the file that edgeport wrote" in done.stderr
