"""verify.py against a trtexec that answers as each version does; the golden samples are those that exports write."""

import ast
import json
import math
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_trtexec import VERSIONS, answer, calls, install
from safetensors.numpy import load_file, save_file

from edgeport.bundle.golden import ArtifactEnds, write_golden
from edgeport.sample import Array, InputSpec, Sample
from edgeport.targets import tensorrt
from edgeport.targets.tensorrt.version import Version
from edgeport.validate.runner import Verdict

SCRIPT = Path(tensorrt.__file__).parent / "scripts" / "verify.py"


@dataclass(frozen=True)
class Doubling:
    """Twice each number as `out.NAME`, and the contrary of each bool; floats are off by `error`."""

    error: float = 0.0
    inputs: tuple[InputSpec, ...] = ()
    outputs: tuple[str, ...] = ()
    verdict: Verdict = "measured"

    def run(self, sample: Sample) -> dict[str, Array]:
        return {f"out.{name}": self.doubled(array) for name, array in sample.items()}

    def doubled(self, array: Array) -> Array:
        if array.dtype == np.bool_:
            return ~array
        return np.asarray(array * 2 + (self.error if array.dtype.kind == "f" else 0), array.dtype)

    def intermediates(self, sample: Sample, names: Sequence[str]) -> dict[str, Array]:
        return {}


SAMPLE: dict[str, Array] = {
    'a:0/"b" c\\d=é': np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),
    "ids": np.arange(-3, 3, dtype=np.int64),
    "half": np.arange(4, dtype=np.float16),
    "mask": np.array([True, False, True]),
    "pixels": np.arange(0, 128, dtype=np.uint8),
}
SAMPLES = [SAMPLE, {n: a[::-1].copy() for n, a in SAMPLE.items()}]
Check = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """What an export leaves for the board; its own file was off by 0.001 (62 dB)."""
    write_golden(tmp_path, SAMPLES, Doubling(error=0.001), Doubling(), ArtifactEnds())
    (tmp_path / "verify.py").write_bytes(SCRIPT.read_bytes())
    (tmp_path / "bundle.json").write_text(json.dumps({"verify": {"margin_db": 6, "least_db": 40}}))
    return tmp_path


@pytest.fixture
def check(bundle: Path) -> Check:
    """Runs verify.py where trtexec is of that version and its outputs are off by that much; `drop` one of them."""

    def run(
        *options: str,
        version: str = "10.3.0",
        error: float = 0.0,
        drop: str = "",
        ids: Any = None,
        **settings: str,
    ) -> "subprocess.CompletedProcess[str]":
        trtexec = install(bundle / "trtexec", version)
        ids = ids or (np.int32 if Version.parse(version) < Version(10, 0) else np.int64)
        board = [{n: a.astype(ids) if a.dtype == np.int64 else a for n, a in s.items()} for s in SAMPLES]
        given = [{n: a for n, a in Doubling(error).run(s).items() if n != drop} for s in SAMPLES]
        answer(trtexec, list(zip(board, given, strict=True)))
        (bundle / "model.engine").write_text(json.dumps({"tensorrt": version}))
        environment = {**os.environ, "PATH": f"{bundle}:{os.environ['PATH']}", **settings}
        command = [sys.executable, str(bundle / "verify.py"), *options]
        return subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, cwd=bundle)

    return run


@pytest.mark.parametrize("version", VERSIONS)
def test_a_right_engine_passes_whatever_its_names_and_integers(check: Check, version: str) -> None:
    done = check(version=version)
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert len(lines) == len(SAMPLES) * len(SAMPLE) + 1
    assert all(line.startswith("ok  ") for line in lines[:-1])
    assert lines[-1] == "every output passes"


def test_names_do_not_depend_on_the_language_that_is_set(check: Check) -> None:
    """As Python 3.6 has it where none is: everything but files' contents is ASCII."""
    done = check(LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert 'ok   sample 0, out.a:0/"b" c\\d=é: ' in done.stdout


def test_options_behind_a_double_dash_reach_trtexec_and_unknown_ones_stop_it(check: Check, bundle: Path) -> None:
    assert (
        check("model.engine", "--trtexec", "./trtexec", "--tensorrt", "10.3.0", "--", "--useDLACore=0").returncode == 0
    )
    (first, *_, last) = calls(bundle / "trtexec")
    assert first[-1] == last[-1] == "--useDLACore=0"
    done = check("--", "--int4", version="8.6.2")
    assert (done.returncode, done.stdout.count("\n"), done.stderr) == (2, 1, "")
    assert "Unknown option: --int4" in done.stdout


@pytest.mark.parametrize(
    ("error", "code"), [(0.002, 0), (0.008, 0), (0.02, 1), (math.nan, 1), (math.inf, 1), (-math.inf, 1)]
)
def test_an_output_may_be_as_far_off_as_the_margin_and_no_further(check: Check, error: float, code: int) -> None:
    # The first output's mean square is 1.6: 0.008 is 44 dB, and 40 dB suffice; 0.02 is 36 dB.
    done = check(error=error)
    assert done.returncode == code, done.stdout
    assert ("FAIL sample 0, out.a:0" in done.stdout) == (code == 1)
    assert "ok   sample 0, out.ids: 1.00 equal here, 1.00 in edgeport" in done.stdout


def test_margins_are_those_of_the_bundle(check: Check, bundle: Path) -> None:
    (bundle / "bundle.json").write_text(json.dumps({"verify": {"margin_db": 6, "least_db": 50}}))
    assert check(error=0.002).returncode == 0  # 56 dB, where edgeport saw 62
    assert check(error=0.008).returncode == 1
    assert check("--margin", "20", error=0.008).returncode == 0


def test_a_missing_output_fails(check: Check) -> None:
    done = check(drop="out.ids")
    assert done.returncode == 1
    assert "FAIL sample 0, out.ids: the engine gives no such output (it gives out.a:0" in done.stdout
    assert "ok   sample 0, out.mask" in done.stdout


def test_outputs_of_another_size_fail(check: Check, bundle: Path) -> None:
    wide = [{n: np.concatenate([a, a]) for n, a in s.items()} for s in SAMPLES]
    write_golden(bundle, SAMPLES, Doubling(), Doubling(), ArtifactEnds())
    trtexec = install(bundle / "second" / "trtexec", "10.3.0")
    answer(trtexec, [(s, Doubling().run(w)) for s, w in zip(SAMPLES, wide, strict=True)])
    done = check("--trtexec", str(trtexec))
    assert done.returncode == 1
    assert "FAIL sample 1, out.ids: 12 elements instead of 6" in done.stdout


def test_inputs_of_the_wrong_width_are_not_compared(check: Check) -> None:
    done = check(ids=np.int32)  # of an engine that takes int32 under TensorRT 10
    assert (done.returncode, done.stdout.count("\n")) == (2, 1)


def test_numbers_that_the_boards_integers_lack_are_refused(check: Check, bundle: Path) -> None:
    write_golden(bundle, [{**SAMPLE, "ids": np.full(6, 2**40)}], Doubling(), Doubling(), ArtifactEnds())
    done = check(version="8.5.2")
    assert (done.returncode, done.stdout) == (
        2,
        "cannot verify: an input holds I64 numbers that I32, which this TensorRT takes, cannot hold\n",
    )


@pytest.mark.parametrize(("name", "version"), [("a,b", "8.2.1"), ("a'b", "10.3.0")])
def test_names_that_trtexec_cannot_take_are_named(check: Check, bundle: Path, name: str, version: str) -> None:
    write_golden(bundle, [{name: SAMPLE["half"]}], Doubling(), Doubling(), ArtifactEnds())
    done = check(version=version)
    assert (done.returncode, done.stdout) == (2, f"cannot verify: trtexec takes no input named {name}; use infer.py\n")


def changed_outputs(bundle: Path) -> None:
    path = bundle / "golden" / "golden.safetensors"
    save_file({n: np.zeros_like(a) if n.startswith("output/") else a for n, a in load_file(path).items()}, path)


def changed_byte(bundle: Path) -> None:
    path = bundle / "golden" / "golden.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def changed_model(bundle: Path) -> None:
    (bundle / "model.onnx").write_bytes(b"other")
    (bundle / "bundle.json").write_text(json.dumps({"files": [{"path": "model.onnx", "sha256": "0" * 64}]}))


def lost_digest(bundle: Path) -> None:
    (bundle / "golden" / "golden.sha256").unlink()


def lost_samples(bundle: Path) -> None:
    (bundle / "golden" / "golden.safetensors").unlink()


def lost_golden(bundle: Path) -> None:
    shutil.rmtree(bundle / "golden")


def broken_bundle(bundle: Path) -> None:
    (bundle / "bundle.json").write_text("{")


@pytest.mark.parametrize(
    "damage", [changed_outputs, changed_byte, changed_model, lost_digest, lost_samples, lost_golden, broken_bundle]
)
def test_files_that_are_not_the_exported_ones_are_noticed(
    check: Check, bundle: Path, damage: Callable[[Path], None]
) -> None:
    damage(bundle)
    done = check()
    assert (done.returncode, done.stdout.count("\n"), done.stderr) == (2, 1, "")
    assert "copy the" in done.stdout
    assert calls(bundle / "trtexec") == []


def test_without_an_engine_or_trtexec_it_says_so_in_a_line(check: Check, bundle: Path) -> None:
    done = check("no.engine")
    assert (done.returncode, done.stdout) == (2, "cannot verify: there is no engine no.engine; build.sh makes it\n")
    (bundle / "second.engine").write_bytes(b"")
    assert "model.engine, second.engine" in check().stdout
    done = check("model.engine", "--tensorrt", "new")
    assert (done.returncode, done.stdout) == (2, "cannot verify: --tensorrt new: a version, please, such as 8.5.2\n")
    done = check("model.engine", TRTEXEC="/nowhere/trtexec")
    assert (done.returncode, done.stdout.count("\n"), done.stderr) == (2, 1, "")


def test_what_trtexec_prints_that_is_no_json_is_read() -> None:
    """As samples/common/sampleReporting.cpp and sampleInference.cpp of NVIDIA/TensorRT print it."""
    read_outputs = runpy.run_path(str(SCRIPT))["read_outputs"]
    text = (
        '[\n  { "name" : "a\\b"\n  , "dimensions" : "3"\n  , "values" : [ -nan, inf, 1e-05 ]\n  }\n'
        ', { "name" : "found"\n  , "dimensions" : "-1"\n  , "values" : '
        "[ Final shape is 2 reported by the output allocator.\n9007199254740993, 2 ]\n  }\n"
        ', { "name" : "empty"\n  , "dimensions" : "0"\n  , "values" : [  ]\n  }\n]\n'
    )
    found = read_outputs(text, {})
    assert list(found) == ["a\\b", "found", "empty"]
    np.testing.assert_array_equal(found["a\\b"], [np.nan, np.inf, 1e-5])
    assert found["found"] == [9007199254740993, 2]
    assert found["empty"] == []


@pytest.mark.parametrize("codes", [[93, 44, 32, 34], [0, 255, 195, 169], [13, 10, 92, 93], [32], [93]])
def test_uint8_is_printed_as_characters(codes: list[int]) -> None:
    """`print` of samples/common/sampleUtils.cpp casts int8 alone; also where one of them ends the list, or quotes."""
    read_outputs = runpy.run_path(str(SCRIPT))["read_outputs"]
    printed = b", ".join(bytes([code]) for code in codes).decode("utf-8", "surrogateescape")
    entries = [("image", printed), ("next", "93, 44")]
    text = ", ".join(f'{{ "name" : "{n}"\n  , "dimensions" : "1"\n  , "values" : [ {v} ]\n  }}\n' for n, v in entries)
    assert read_outputs(text, {"image": len(codes)}) == {"image": codes, "next": [93, 44]}


@pytest.mark.parametrize("values", [[3, 0, 1], [255, 0, 12], [7]])
def test_uint8_printed_as_numbers_is_read_all_the_same(values: list[int]) -> None:
    read_outputs = runpy.run_path(str(SCRIPT))["read_outputs"]
    text = f'[ {{ "name" : "classes"\n  , "dimensions" : "3"\n  , "values" : [ {str(values)[1:-1]} ]\n  }}\n]'
    assert read_outputs(text, {"classes": len(values)}) == {"classes": values}


def test_the_script_is_python_3_6() -> None:
    ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 6))
