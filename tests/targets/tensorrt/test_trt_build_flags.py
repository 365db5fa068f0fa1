"""Which flags build.sh gives to the trtexec of which TensorRT, and which models and caches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from fake_trtexec import VERSIONS
from trt_board_box import SCALES, box, export

from edgeport.targets.tensorrt.version import Version

SKIP = {"8.2.1": "--buildOnly", "8.5.2": "--buildOnly"}
EXPLICIT = {"--int8", "--fp16"}
PAIRS = {  # TensorRT: the folder's profile, the board, the flags that int8 takes
    "8.2.1": ("jetson-xavier-jp4", "xavier-4", {*EXPLICIT, "--workspace=768"}),
    "8.5.2": ("jetson-orin-jp5", "orin-5", EXPLICIT),
    "8.6.2": ("jetson-orin-jp6", "orin-6", EXPLICIT),
    "10.3.0": ("jetson-orin-jp6", "orin-6", EXPLICIT),
    "10.13.3": ("jetson-thor-jp7", "thor", {"--stronglyTyped"}),
    "10.16.2": ("jetson-orin-jp7", "orin-7", {"--stronglyTyped"}),
    "11.4.1": ("jetson-orin-jp7", "orin-7", set()),
}


def common(version: str) -> set[str]:
    return {SKIP.get(version, "--skipInference"), "--profilingVerbosity=detailed"}


@pytest.mark.parametrize("version", VERSIONS)
def test_int8_takes_the_flags_of_that_trtexec(tmp_path: Path, version: str) -> None:
    profile, board, flags = PAIRS[version]
    here = box(tmp_path, profile, board, version)
    engine = here.engine()
    assert here.flags == common(version) | flags
    assert here.model == ("net.int8-fp16.onnx" if Version.parse(version) > Version(10, 3) else "net.int8.onnx")
    assert engine.parent == here.folder
    assert engine.name.startswith(f"net.int8.{profile}.trt{version}.")
    assert json.loads(engine.read_text())["tensorrt"] == version
    assert engine.with_suffix(".layers.json").exists()


@pytest.mark.parametrize("version", VERSIONS)
def test_floats_take_the_flags_of_that_trtexec(tmp_path: Path, version: str) -> None:
    here = box(tmp_path, *PAIRS[version][:2], version)
    workspace = {"--workspace=768"} if version == "8.2.1" else set()
    here.engine("--precision", "fp32")
    assert (here.model, here.flags) == ("net.fp32.onnx", common(version) | workspace)
    here.engine("--precision", "fp16")
    major = Version.parse(version).major
    assert here.model == ("net.fp16.onnx" if major >= 10 else "net.fp32.onnx")
    typing = {8: {"--fp16"}, 10: {"--stronglyTyped"}, 11: set()}[major]
    assert here.flags == common(version) | workspace | typing


@pytest.mark.parametrize("version", VERSIONS)
def test_the_cache_gets_the_header_of_that_version(tmp_path: Path, version: str) -> None:
    profile = None if version == "10.13.3" else PAIRS[version][0]  # Thor has no cache; any board has, with 8.6 to 10
    here = box(tmp_path, profile, None if profile is None else PAIRS[version][1], version)
    before = (here.folder / "calibration.cache").read_bytes()
    if version.startswith("11"):
        assert "TensorRT 11 reads no calibration cache" in here.refused(3, "--cache")
        here.engine()
        assert not any(argument.startswith("--calib") for argument in here.builds[-1])
        return
    # The file's copy is gone when the build is over, so a trtexec of the test keeps it.
    kept = tmp_path / "kept"
    spy = tmp_path / "spy"
    spy.write_text(
        f'#!/bin/sh\nfor a in "$@"; do case $a in --calib=*) cp "${{a#--calib=}}" "{kept}" ;; esac; done\n'
        f'exec "{here.trtexec}" "$@"\n'
    )
    spy.chmod(0o755)
    done = here.run("--no-verify", "--cache", TRTEXEC=str(spy))
    assert done.returncode == 0, done.stderr
    token = {"8": 1000, "1": 10000}[version[0]]
    major, minor, patch = map(int, version.split("."))
    assert kept.read_text() == f"TRT-{major * token + minor * 100 + patch}-EntropyCalibration2\n" + SCALES
    assert here.model == "net.fp32.onnx"
    assert here.flags >= {"--calib", *EXPLICIT}
    assert (here.folder / "calibration.cache").read_bytes() == before


@pytest.mark.parametrize("version", ["8.6.2", "10.3.0", "11.4.1"])
def test_without_q_and_dq_there_is_no_int8_but_through_the_cache(tmp_path: Path, version: str) -> None:
    here = box(tmp_path, *PAIRS[version][:2], version)
    export(here.folder, PAIRS[version][0], quantized=False)
    here.engine()  # trtexec --int8 would make ranges up
    assert here.flags == common(version) | (set() if version.startswith("11") else {"--fp16"})


def test_the_oldest_jetpack_takes_the_oldest_flags(tmp_path: Path) -> None:
    here = box(tmp_path, "jetson-nano-jp4", "nano", "8.0.1", "fp16")
    here.engine()
    assert (here.model, here.flags) == ("net.fp32.onnx", {"--fp16", "--buildOnly", "--workspace=768"})


def test_dla_takes_the_cache_and_falls_back_to_the_gpu(tmp_path: Path) -> None:
    here = box(tmp_path, "jetson-orin-jp6", "orin-6", "10.3.0")
    engine = here.engine("--dla", "1")
    assert here.flags >= {"--calib", "--int8", "--fp16", "--useDLACore=1", "--allowGPUFallback"}
    assert engine.name.startswith("net.int8-cache-dla1.jetson-orin-jp6.")
    here.engine("--dla", "0", "--precision", "fp16")
    assert (here.model, "--stronglyTyped" in here.flags) == ("net.fp32.onnx", False)
    assert here.flags >= {"--fp16", "--useDLACore=0"}


@pytest.mark.parametrize("precision", ["int8-weights", "int4-weights", "fp8"])
@pytest.mark.parametrize("version", ["10.13.3", "11.4.1"])
def test_other_precisions_are_strongly_typed(tmp_path: Path, precision: str, version: str) -> None:
    here = box(tmp_path, "jetson-thor-jp7", "thor", version, precision)
    here.engine()
    assert here.model == f"net.{precision}-fp16.onnx"
    assert here.flags == common(version) | ({"--stronglyTyped"} if version.startswith("10") else set())


@pytest.mark.parametrize(
    ("version", "options", "flag"),
    [
        ("8.2.1", ("--workspace", "64"), "--workspace=64"),
        ("8.5.2", ("--workspace", "64"), "--memPoolSize=workspace:64"),
        ("11.4.1", ("--workspace", "64"), "--memPoolSize=workspace:64"),
        ("8.6.2", ("--effort", "5"), "--builderOptimizationLevel=5"),
    ],
)
def test_options_become_flags(tmp_path: Path, version: str, options: Sequence[str], flag: str) -> None:
    here = box(tmp_path, *PAIRS[version][:2], version)
    here.engine(*options)
    assert flag in here.flags
