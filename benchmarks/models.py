"""Benchmark models and their data: made here from a seed, cached in benchmarks/.cache, never downloaded.

python benchmarks/models.py     makes them all (a few minutes, once) and prints their float accuracy
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from images import CLASSES, Floats, Ints, labelled_images
from training import Phase, estimate_statistics, initialize, train

if TYPE_CHECKING:
    import torch

HERE = Path(__file__).parent
CACHE = HERE / ".cache"
INPUT = "input"
_SEED, _CALIBRATION_SEED, _HELD_OUT_SEED = 20, 21, 22


@dataclass(frozen=True)
class Spec:
    """A benchmark model: its definition in networks.py, image size in pixels, and how it was trained."""

    network: str
    size: int
    classes: int
    phases: tuple[Phase, ...]


SPECS = {
    "mobilenetv2": Spec("mobilenet_v2", 224, CLASSES, (Phase(96, 500, 4e-3), Phase(224, 60, 1e-3))),
    "mobilenetv2_1000": Spec("mobilenet_v2", 224, 1000, ()),
    "resnet": Spec("resnet", 96, CLASSES, (Phase(96, 600, 5e-3),)),
    "efficientnet": Spec("efficientnet", 96, CLASSES, (Phase(96, 500, 4e-3),)),
    "vit": Spec("vit", 96, CLASSES, (Phase(96, 600, 1e-3),)),
}
"""`mobilenetv2_1000` is untrained (Kaiming weights, BN statistics of images): for time, memory and size only."""


def onnx_model(name: str) -> Path:
    """The model as an ONNX file (opset 18, one input `input` of shape (1, 3, size, size))."""
    path = _path(name, ".onnx")
    if not path.exists():
        _make(name)
    return path


def torch_weights(name: str) -> Path:
    """The same model's state_dict as torch saves it, for converters that start from torch."""
    path = _path(name, ".pt")
    if not path.exists():
        _make(name)
    return path


def samples(count: int, size: int) -> Path:
    """A folder of `count` .npz files, each one image: `input`, float32 (1, 3, size, size). For calibration."""
    folder = CACHE / "samples" / _file_hash("images.py") / f"{count}x{size}"
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for i in range(count):
            image, _ = labelled_images(1, size, _CALIBRATION_SEED * 1_000_000 + i)
            np.savez(partial / f"{i:04d}.npz", input=image)
        partial.rename(folder)
    return folder


def held_out(count: int, size: int) -> tuple[Floats, Ints]:
    """Images of shape (count, 3, size, size) and labels that neither training nor calibration has seen."""
    return labelled_images(count, size, _HELD_OUT_SEED)


def _path(name: str, suffix: str) -> Path:
    return CACHE / "models" / _key(SPECS[name]) / f"{name}{suffix}"


def _make(name: str) -> None:
    """Trains and writes both forms together, so that they always hold the same weights."""
    import networks
    import torch

    spec = SPECS[name]
    torch.set_num_threads(2)
    torch.manual_seed(_SEED)
    network: torch.nn.Module = getattr(networks, spec.network)(spec.classes)
    initialize(network)
    train(network, spec.phases, _SEED)
    estimate_statistics(network, spec.size, _SEED + 100)
    example = torch.zeros(1, 3, spec.size, spec.size)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # about torchvision, which nothing here needs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _save(network.eval(), example, name)


def _save(network: torch.nn.Module, example: torch.Tensor, name: str) -> None:
    import torch

    program = torch.onnx.export(
        network, (example,), dynamo=True, opset_version=18, input_names=[INPUT], output_names=["logits"],
        verbose=False,
    )  # fmt: skip
    assert program is not None
    model, weights = _path(name, ".onnx"), _path(name, ".pt")
    model.parent.mkdir(parents=True, exist_ok=True)
    partial = model.with_suffix(".partial")
    torch.save(network.state_dict(), partial)
    partial.replace(weights)
    program.save(partial)
    partial.replace(model)


def _key(spec: Spec) -> str:
    sources = [_file_hash(name) for name in ("images.py", "networks.py", "training.py")]
    return hashlib.sha256("".join([*sources, repr(spec)]).encode()).hexdigest()[:12]


def _file_hash(name: str) -> str:
    return hashlib.sha256((HERE / name).read_bytes()).hexdigest()[:12]


def main() -> None:
    import onnxruntime as ort

    for name, spec in SPECS.items():
        session = ort.InferenceSession(onnx_model(name), providers=["CPUExecutionProvider"])
        images, labels = held_out(256, spec.size)
        guesses = np.array([np.argmax(session.run(None, {INPUT: image[None]})[0]) for image in images])
        print(
            f"{name:20} {spec.size} px  top-1 {(guesses == labels).mean():.3f}"
            + ("" if spec.phases else "  (untrained)")
        )


if __name__ == "__main__":
    main()
