"""Core ML itself, where this is macOS: what the evaluator is elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeport.errors import ModelError
from edgeport.sample import Array
from edgeport.targets.coreml import mil

Predict = Callable[[Mapping[str, Array], dict[str, Array]], dict[str, Array]]
"""Inputs by identifier, and states, which it brings up to date -> outputs."""


def predictor(path: Path, function: str | None, colours: Mapping[str, str]) -> Predict | None:
    """Core ML running a package on this Mac, None on other systems.

    Args:
        path: the package.
        function: name of a function, None for the package's default.
        colours: identifiers of the inputs that are images [1, C, H, W] -> RGB, BGR or GRAY.

    Raises:
        ModelError: Core ML does not take the package.
    """
    if sys.platform != "darwin":
        return None
    try:
        with mil.quiet():
            model = mil.coremltools().models.MLModel(str(path), function_name=function)
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"Core ML does not take {path.name}: {' '.join(str(error).split())}") from error

    def predict(inputs: Mapping[str, Array], states: dict[str, Array]) -> dict[str, Array]:
        feeds = {n: _as_image(a, colours[n]) if n in colours else a for n, a in inputs.items()}
        if not states:
            return dict(model.predict(feeds))
        held = model.make_state()
        for name, array in states.items():
            held.write_state(name, array)
        outputs = dict(model.predict(feeds, state=held))
        states.update({name: held.read_state(name) for name in states})
        return outputs

    return predict


def _as_image(pixels: Array, colour: str) -> Any:
    from PIL import Image

    last = np.ascontiguousarray(pixels[0].transpose(1, 2, 0).astype(np.uint8))
    if colour == "GRAY":
        return Image.fromarray(last[:, :, 0])
    return Image.fromarray(np.ascontiguousarray(last[:, :, ::-1]) if colour == "BGR" else last)
