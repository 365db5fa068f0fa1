"""A trtexec that builds nothing: it answers as NVIDIA's does, with the flags of one version of TensorRT.

`install` writes it as an executable. It prints NVIDIA's banner, fails on flags that its version does not know, refuses
what the real one refuses (a calibration cache of another version, Q/DQ without `--int8`), writes the files asked for,
and answers `--loadInputs` from a list of inputs and outputs (`answer`). Its calls are in `calls(path)`.

Flags by version: samples/common/sampleOptions.cpp of NVIDIA/TensorRT and NVIDIA's migration guides 8.x to 10.x to 11.x.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeport.targets.tensorrt.version import Version

VERSIONS = ("8.2.1", "8.5.2", "8.6.2", "10.3.0", "10.13.3", "10.16.2", "11.4.1")

_ALWAYS = """
--help --onnx --saveEngine --loadEngine --noTF32 --timingCacheFile --useDLACore --allowGPUFallback --shapes --minShapes
--optShapes --maxShapes --loadInputs --exportOutput --dumpOutput --iterations --duration --warmUp --avgRuns --verbose
--useCudaGraph --noDataTransfers --useSpinWait --streams --exportProfile --dumpProfile --separateProfileRun --device
--inputIOFormats --outputIOFormats --sparsity --exportTimes
"""
_SINCE_AND_UNTIL = {  # the first version that knows it, the first that does not any more
    "--fp16": ("8.0", "11.0"),
    "--int8": ("8.0", "11.0"),
    "--best": ("8.0", "11.0"),
    "--calib": ("8.0", "11.0"),
    "--explicitBatch": ("8.0", "10.0"),
    "--workspace": ("8.0", "10.0"),
    "--buildOnly": ("8.0", "10.0"),
    "--profilingVerbosity": ("8.2", "99.0"),
    "--exportLayerInfo": ("8.2", "99.0"),
    "--dumpLayerInfo": ("8.2", "99.0"),
    "--memPoolSize": ("8.4", "99.0"),
    "--precisionConstraints": ("8.4", "11.0"),
    "--layerPrecisions": ("8.4", "11.0"),
    "--skipInference": ("8.6", "99.0"),
    "--builderOptimizationLevel": ("8.6", "99.0"),
    "--fp8": ("8.6", "11.0"),
    "--stronglyTyped": ("10.0", "11.0"),
    "--bf16": ("10.0", "11.0"),
    "--int4": ("10.0", "11.0"),
}

_PROGRAM = r'''
import hashlib, json, os, signal, sys, time

VERSION, TOKEN, KNOWN, ANSWERS, CALLS = json.loads(sys.argv.pop(1))
MAJOR = int(VERSION.split(".")[0])
LINE = "TensorRT.trtexec [TensorRT v%s] # %s" % (TOKEN, " ".join(sys.argv))


def fail(*messages):
    for message in messages:
        print("[01/01/2026-00:00:00] [E] " + message, flush=True)
    print("&&&& FAILED " + LINE, flush=True)
    sys.exit(1)


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        fail("[TRT] Could not open file " + path)


def number(value):
    """As C++ streams print a float: six digits, nan and inf."""
    return "%d" % value if isinstance(value, int) else "%.6g" % value


with open(CALLS, "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\n")
print("&&&& RUNNING " + LINE, flush=True)
given = dict((argument.split("=", 1) + [""])[:2] for argument in sys.argv[1:])
if "--help" in given or not given:
    print("\n".join(["=== Model Options ==="] + ["  " + flag for flag in KNOWN]))
    sys.exit(0 if given else 1)
unknown = [flag for flag in given if flag not in KNOWN]
if unknown:
    fail(*["Unknown option: %s %s" % (flag, given[flag]) for flag in unknown])

if "--onnx" in given:
    model = read(given["--onnx"])
    quantized = b"QuantizeLinear" in model
    typed = MAJOR >= 11 or "--stronglyTyped" in given
    if typed and {"--int8", "--fp16", "--best"} & set(given):
        fail("Invalid usage, setting precision flags is not allowed with --stronglyTyped")
    if quantized and not typed and "--int8" not in given:
        fail("[TRT] Int8 precision has been set for a layer or layer output, but int8 is not configured in the builder")
    if "--int8" in given and not quantized:
        if "--calib" not in given:
            print("placeholder ranges", flush=True)
            sys.exit(99)
        header = read(given["--calib"]).split(b"\n")[0].decode()
        if header != "TRT-%s-EntropyCalibration2" % TOKEN:
            fail("[TRT] Calibration table does not match calibrator algorithm type.", "[TRT] Tensor x is nullptr")
    if "--useDLACore" in given and not {"--int8", "--fp16"} & set(given):
        fail("[TRT] DLA needs --fp16 or --int8")
    built = json.dumps({"tensorrt": VERSION, "model": hashlib.sha256(model).hexdigest(), "flags": sorted(given)})
    if "--saveEngine" in given:
        with open(given["--saveEngine"], "w") as engine:
            engine.write(built[: len(built) // 2])
            engine.flush()
            if "FAKE_TRTEXEC_DIES" in os.environ:
                os.kill(os.getpid(), signal.SIGKILL)
            if "FAKE_TRTEXEC_HANGS" in os.environ:
                open(os.environ["FAKE_TRTEXEC_HANGS"], "w").close()
                time.sleep(600)
            engine.write(built[len(built) // 2 :])
    if given.get("--timingCacheFile"):
        with open(given["--timingCacheFile"], "a") as cache:
            cache.write("timings\n")
    if given.get("--exportLayerInfo"):
        with open(given["--exportLayerInfo"], "w") as layers:
            dtype = "Int8" if "--calib" in given or quantized else "FP16"
            form = "Thirty-two wide channel vectorized row major %s format" % dtype
            ends = {"Inputs": [{"Name": "x", "Format/Datatype": form}], "Outputs": []}
            json.dump({"Layers": [{"Name": "conv", "LayerType": "CaskConvolution", **ends}]}, layers)
elif "--loadEngine" in given:
    try:
        engine = json.loads(read(given["--loadEngine"]).decode())
    except ValueError:
        fail("[TRT] Magic tag does not match", "Engine deserialization failed")
    if engine["tensorrt"] != VERSION:
        fail("[TRT] The engine plan file is not compatible with this version of TensorRT", "Engine set up failed")
else:
    fail("Model missing or format not recognized")

if "--loadInputs" in given and not {"--skipInference", "--buildOnly"} & set(given):
    hashes = {}
    for value in given["--loadInputs"].split(","):
        name, _, path = value.rpartition(":")
        hashes[name.replace("'", "")] = hashlib.sha256(read(path)).hexdigest()
    with open(ANSWERS) as file:
        found = [answer["outputs"] for answer in json.load(file) if answer["inputs"] == hashes]
    if not found:
        fail("no answer for these inputs: " + json.dumps(hashes, sort_keys=True))
    if "--exportOutput" in given:
        with open(given["--exportOutput"], "wb") as file:
            parts = [
                ('{ "name" : "%s"\n  , "dimensions" : "%s"\n  , "values" : [ ' % (o["name"], o["dimensions"])).encode()
                + b", ".join(bytes([v]) if o["dtype"] == "uint8" else number(v).encode() for v in o["values"])
                + b" ]\n  }\n"
                for o in found[0]
            ]
            file.write(b"[\n  " + b", ".join(parts) + b"]\n")
print("&&&& PASSED " + LINE, flush=True)
'''


def known_flags(version: str) -> list[str]:
    """The flags of trtexec in that version."""
    now = Version.parse(version)
    spans = _SINCE_AND_UNTIL.items()
    return [*_ALWAYS.split(), *(f for f, (since, until) in spans if Version.parse(since) <= now < Version.parse(until))]


def install(path: Path, version: str) -> Path:
    """Writes the executable; nothing is answered yet (see `answer`)."""
    settings = [
        version,
        Version.parse(version).calibration_token,
        known_flags(version),
        f"{path}.answers",
        f"{path}.calls",
    ]
    program = path.with_name(path.name + ".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(_PROGRAM)
    quoted = json.dumps(settings).replace("'", "'\\''")
    path.write_text(f"#!/bin/sh\nexec '{sys.executable}' -E -S -X utf8 '{program}' '{quoted}' \"$@\"\n")
    path.chmod(0o755)
    return path


def answer(
    path: Path, samples: Sequence[tuple[Mapping[str, np.ndarray[Any, Any]], Mapping[str, np.ndarray[Any, Any]]]]
) -> None:
    """What `--exportOutput` says for which inputs: a pair (inputs, outputs) a sample; inputs match bit by bit."""
    entries = [
        {
            "inputs": {
                name: hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest() for name, a in taken.items()
            },
            "outputs": [
                {
                    "name": name,
                    "dimensions": "x".join(map(str, a.shape)),
                    "dtype": str(a.dtype),
                    "values": a.ravel().tolist(),
                }
                for name, a in given.items()
            ],
        }
        for taken, given in samples
    ]
    Path(f"{path}.answers").write_text(json.dumps(entries))


def calls(path: Path) -> list[list[str]]:
    """The arguments of every call so far."""
    log = Path(f"{path}.calls")
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
