"""Every benchmark in one run, and one table with target and figure. `make bench` calls it. Always exits 0.

    python benchmarks/run.py

The first run makes the models (about a quarter of an hour of training on two cores) and the peers' environments; both
are cached in benchmarks/.cache. Figures vary with the machine; ratios, taken in turns in one run, vary less.
"""

from __future__ import annotations

import json
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import accuracy
import coreml_evaluator
import coreml_export
import encoder_latency
import export_time
import latency
import layout
import maker
import mobile_peers
import tensorrt_int8
from models import SPECS, onnx_model
from tables import Line, table


def _calibration() -> list[Line]:
    script = Path(__file__).with_name("calibration.py")
    done = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, text=True, check=True)
    print("\ncalibration beside bare inference\n" + done.stdout.strip())
    found = json.loads(done.stdout)
    return [
        Line("calibration time / bare float inference", f"<= {found['ratio_target']}", str(found["ratio"])),
        Line(
            "calibration memory, growth from 16 to 512 samples, MB",
            f"< {found['growth_mb_target']}",
            str(found["growth_mb"]),
        ),
    ]


def _attempt(name: str, benchmark: Callable[[], list[Line]]) -> list[Line]:
    """A benchmark that breaks is a line in the summary, so that the others still run."""
    try:
        return benchmark()
    except Exception as error:
        traceback.print_exc()
        return [Line(name, "", f"broke: {type(error).__name__}: {error}"[:100])]


def main() -> None:
    for name in SPECS:
        print(f"model {name}", flush=True)
        onnx_model(name)
    benchmarks: tuple[tuple[str, Callable[[], list[Line]]], ...] = (
        ("calibration", _calibration),
        ("latency", latency.report),
        ("encoder latency", encoder_latency.report),
        ("basic_pitch", maker.report),
        ("layout", layout.report),
        ("export time", export_time.report),
        ("Core ML evaluator", coreml_evaluator.report),
        ("Core ML export", coreml_export.report),
        ("accuracy", accuracy.report),
        ("TensorRT int8", tensorrt_int8.report),
        ("files for phones", mobile_peers.report),
    )
    lines = [line for name, benchmark in benchmarks for line in _attempt(name, benchmark)]
    print("\nsummary")
    print(table(("what", "target", "figure"), [(line.what, line.target, line.figure) for line in lines]))


if __name__ == "__main__":
    main()
