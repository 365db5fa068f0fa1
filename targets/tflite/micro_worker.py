"""Runs a .tflite file on tflite-micro. A script of its own process: what is wrong with a file can end the process.

    python micro_worker.py MODEL INPUTS OUTPUTS

INPUTS is an .npz file of arrays called SAMPLE/INPUT (numbers), OUTPUTS becomes one of SAMPLE/OUTPUT. Memory use is
printed to stderr by tflite-micro itself.
"""

from __future__ import annotations

import sys

import numpy as np
from tflite_micro.python.tflite_micro import runtime

_ARENA = 256 * 2**20
"""Bytes offered; the system gives only those that are touched. Models for microcontrollers need a few MB at most."""


def main(model: str, inputs: str, outputs: str) -> None:
    """Runs every sample and writes every output."""
    engine = runtime.Interpreter.from_file(model, arena_size=_ARENA)
    results = {}
    with np.load(inputs) as given:
        counts = [int(n) for n in given["counts"]]
        for sample in range(counts[0]):
            for index in range(counts[1]):
                engine.set_input(given[f"{sample}/{index}"], index)
            engine.invoke()
            for index in range(counts[2]):
                results[f"{sample}/{index}"] = np.array(engine.get_output(index))
    engine.print_allocations()
    np.savez(outputs, **results)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(*sys.argv[1:4])
