"""Calibration caches read back by NVIDIA ModelOpt's own reader: every scale equal, every float tensor covered.

    python benchmarks/tensorrt_cache.py [CASE | MODEL.onnx ...] [--profile DEVICE] [--modelopt PYTHON]

Cases are those of accuracy.py, with their samples; other files are calibrated on made-up ones, which is enough for a
format. ModelOpt runs in its own environment (made on first use, or the one of PYTHON). `differ` counts the scales that
it reads otherwise than edgeport, or than the Q/DQ file has them; `uncovered` the float tensors of the float file
without a scale, `said` those of them that a finding accounts for; `parser` the float tensors that TensorRT for RTX's
parser makes, and how many of them have none; `error` is how far the float file is from the source, relative to the
largest output. The exit code is 1 where a scale differs or a tensor is missing without a word.
"""

from __future__ import annotations

import argparse
import json
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
from accuracy import cases
from modelopt_files import interpreter
from peers import Skipped
from tables import table

from edgeport import api
from edgeport.preparation import divisors, example_samples, prepare
from edgeport.sample import Sample
from edgeport.targets.tensorrt.cache_file import CalibrationCache
from edgeport.validate.onnx_runner import OnnxRunner

_HEAD = ("model", "scales", "differ", "uncovered", "said", "parser", "error")
_SAMPLES = 16
_READ = """
import json, sys
from modelopt.onnx.quantization.calib_utils import import_scales_from_calib_cache as read
print(json.dumps({name.removesuffix("_scale"): scale for name, scale in read(sys.argv[1]).items()}))
"""
_PARSE = """
import json, sys
import tensorrt_rtx as trt
log = trt.Logger(trt.Logger.ERROR)
builder = trt.Builder(log)
network = builder.create_network(0)
parser = trt.OnnxParser(network, log)
if not parser.parse_from_file(sys.argv[1]):
    sys.exit("; ".join(parser.get_error(i).desc() for i in range(parser.num_errors)))
layers = [network.get_layer(i) for i in range(network.num_layers)]
tensors = [network.get_input(i) for i in range(network.num_inputs)]
tensors += [layer.get_output(i) for layer in layers for i in range(layer.num_outputs)]
print(json.dumps([tensor.name for tensor in tensors if tensor.dtype == trt.float32]))
"""


def read_by_modelopt(python: Path, cache: Path) -> dict[str, float]:
    """What ModelOpt's reader makes of a calibration cache: tensor -> scale.

    Raises:
        RuntimeError: it does not read the file; the message is what it said last.
    """
    return dict(json.loads(_said(python, _READ, cache)))


def quantized_scales(path: Path) -> dict[str, float]:
    """Scales of the tensors that a Q/DQ file quantizes as wholes."""
    quantizers = (node for node in ir.load(path).graph if node.op_type == "QuantizeLinear")
    found = {}
    for node in quantizers:
        x, scale = node.inputs[:2]
        if x is not None and x.const_value is None and scale is not None and scale.const_value is not None:
            found[x.name or ""] = float(scale.const_value.numpy().reshape(()))
    return found


def differing(cache: CalibrationCache, read: Mapping[str, float], quantized: Mapping[str, float]) -> list[str]:
    """Tensors whose scale is not the same number everywhere, to the bit."""
    wrong = [name for name in cache.scales.keys() | read.keys() if _bits(cache.scales, name) != _bits(read, name)]
    return wrong + [
        name for name in quantized if name in cache.scales and _bits(cache.scales, name) != _bits(quantized, name)
    ]


def float_tensors(model: ir.Model) -> list[str]:
    """Float tensors that the graph's nodes compute or that it is fed."""
    values = (*model.graph.inputs, *(value for node in model.graph for value in node.outputs))
    return [value.name or "" for value in values if value.dtype == ir.DataType.FLOAT and value.const_value is None]


def measure(source: Path, samples: Sequence[Sample], profile: str | None, python: Path) -> tuple[tuple[str, ...], bool]:
    """One row of the table, and whether all is well."""
    with tempfile.TemporaryDirectory() as folder:
        result = api.export(
            str(source),
            target="tensorrt",
            profile=profile,
            calib=list(samples),
            allow_suspicious_data=True,
            validate=False,
            cache=False,
            out=Path(folder) / "out",
        )
        out = Path(result.artifacts["tensorrt"]).parent
        (float_file,) = out.glob("*.fp32.onnx")
        cache = CalibrationCache.from_bytes((out / "calibration.cache").read_bytes())
        wrong = differing(
            cache, read_by_modelopt(python, out / "calibration.cache"), quantized_scales(next(out.glob("*.int8.onnx")))
        )
        missing = [name for name in float_tensors(ir.load(float_file)) if name not in cache.scales]
        said = sum(int(f.message.split()[0]) for f in result.findings if f.code == "no-scale")
        row = (
            source.stem,
            str(len(cache.scales)),
            str(len(wrong)),
            str(len(missing)),
            str(said),
            _asked(float_file, cache),
            f"{_error(source, float_file, samples[0]):.1e}",
        )
    return row, not wrong and len(missing) == said


def _error(source: Path, float_file: Path, sample: Sample) -> float:
    want, got = (OnnxRunner(path, optimize=False).run(sample) for path in (source, float_file))
    pairs = [(np.asarray(want[name], np.float64), np.asarray(got[name], np.float64)) for name in want]
    return max(float(np.abs(a - b).max(initial=0) / max(np.abs(a).max(initial=0), 1e-30)) for a, b in pairs)


def _asked(float_file: Path, cache: CalibrationCache) -> str:
    """Float tensors of NVIDIA's parser, and how many of them have no scale."""
    try:
        names = json.loads(_said(Path(sys.executable), _PARSE, float_file))
    except RuntimeError as error:
        return f"({error})"
    return f"{len(names)} -{sum(name not in cache.scales for name in names)}"


def _bits(scales: Mapping[str, float], name: str) -> bytes | None:
    return struct.pack(">f", scales[name]) if name in scales else None


def _said(python: Path, script: str, argument: Path) -> str:
    done = subprocess.run([str(python), "-c", script, str(argument)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    return done.stdout.strip().splitlines()[-1]


def _given(words: Sequence[str]) -> list[tuple[Path, Sequence[Sample]]]:
    files = [Path(word) for word in words if word.endswith(".onnx")]
    names = [word for word in words if not word.endswith(".onnx")]
    found: list[tuple[Path, Sequence[Sample]]] = []
    if names or not files:
        chosen = {name: make for name, make in cases().items() if not names or name in names}
        for make in chosen.values():
            case = make()
            found.append((Path(case.model), case.calibration))
    for path in files:
        prepared = prepare(path)
        found.append((path, example_samples(prepared.inputs, _SAMPLES, divisors(prepared.captured.model))))
    return found


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="*", help="a case, or an ONNX file")
    parser.add_argument("--profile", help="device")
    parser.add_argument("--modelopt", type=Path, metavar="PYTHON", help="Python that has ModelOpt")
    arguments = parser.parse_args()
    python = interpreter(arguments.modelopt)
    if isinstance(python, Skipped):
        sys.exit(python.reason)
    rows, well = [], True
    for source, samples in _given(arguments.model):
        row, good = measure(source, samples, arguments.profile, python)
        rows.append(row)
        well = well and good
    print(table(_HEAD, rows))
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
