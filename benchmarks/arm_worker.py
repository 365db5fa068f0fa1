"""Runs every file of a folder on the inputs beside it. Needs the runtime and numpy only: it runs on both machines.

    python arm_worker.py TARGET FOLDER OUT

FOLDER holds NAME.SUFFIX and NAME.npz, whose arrays are called INDEX/INPUT, in the order of the inputs; OUT becomes an
.npz file of arrays called NAME/INDEX/OUTPUT, or of one called NAME/error that holds the reason. Each runtime has a
module `arm_worker_TARGET.py` with its SUFFIXES and `load(path)`, which gives a function from inputs to outputs by name.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

Run = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]


def main(target: str, folder: Path, out: Path) -> None:
    runtime = importlib.import_module(f"arm_worker_{target}")
    results: dict[str, np.ndarray] = {}
    for model in sorted(path for path in folder.iterdir() if path.suffix in runtime.SUFFIXES):
        try:
            outputs = _outputs(runtime.load(model), np.load(model.with_suffix(".npz")))
        except Exception as error:  # of a runtime, which has kinds of its own; the other files shall run
            outputs = {"error": np.array(str(error).strip().splitlines()[-1:] or [type(error).__name__])}
        results |= {f"{model.stem}/{key}": array for key, array in outputs.items()}
    np.savez(out, **results)


def _outputs(run: Run, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """INDEX/OUTPUT -> array, of inputs called INDEX/INPUT."""
    samples: dict[str, dict[str, np.ndarray]] = {}
    for key, array in inputs.items():
        index, name = key.split("/", 1)
        samples.setdefault(index, {})[name] = array
    return {f"{index}/{name}": array for index, sample in samples.items() for name, array in run(sample).items()}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
