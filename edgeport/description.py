"""What a file says about itself beside its arithmetic: how images become inputs, what outputs mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgeport.errors import UsageError
from edgeport.sample import Array, InputSpec

if TYPE_CHECKING:
    from edgeport.calibration import Preprocessing


@dataclass(frozen=True)
class ImageInput:
    """An input that takes (pixel - mean) / std, one value a channel, of pixels in 0 to 255.

    Attributes:
        colour: RGB, BGR or GRAY.
        mean: in units of pixels.
        std: in units of pixels.
        size: width and height.
        channels_last: whether the input's last axis holds the channels, not its second.
    """

    colour: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int]
    channels_last: bool = False

    def normalized(self, pixels: Array) -> npt.NDArray[np.float32]:
        """The input that pixels become, in its order of axes."""
        shape = (-1,) if self.channels_last else (-1, 1, 1)
        exact: npt.NDArray[np.float32] = (pixels - np.reshape(self.mean, shape)) / np.reshape(self.std, shape)
        return exact.astype(np.float32)

    def pixels(self, array: Array) -> npt.NDArray[np.uint8]:
        """The nearest pixels of a normalized input, in its order of axes."""
        shape = (-1,) if self.channels_last else (-1, 1, 1)
        exact = array.astype(np.float64) * np.reshape(self.std, shape) + np.reshape(self.mean, shape)
        whole: npt.NDArray[np.uint8] = np.clip(np.rint(exact), 0, 255).astype(np.uint8)
        return whole


@dataclass(frozen=True)
class Description:
    """What is declared about the inputs and outputs.

    Attributes:
        images: input name -> how images become it.
        labels: names of the classes, in the order of the output's last axis; empty without.
    """

    images: Mapping[str, ImageInput] = field(default_factory=dict)
    labels: tuple[str, ...] = ()


def describe(
    inputs: Sequence[InputSpec], outputs: Sequence[InputSpec], preprocessing: Preprocessing | None, labels: Path | None
) -> Description:
    """Puts the declarations of an export together.

    Args:
        inputs: of the canonical graph.
        outputs: of the canonical graph.
        preprocessing: how image files become inputs.
        labels: a text file, one class a line.

    Raises:
        UsageError: the labels cannot be read, or there are more or fewer than any output has classes.
    """
    images = {}
    if preprocessing is not None:
        for spec in inputs:
            channels, sides = (1, (3, 2)) if preprocessing.layout == "NCHW" else (3, (2, 1))
            if len(spec.shape) == 4 and spec.shape[channels] == preprocessing.channels:
                images[spec.name] = _image(preprocessing, tuple(int(spec.shape[side]) for side in sides))
    return Description(images, () if labels is None else _labels(labels, outputs))


def _image(declared: Preprocessing, sides: tuple[int, ...]) -> ImageInput:
    factor, channels = declared.pixel_scale, declared.channels
    mean = tuple(m / factor for m in declared.mean or (0.0,) * channels)
    std = tuple(s / factor for s in declared.std or (1.0,) * channels)
    return ImageInput(declared.colour, mean, std, (sides[0], sides[1]), declared.layout == "NHWC")


def _labels(path: Path, outputs: Sequence[InputSpec]) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UsageError(f"--labels {path}: {reason or error}") from error
    while lines and not lines[-1].strip():
        lines.pop()
    classes = [spec.shape[-1] for spec in outputs if spec.shape]
    if len(lines) not in classes:
        sizes = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in outputs)
        raise UsageError(f"--labels {path} has {len(lines)} lines, but no output has as many classes ({sizes})")
    return tuple(line.strip() for line in lines)
