"""The two models that files for phones are measured with: MobileNetV2 on images, BERT-mini on text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import encoder
import numpy as np
import torch
from models import INPUT, SPECS, held_out, onnx_model, samples, torch_weights
from texts import MASK
from texts import samples as texts
from tflite_file import Floats, Sample
from torch_networks import ENCODER

CNN = "mobilenetv2"
_COMPARED, _JUDGED = 64, 512
_IMAGES, _TEXTS, _TEXT_SEED, _MASKED_SEED, _MASKED = 64, 48, 77, 78, 0.15
_WORDS_JUDGED = 128

Flat = Callable[[Sample], Floats]
"""Runs one sample and gives its outputs, flat."""


@dataclass(frozen=True)
class Model:
    """A trained network as ONNX and as torch weights, what rebuilds it (torch_networks.py), and its data.

    `counted`: 1 where an output element counts in the drift, 0 where it doesn't (padding), (samples, elements).
    """

    name: str
    source: Path
    weights: Path
    network: tuple[str, ...]
    calibration: Path
    compared: Sequence[Sample]
    counted: Floats
    metric: str
    judge: Callable[[Flat], float]


def models() -> Mapping[str, Callable[[], Model]]:
    """What makes the models, by name."""
    return {"CNN": _cnn, "encoder": _encoder}


def _cnn() -> Model:
    spec = SPECS[CNN]
    images, labels = held_out(_JUDGED, spec.size)
    inputs: list[Sample] = [{INPUT: image[None]} for image in images]

    def judge(run: Flat) -> float:
        return float(np.mean([run(sample).argmax() == label for sample, label in zip(inputs, labels, strict=True)]))

    return Model(
        "CNN",
        onnx_model(CNN),
        torch_weights(CNN),
        (spec.network, str(spec.classes), str(spec.size)),
        samples(_IMAGES, spec.size),
        inputs[:_COMPARED],
        np.ones((_COMPARED, 1), np.float32),
        "top1",
        judge,
    )


def _encoder() -> Model:
    held = texts(_COMPARED, _TEXT_SEED, held_out=True)
    source, weights = encoder.onnx_model(), encoder.weights()
    words = torch.load(weights, weights_only=True)["words.weight"].numpy()
    width = words.shape[1]
    masks = np.stack([sample["mask"][0] for sample in held]).astype(np.float32)

    def judge(run: Flat) -> float:
        """Masked words of held-out text that are found, as encoder.py's own figure."""
        order, right = np.random.default_rng(_MASKED_SEED), []
        for sample in texts(_WORDS_JUDGED, _MASKED_SEED, held_out=True):
            ids, mask = sample["ids"], sample["mask"]
            places = (order.random(ids.shape) < _MASKED) & (mask == 1)
            hidden = run({"ids": np.where(places, MASK, ids), "mask": mask}).reshape(-1, width)[places[0]]
            right += list((hidden @ words.T).argmax(1) == ids[places])
        return float(np.mean(right))

    return Model(
        "encoder",
        source,
        weights,
        (ENCODER,),
        encoder.calibration(_TEXTS),
        held,
        np.repeat(masks, width, axis=1),
        "words",
        judge,
    )
