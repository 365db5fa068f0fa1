"""A board that is none: its /etc and /proc in a folder, a trtexec that only answers, and a folder that was exported."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir
from fake_trtexec import calls, install

from edgeport.quantize.plan import Plan
from edgeport.targets.contract import facts_of
from edgeport.targets.registry import load_profile
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
SCRIPTS = Path(bundle.__file__).parent / "scripts"


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
