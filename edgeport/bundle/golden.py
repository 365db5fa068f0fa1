"""Golden samples: a few held-out inputs with the outputs seen here, for the check on the device."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from edgeport.description import ImageInput
from edgeport.quantize.plan import InputLayout, QParams
from edgeport.sample import Array, Sample
from edgeport.validate.runner import Runner

SAMPLES = 2
"""Enough to notice a wrong runtime or wrong preprocessing; drift is measured on all held-out samples."""


@dataclass(frozen=True)
class ArtifactEnds:
    """How the artifact takes and gives arrays: the order of its inputs, the parameters of what is in integers,
    the dtypes that are not the source's, and the inputs that are pixels."""

    layout: InputLayout = "source"
    qparams: Mapping[str, QParams] = field(default_factory=dict)
    dtypes: Mapping[str, str] = field(default_factory=dict)
    pixels: Mapping[str, ImageInput] = field(default_factory=dict)

    def stored(self, name: str, array: Array) -> Array:
        """The array in the artifact's dtype."""
        if name in self.qparams:
            return self.qparams[name].quantize(array)
        if name in self.pixels:
            return self.pixels[name].pixels(array)
        with np.errstate(over="ignore"):
            return array.astype(self.dtypes.get(name, array.dtype))


def write_golden(
    folder: Path, samples: Iterable[Sample], artifact: Runner, reference: Runner, ends: ArtifactEnds
) -> Path:
    """Writes `golden/golden.safetensors` below a target's folder.

    Keys: `input/INDEX/NAME` (as the artifact takes it), `output/INDEX/NAME` (what the artifact gave here) and
    `reference/INDEX/NAME` (what the float source gives, in its dtype); the shapes of outputs are those of the graph.
    Beside it `golden.sha256`, as `sha256sum -c` reads it: a device that compares with the samples can check them first.
    """
    from safetensors.numpy import save

    tensors: dict[str, Array] = {}
    for index, sample in enumerate(islice(samples, SAMPLES)):
        taken = {name: _ordered(ends.stored(name, array), ends.layout) for name, array in sample.items()}
        given = {name: ends.stored(name, array) for name, array in artifact.run(sample).items()}
        named = {"input": taken, "output": given, "reference": reference.run(sample)}
        for kind, arrays in named.items():
            tensors |= {f"{kind}/{index}/{name}": np.asarray(array, order="C") for name, array in arrays.items()}
    path = folder / "golden" / "golden.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    data = save(tensors)
    path.write_bytes(data)
    path.with_suffix(".sha256").write_text(f"{hashlib.sha256(data).hexdigest()}  {path.name}\n", "ascii", newline="\n")
    return path


def _ordered(array: Array, layout: InputLayout) -> Array:
    return array.transpose(0, 2, 3, 1) if layout == "nhwc" and array.ndim == 4 else array
