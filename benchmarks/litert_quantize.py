"""Runs inside litert-quantizer's own environment: static int8 of a float .tflite with min-max ranges.

python litert_quantize.py FLOAT.tflite CALIBRATION_FOLDER OUT.tflite
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from litert_quantizer import calibrator, quantizer, recipe, recipe_manager  # type: ignore[import-not-found]
from litert_quantizer.utils import qsv_utils, tfl_interpreter_utils  # type: ignore[import-not-found]


def main(float_file: str, calibration: str, out: str) -> None:
    interpreter = tfl_interpreter_utils.create_tfl_interpreter(float_file)
    signature = next(iter(interpreter.get_signature_list()))
    (detail,) = interpreter.get_signature_runner(signature).get_input_details().items()
    name, shape = detail[0], tuple(detail[1]["shape"])

    def feeds() -> Iterator[dict[str, npt.NDArray[np.float32]]]:
        for path in sorted(Path(calibration).iterdir()):
            (image,) = np.load(path).values()
            yield {name: image if image.shape == shape else np.ascontiguousarray(image.transpose(0, 2, 3, 1))}

    steps = recipe.static_wi8_ai8()
    recipes = recipe_manager.RecipeManager()
    recipes.load_quantization_recipe(steps)
    statistics = calibrator.Calibrator(float_file, qsv_update_func=qsv_utils.min_max_update)
    statistics.calibrate({signature: list(feeds())}, recipes)
    quantize = quantizer.Quantizer(float_file, steps)
    quantize.quantize(statistics.get_model_qsvs(), serialize_to_path=out)


if __name__ == "__main__":
    main(*sys.argv[1:])
