"""From an export to an engine on a board that is none: the folder as it is copied, and the script as it is run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from fake_trtexec import answer, calls, install
from safetensors.numpy import load_file
from small_models import small_cnn, smooth_images

import edgeport


def given(golden: dict[str, np.ndarray], kind: str, index: int) -> dict[str, np.ndarray]:
    prefix = f"{kind}/{index}/"
    return {key.removeprefix(prefix): array for key, array in golden.items() if key.startswith(prefix)}


@pytest.mark.parametrize(
    ("profile", "version", "model", "further"),
    [
        ("jetson-xavier-jp5", "8.5.2", "net.int8.onnx", ["--cache"]),
        ("jetson-orin-jp6", "10.3.0", "net.int8.onnx", ["--dla", "0"]),
        ("jetson-orin-jp7", "11.4.1", "net.int8-fp16.onnx", ["--precision", "fp16"]),
    ],
)
def test_what_is_exported_is_built_and_checked(
    tmp_path: Path, profile: str, version: str, model: str, further: list[str]
) -> None:
    onnx.save(small_cnn(), tmp_path / "net.onnx")
    samples_file, out = tmp_path / "samples.npz", tmp_path / "out"
    np.savez(samples_file, image=smooth_images(16, 3, 16))
    edgeport.export(
        tmp_path / "net.onnx", target=["tensorrt"], precision="int8", calib=samples_file, out=out, profile=profile
    )
    folder = out / "tensorrt"
    trtexec = install(tmp_path / "trtexec", version)
    golden = load_file(folder / "golden" / "golden.safetensors")
    samples = [(given(golden, "input", index), given(golden, "output", index)) for index in range(2)]

    def build(*options: str) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {"PATH": path, "TRTEXEC": str(trtexec), "HOME": str(tmp_path), "EDGEPORT_ROOT": str(tmp_path)}
        return subprocess.run([folder / "build.sh", *options], env=environment, capture_output=True, text=True)

    assert "no Jetson" in build().stderr
    (tmp_path / "proc" / "device-tree").mkdir(parents=True)
    compatible = {"jetson-xavier-jp5": "nvidia,p2972-0000"}.get(profile, "nvidia,p3737-0000+p3701-0005")
    (tmp_path / "proc" / "device-tree" / "compatible").write_text(compatible)
    answer(trtexec, samples)
    done = build()
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("ok   sample") == 2
    assert Path(done.stdout.strip()).exists()
    assert f"--onnx={folder / model}" in [argument for call in calls(trtexec) for argument in call]
    assert build(*further).returncode == 0
    # A board that computes something else, and golden samples that are not those of the export.
    answer(trtexec, [(taken, {name: -array for name, array in gave.items()}) for taken, gave in samples])
    assert build("--verify").returncode == 6
    answer(trtexec, samples)
    assert build("--verify").returncode == 0
    changed = bytearray((folder / "golden" / "golden.safetensors").read_bytes())
    changed[-1] ^= 1
    (folder / "golden" / "golden.safetensors").write_bytes(changed)
    done = build("--verify")
    assert done.returncode == 6
    assert "golden.safetensors is not the file that edgeport wrote" in done.stderr
