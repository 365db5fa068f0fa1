"""Samples from a folder of images, with the declared preprocessing."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeport.calibration.preprocessing import Preprocessing
from edgeport.errors import CalibrationError
from edgeport.findings import Finding
from edgeport.sample import Array, InputSpec, Sample

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


class ImageSource:
    """Images in a folder and its subfolders, in the order of their relative paths.

    If all images lie in two or more subfolders, these are classes: a label is the index of its subfolder among the
    sorted names, and the classes take turns in the order, so that a part of the samples still holds all of them.
    """

    def __init__(
        self, folder: Path, files: Sequence[Path], inputs: Sequence[InputSpec], preprocessing: Preprocessing | None
    ) -> None:
        if len(inputs) != 1:
            names = ", ".join(repr(s.name) for s in inputs)
            raise CalibrationError(
                f"images fill one input, but the model has {len(inputs)} ({names}); give .npz or file.py:callable"
            )
        if preprocessing is None:
            raise CalibrationError(
                f"images for input {inputs[0]} need [preprocessing]: declare resize, scale, mean, std as in training"
            )
        self._spec, self._preprocessing = inputs[0], preprocessing
        self._batch = preprocessing.check_output(self._spec)
        self._files, self._classes = _in_order(folder, files)

    def __len__(self) -> int:
        return len(self._files) // self._batch

    def __iter__(self) -> Iterator[Sample]:
        return self.read(0, len(self))

    def read(self, start: int, stop: int) -> Iterator[Sample]:
        """The samples `start` to `stop`, each image read when it is asked for."""
        for i in range(start, stop):
            files = self._files[i * self._batch : (i + 1) * self._batch]
            yield {self._spec.name: np.stack([self._load(f) for f in files])}

    def _load(self, file: Path) -> Array:
        from PIL import Image, ImageOps

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(file) as image:
                    upright = ImageOps.exif_transpose(image)
                    return self._preprocessing.apply_image(upright, self._spec, file.name)
        except (
            OSError,
            SyntaxError,
            ValueError,
            MemoryError,
            Image.DecompressionBombError,
            Image.DecompressionBombWarning,
        ) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CalibrationError(f"image {file.name} cannot be read ({reason}); remove or repair it") from error

    @property
    def labels(self) -> npt.NDArray[np.int64] | None:
        """int64, the class of each image; None without class folders."""
        if self._classes is None:
            return None
        labels = np.asarray(self._classes[: len(self) * self._batch], np.int64)
        return labels if self._batch == 1 else labels.reshape(len(self), self._batch)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Images that were left over because they do not fill the graph's fixed batch."""
        rest = len(self._files) % self._batch
        message = f"the last {rest} images do not fill a batch of {self._batch} and are dropped"
        return (Finding("warning", "calibration-remainder", message),) if rest else ()

    def digest(self) -> str:
        """sha256 of the files' contents, their classes and the preprocessing."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        total = hashlib.sha256(self._preprocessing.to_json().encode())
        total.update(repr(self._classes).encode())
        for file in self._files:
            with file.open("rb") as data:
                total.update(hashlib.file_digest(data, "sha256").digest())
        return total.hexdigest()

    def description(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"kind": "images", "count": len(self), "preprocessing": self._preprocessing.model_dump(mode="json")}


def _in_order(folder: Path, files: Sequence[Path]) -> tuple[list[Path], list[int] | None]:
    relative = sorted(f.relative_to(folder) for f in files)
    classes = sorted({p.parts[0] for p in relative})
    if any(len(p.parts) == 1 for p in relative) or len(classes) < 2:
        return [folder / p for p in relative], None
    places = []
    for label, name in enumerate(classes):
        members = [p for p in relative if p.parts[0] == name]
        # Evenly spread, so that classes of different sizes are all spent at the end.
        places += [((2 * i + 1) / (2 * len(members)), label, folder / p) for i, p in enumerate(members)]
    places.sort()
    return [p for _, _, p in places], [label for _, label, _ in places]
