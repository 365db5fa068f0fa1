"""Runs inside litert-quantizer's own environment: int8 of a float .tflite, static with min-max ranges or dynamic.

python litert_quantize.py FLOAT.tflite CALIBRATION_FOLDER|dynamic OUT.tflite
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from litert_quantizer import calibrator, quantizer, recipe, recipe_manager  # type: ignore[import-not-found]
from litert_quantizer.utils import qsv_utils, tfl_interpreter_utils  # type: ignore[import-not-found]


def main(float_file: str, calibration: str, out: str) -> None:
    if calibration == "dynamic":
        quantizer.Quantizer(float_file, recipe.dynamic_wi8_afp32()).quantize(serialize_to_path=out)
        return
    steps = recipe.static_wi8_ai8()
    recipes = recipe_manager.RecipeManager()
    recipes.load_quantization_recipe(steps)
    interpreter = tfl_interpreter_utils.create_tfl_interpreter(float_file)
    signature = next(iter(interpreter.get_signature_list()))
    details = interpreter.get_signature_runner(signature).get_input_details()
    statistics = calibrator.Calibrator(float_file, qsv_update_func=qsv_utils.min_max_update)
    statistics.calibrate({signature: list(_feeds(details, Path(calibration)))}, recipes)
    quantize = quantizer.Quantizer(float_file, steps)
    quantize.quantize(statistics.get_model_qsvs(), serialize_to_path=out)


def _feeds(details: dict[str, Any], calibration: Path) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """Samples under the file's own names: the same, or args_0, args_1, ... in the source's order."""
    for path in sorted(calibration.iterdir()):
        sample = dict(np.load(path))
        names = sample if set(sample) == set(details) else sorted(details)
        feed = {}
        for name, array in zip(names, sample.values(), strict=True):
            stored = array if array.shape == tuple(details[name]["shape"]) else array.transpose(0, 2, 3, 1)
            feed[name] = np.ascontiguousarray(stored, dtype=details[name]["dtype"])
        yield feed


if __name__ == "__main__":
    main(*sys.argv[1:])
