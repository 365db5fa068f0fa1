"""Runs every file of a folder on the inputs beside it. Needs the runtime and numpy only: it runs on both machines.

    python arm_worker.py TARGET FOLDER OUT

FOLDER holds NAME.SUFFIX and NAME.npz, whose arrays are called INDEX/INPUT, in the order of the inputs; OUT becomes an
.npz file of arrays called NAME/INDEX/OUTPUT. Each runtime has a module `arm_worker_TARGET.py` with its SUFFIX and
`load(path)`, which gives a function from inputs to outputs by name.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np


def main(target: str, folder: Path, out: Path) -> None:
    runtime = importlib.import_module(f"arm_worker_{target}")
    results = {}
    for model in sorted(folder.glob(f"*{runtime.SUFFIX}")):
        run = runtime.load(model)
        samples: dict[str, dict[str, np.ndarray]] = {}
        for key, array in np.load(model.with_suffix(".npz")).items():
            index, name = key.split("/", 1)
            samples.setdefault(index, {})[name] = array
        for index, sample in samples.items():
            for name, array in run(sample).items():
                results[f"{model.stem}/{index}/{name}"] = array
    np.savez(out, **results)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
