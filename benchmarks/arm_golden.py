"""Files that `edgeport export` wrote, with the golden inputs that lie beside them, for `check_arm.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from arm_files import Emitted, write_file
from arm_grid import argument_names, on_grid
from arm_runtimes import Runtime
from safetensors.numpy import load_file


def copy_exported(artifact: Path, runtime: Runtime, folder: Path) -> Emitted:
    """Copies a file and its golden inputs to `folder`; allowed is what turned roundings cost."""
    samples: dict[str, dict[str, np.ndarray]] = {}
    for key, array in load_file(golden_of(artifact)).items():
        kind, index, name = key.split("/", 2)
        if kind == "input":
            samples.setdefault(index, {})[name] = array
    taken = list(samples.values())
    if runtime.target == "qnnpack":
        names = argument_names(artifact)
        taken = [on_grid(artifact, {name: sample[name] for name in names}) for sample in taken]
    write_file(artifact, artifact.stem, taken, folder)
    return Emitted(artifact.stem, runtime.least_db)


def golden_of(artifact: Path) -> Path:
    """Where an export puts the golden inputs of a file."""
    return artifact.parent / "golden" / "golden.safetensors"
