"""Declared image preprocessing: one declaration for calibration, validation, the manifest and the target's metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, FiniteFloat, PositiveInt, ValidationError, field_validator, model_validator

from edgeport.calibration.fit import fit_values, fits, shape_matches, shape_text
from edgeport.errors import CalibrationError, UsageError
from edgeport.sample import Array, InputSpec
from edgeport.suggest import did_you_mean

if TYPE_CHECKING:
    from PIL import Image

_CHANNELS = {"RGB": 3, "BGR": 3, "GRAY": 1}


class Preprocessing(BaseModel):
    """How an image file becomes an input: resize, crop, colour, then (pixel * scale - mean) / std, then layout.

    Attributes:
        resize: [width, height], or the length of the shorter side (the other follows). None keeps the size.
        crop: [width, height] of the centre that is kept.
        colour: order of the channels; GRAY is one channel by the ITU-R 601 weights.
        layout: NCHW or NHWC.
        scale: factor for the 8-bit pixel values; 1/255 unless given (1 if dtype is uint8).
        mean: one a channel, subtracted after scaling.
        std: one a channel, divides after subtracting.
        dtype: of the input.
        interpolation: of the resize, antialiased as Pillow does.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    resize: tuple[PositiveInt, PositiveInt] | PositiveInt | None = None
    crop: tuple[PositiveInt, PositiveInt] | None = None
    colour: Literal["RGB", "BGR", "GRAY"] = "RGB"
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    scale: FiniteFloat | None = None
    mean: tuple[FiniteFloat, ...] = ()
    std: tuple[FiniteFloat, ...] = ()
    dtype: Literal["float32", "float16", "uint8"] = "float32"
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"] = "bilinear"

    @field_validator("std")
    @classmethod
    def _no_zero_std(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if 0.0 in value:
            raise ValueError("must not be 0")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Preprocessing:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (0, self.channels):
                raise ValueError(
                    f"{name} has {len(values)} values, but colour {self.colour} has {self.channels} channel(s)"
                )
        if self.dtype == "uint8" and (self.mean or self.std or self.scale not in (None, 1.0)):
            raise ValueError("dtype uint8 takes the pixels as they are: leave scale, mean and std out")
        return self

    @classmethod
    def parse(cls, table: Mapping[str, Any]) -> Preprocessing:
        """Reads a configuration table.

        Raises:
            UsageError: an unknown key (with the nearest known one), or a value that makes no sense.
        """
        try:
            return cls.model_validate(dict(table))
        except ValidationError as error:
            first = error.errors()[0]
            key = str(first["loc"][0]) if first["loc"] else ""
            if first["type"] == "extra_forbidden":
                raise UsageError(
                    f"preprocessing: unknown key {key!r}; {did_you_mean(key, cls.model_fields)}"
                ) from error
            message = first["msg"].removeprefix("Value error, ")
            raise UsageError(f"preprocessing{f', key {key!r}' if key else ''}: {message}") from error

    @property
    def channels(self) -> int:
        """Channels of the result."""
        return _CHANNELS[self.colour]

    @property
    def pixel_scale(self) -> float:
        """The factor that pixel values are multiplied with."""
        return self.scale if self.scale is not None else 1.0 if self.dtype == "uint8" else 1 / 255

    def to_json(self) -> str:
        """Canonical text, for digests."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)

    def check_output(self, spec: InputSpec) -> int:
        """The batch of the input, i.e. how many images make a sample.

        Raises:
            CalibrationError: the input cannot take what this preprocessing makes.
        """
        channel_axis = 1 if self.layout == "NCHW" else 3
        if len(spec.shape) != 4 or not fits(spec.shape[channel_axis], self.channels):
            raise CalibrationError(
                f"preprocessing makes {self.layout} images of {self.channels} channel(s): no match for input {spec}"
            )
        if spec.dtype != self.dtype:
            raise CalibrationError(
                f"preprocessing makes {self.dtype}, but input {spec} needs {spec.dtype}; set its dtype"
            )
        return spec.shape[0] if isinstance(spec.shape[0], int) else 1

    def apply(self, pixels: Array, spec: InputSpec, where: str) -> Array:
        """`apply_image` for pixels: uint8 of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)."""
        from PIL import Image

        squeezed = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels
        return self.apply_image(Image.fromarray(np.ascontiguousarray(squeezed)), spec, where)

    def apply_image(self, image: Image.Image, spec: InputSpec, where: str) -> Array:
        """Makes one input row (without the batch axis) from a Pillow image.

        Raises:
            CalibrationError: the image has more than 8 bits a channel, is smaller than the crop, or ends in another
                size than the input's.
        """
        from PIL import Image

        if image.mode.startswith(("I", "F")):
            raise CalibrationError(
                f"{where} has more than 8 bits a channel (mode {image.mode}); make it 8 bits, or give arrays"
            )
        image = image.convert("L" if self.colour == "GRAY" else "RGB")
        if self.resize is not None:
            size = self.resize if isinstance(self.resize, tuple) else _shorter_side(image.size, self.resize)
            image = image.resize(size, Image.Resampling[self.interpolation.upper()])
        if self.crop is not None:
            image = _centre(image, self.crop, where)
        pixels = np.asarray(image)
        pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
        if self.colour == "BGR":
            pixels = pixels[:, :, ::-1]
        row = self._normalize(pixels)
        row = row.transpose(2, 0, 1) if self.layout == "NCHW" else row
        if not shape_matches(row.shape, spec.shape[1:]):
            raise CalibrationError(
                f"{where} becomes {shape_text(row.shape)} after preprocessing, but input {spec} needs "
                f"{shape_text(spec.shape[1:])}; set resize or crop"
            )
        return fit_values(row, InputSpec(spec.name, spec.dtype, spec.shape[1:]), where)

    def _normalize(self, pixels: Array) -> Array:
        if self.dtype == "uint8":
            return pixels
        values: Array = pixels.astype(np.float32) * np.float32(self.pixel_scale)
        if self.mean:
            values = values - np.asarray(self.mean, np.float32)
        if self.std:
            values = values / np.asarray(self.std, np.float32)
        return values.astype(self.dtype)


def is_stored_image(dtype: np.dtype[Any], shape: Sequence[int]) -> bool:
    """Whether an array (its first axis counts images) holds 8-bit images: (N, H, W) or (N, H, W, 1 | 3 | 4)."""
    return dtype == np.uint8 and (len(shape) == 3 or (len(shape) == 4 and shape[-1] in (1, 3, 4)))


def _shorter_side(size: tuple[int, int], length: int) -> tuple[int, int]:
    """The longer side is cut to whole pixels, as torchvision's Resize does."""
    width, height = size
    return (length, int(length * height / width)) if width <= height else (int(length * width / height), length)


def _centre(image: Image.Image, crop: tuple[int, int], where: str) -> Image.Image:
    width, height = crop
    if image.width < width or image.height < height:
        raise CalibrationError(
            f"{where} is {image.width}x{image.height} when it is cropped to {width}x{height}; set resize"
        )
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)  # as torchvision rounds
    return image.crop((left, top, left + width, top + height))
