"""Inputs described as images: what `CVPixelBuffer`s of which sizes an app may hand in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def as_images(model: Any, colours: Mapping[str, str]) -> None:
    """Describes some inputs as images, in the sizes that their arrays have.

    Args:
        model: Core ML's protobuf message `Model`; changed.
        colours: identifier of an input -> RGB, BGR or GRAY; it is [1, channels, height, width].
    """
    described = [model.description, *model.description.functions]
    for feature in (f for one in described for f in one.input if f.name in colours):
        array = type(feature.type.multiArrayType)()
        array.CopyFrom(feature.type.multiArrayType)
        image = feature.type.imageType  # takes the place of the array
        image.height, image.width = array.shape[2:]
        space = {"GRAY": "GRAYSCALE"}.get(colours[feature.name], colours[feature.name])
        image.colorSpace = image.ColorSpace.Value(space)
        for shape in array.enumeratedShapes.shapes:
            image.enumeratedSizes.sizes.add(height=shape.shape[2], width=shape.shape[3])
        for side, axis in ((image.imageSizeRange.heightRange, 2), (image.imageSizeRange.widthRange, 3)):
            if array.shapeRange.sizeRanges:
                side.CopyFrom(array.shapeRange.sizeRanges[axis])
