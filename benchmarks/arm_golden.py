"""Files that `edgeport export` wrote, with the golden samples that lie beside them, for `check_arm.py`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from arm_files import Emitted, write_file
from arm_grid import argument_names, on_grid
from arm_runtimes import Runtime
from safetensors.numpy import load_file

from edgeport.errors import ModelError

Samples = list[dict[str, np.ndarray]]


def copy_exported(artifact: Path, name: str, runtime: Runtime, folder: Path) -> list[Emitted]:
    """Copies a file and its golden inputs to `folder` under a name; allowed is what turned roundings cost.

    Raises:
        ModelError: the order of the inputs cannot be known, or torch does not load a .ptl file.
    """
    inputs = golden_inputs(artifact, runtime)
    outputs = _outputs(artifact, name, "reference", runtime.by_name)
    if runtime.target != "qnnpack":
        write_file(artifact, name, inputs, folder)
        return [Emitted(name, runtime.least_db, reference=outputs)]
    write_file(artifact, name, [on_grid(artifact, sample) for sample in inputs], folder)
    file = Emitted(name, runtime.least_db, reference=outputs)
    return [file, *copy_reported(artifact, name, inputs, runtime.least_db, folder, as_near=True)]


def copy_reported(
    artifact: Path,
    name: str,
    inputs: Sequence[Mapping[str, np.ndarray]],
    least_db: float | None,
    folder: Path,
    *,
    as_near: bool = False,
) -> list[Emitted]:
    """A .ptl file beside its golden outputs: what `edgeport`'s runner made of the golden inputs, rounding as phones do.

    Files with several outputs are left out: a .ptl file has no names for them.

    Args:
        artifact: as an export wrote it.
        name: of the copy, to which `_reported` is added.
        inputs: the golden ones in the file's order.
        least_db: of the result.
        folder: for the copy.
        as_near: whether it is enough that the file is as near to float on ARM as in the report.
    """
    name = f"{name}_reported"
    expected = _outputs(artifact, name, "output", by_name=False)
    if expected is None:
        return []
    write_file(artifact, name, inputs, folder)
    reference = _outputs(artifact, name, "reference", by_name=False) if as_near else None
    return [Emitted(name, least_db, "the report", expected, reference)]


def _outputs(artifact: Path, name: str, kind: str, by_name: bool) -> dict[str, np.ndarray] | None:
    """Golden outputs as `arm_worker.py` calls them; None for several that are known by their places."""
    samples = _golden(artifact, kind)
    if by_name:
        return {f"{name}/{i}/{key}": array for i, sample in enumerate(samples) for key, array in sample.items()}
    if any(len(sample) != 1 for sample in samples):
        return None
    return {f"{name}/{i}/0": array for i, sample in enumerate(samples) for array in sample.values()}


def golden_of(artifact: Path) -> Path:
    """Where an export puts the golden samples of a file."""
    return artifact.parent / "golden" / "golden.safetensors"


def golden_inputs(artifact: Path, runtime: Runtime) -> Samples:
    """The golden inputs in the file's order."""
    return [_ordered(artifact, runtime, sample) for sample in _golden(artifact, "input")]


def _golden(artifact: Path, kind: str) -> Samples:
    samples: dict[int, dict[str, np.ndarray]] = {}
    for key, array in load_file(golden_of(artifact)).items():
        found, index, name = key.split("/", 2)
        if found == kind:
            samples.setdefault(int(index), {})[name] = array
    return [samples[index] for index in sorted(samples)]


def _ordered(artifact: Path, runtime: Runtime, sample: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The sample in the order of the file's inputs, where the runtime does not find them by name."""
    if runtime.by_name or len(sample) == 1:
        return sample
    names = _from_code(artifact, sample) if runtime.target == "qnnpack" else _from_report(artifact, runtime)
    if sorted(names) != sorted(sample):
        raise ModelError(f"{artifact}: the order of its inputs {', '.join(sorted(sample))} is not known")
    return {name: sample[name] for name in names}


def _from_report(artifact: Path, runtime: Runtime) -> list[str]:
    report = artifact.parent.parent / "report.json"
    if not report.exists():
        return []
    targets = json.loads(report.read_text(encoding="utf-8"))["targets"]
    return [
        one["name"] for target in targets if target["target"] == runtime.target for one in target["facts"]["inputs"]
    ]


def _from_code(artifact: Path, names: Sequence[str] | Mapping[str, np.ndarray]) -> list[str]:
    """By the arguments of `forward`, which are the names as identifiers, some with a number at the end."""
    identifiers = {re.sub(r"\W", "_", name): name for name in names}
    arguments = argument_names(artifact)
    return [identifiers.get(a) or identifiers.get(re.sub(r"_\d+$", "", a), a) for a in arguments]
