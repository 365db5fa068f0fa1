"""Exports randomly damaged models and judges every outcome; exit code 1 where one is a defect.

python -m tests.mutations --target coreml --count 100 --seed 0 --precision int8 examples/fashion_mnist
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx

from .artifacts import SUFFIXES
from .judge import Verdict, judge, preload
from .mutate import mutate


def main() -> int:
    parser = argparse.ArgumentParser(description="Exports randomly damaged models and judges every outcome.")
    parser.add_argument("models", nargs="+", type=Path, help="ONNX files, or folders with some in them")
    parser.add_argument("--count", type=int, default=100, help="cases in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", default="tflite", choices=sorted(SUFFIXES))
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--seconds", type=float, default=180, help="time limit of a case")
    parser.add_argument("--only", type=int, help="run this case alone")
    parser.add_argument("--keep", type=Path, help="folder for the models of defects")
    parser.add_argument("--all", action="store_true", help="print every case, not only defects")
    given = parser.parse_args()
    files = [f for path in given.models for f in (sorted(path.rglob("*.onnx")) if path.is_dir() else [path])]
    models = {path: fixed(onnx.load(path)) for path in files}
    preload(given.target)
    os.environ.pop("EDGEPORT_TRACEBACK", None)
    kinds: Counter[str] = Counter()
    for index in range(given.count) if given.only is None else [given.only]:
        source = files[index % len(files)]
        said, verdict = case(
            models[source], given.target, given.seed, index, given.precision, given.seconds, given.keep
        )
        kinds[verdict.kind] += 1
        if verdict.defect or given.all:
            print(f"{index} {source.name}: {said}\n    {verdict.kind} {verdict.detail}", flush=True)
    print(
        f"{given.target}, seed {given.seed}, {given.precision}: "
        + ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
    )
    return int(any(kind not in ("correct", "refused") for kind in kinds))


def case(
    model: onnx.ModelProto,
    target: str,
    seed: int,
    index: int,
    precision: str,
    seconds: float,
    keep: Path | None = None,
) -> tuple[str, Verdict]:
    """One damaged model: what was done to it, and how its export ended."""
    data, said = mutate(model, np.random.default_rng([seed, index]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["EDGEPORT_CACHE"] = str(folder / "cache")
        path = folder / "model.onnx"
        path.write_bytes(data)
        verdict = judge(path, target, precision, folder, seconds)
    if keep is not None and verdict.defect:
        keep.mkdir(parents=True, exist_ok=True)
        (keep / f"{seed}-{index}-{verdict.kind}.onnx").write_bytes(data)
    return said, verdict


def fixed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Open input dimensions become numbers, so that a case is about the damage: 1 for the first, 16 for the others."""
    for value in model.graph.input:
        for at, dim in enumerate(value.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value"):
                dim.dim_value = 16 if at else 1
    return model


if __name__ == "__main__":
    sys.exit(main())
