"""Whether one function for many shapes computes what a function for each does."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeport.errors import ModelError
from edgeport.sample import Array
from edgeport.targets.coreml.evaluator.package import Feature, open_package
from edgeport.targets.coreml.evaluator.run import Evaluator


def check_merged(apart: Path, merged: Path) -> None:
    """Runs both in the evaluator at every shape; the numbers have to be the same.

    Args:
        apart: the package with a function for each set of shapes.
        merged: the package with one.

    Raises:
        ModelError: they are not, or the merged one does not run.
    """
    several = open_package(apart)
    one = Evaluator(merged, arithmetic="declared")
    for name, interface in several.interfaces.items():
        rng = np.random.default_rng(0)
        inputs = {feature.name: _made_up(feature, rng) for feature in interface.inputs}
        want = Evaluator(several, name, "declared").run(inputs).outputs
        try:
            got = one.run(inputs).outputs
        except ModelError as error:
            raise ModelError(
                f"--shapes-as: the function for all shapes does not run as {name!r} does: {error}"
            ) from error
        for output, array in want.items():
            if not np.array_equal(array, got[output], equal_nan=array.dtype.kind == "f"):
                raise ModelError(
                    f"--shapes-as: the function for all shapes gives other numbers than {name!r} (output {output!r}); "
                    "leave it out, and every shape gets a function of its own"
                )


def _made_up(feature: Feature, rng: np.random.Generator) -> Array:
    assert feature.type is not None
    shape = [size or 1 for size in feature.type.shape]
    if feature.kind == "image":
        return rng.integers(0, 256, shape).astype(np.float32)
    if feature.type.dtype == "int32":
        return rng.integers(0, 2, shape).astype(np.int32)
    return rng.normal(size=shape).astype(np.float16 if feature.type.dtype == "fp16" else np.float32)
