"""Runs every .tflite file of a folder on the inputs beside it. Needs LiteRT and numpy only: it runs on both machines.

    python arm_worker.py FOLDER OUT

FOLDER holds NAME.tflite and NAME.npz, whose arrays are called INDEX/INPUT; OUT becomes an .npz file of arrays called
NAME/INDEX/OUTPUT.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def main(folder: Path, out: Path) -> None:
    results = {}
    for model in sorted(folder.glob("*.tflite")):
        run = Interpreter(model_path=str(model), num_threads=1).get_signature_runner()
        samples: dict[str, dict[str, np.ndarray]] = {}
        for key, array in np.load(model.with_suffix(".npz")).items():
            index, name = key.split("/", 1)
            samples.setdefault(index, {})[name] = array
        for index, sample in samples.items():
            for name, array in run(**sample).items():
                results[f"{model.stem}/{index}/{name}"] = array
    np.savez(out, **results)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
