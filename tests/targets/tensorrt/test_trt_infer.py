"""infer.py on TensorRT's calls as each version has them, and on libcudart's as C functions."""

import ast
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_tensorrt import Cudart, Log, engine_bytes, package
from numpy.linalg import _umath_linalg

from edgeport.targets import tensorrt
from edgeport.targets.tensorrt.version import Version

SCRIPT = Path(tensorrt.__file__).parent / "scripts" / "infer.py"
VERSIONS = ["8.2.1", "8.4.1", "8.5.2", "8.6.1", "10.3.0", "10.16.2", "11.4.1"]
ENDS: dict[str, tuple[str, list[int]]] = {
    "x": ("FLOAT", [2, 3]),
    "wide": ("HALF", [-1, 4]),
    "mask": ("BOOL", [5]),
    "scalar": ("INT32", []),
    "none": ("FLOAT", [0, 4]),
}


@pytest.fixture
def script() -> dict[str, Any]:
    """What infer.py defines."""
    return runpy.run_path(str(SCRIPT))


@pytest.fixture
def cudart() -> Cudart:
    return Cudart()


@pytest.fixture
def infer(script: dict[str, Any], cudart: Cudart) -> SimpleNamespace:
    """The same with CUDA on this machine's memory."""
    script["Cuda"].__init__.__globals__["load_cudart"] = lambda: cudart
    return SimpleNamespace(**script)


def saved(tmp_path: Path, version: str, ends: dict[str, tuple[str, list[int]]], **options: Any) -> str:
    path = tmp_path / "model.engine"
    path.write_bytes(engine_bytes(version, ends, **options))
    return str(path)


def sample() -> dict[str, Any]:
    return {
        "x": np.arange(6, dtype=np.float32).reshape(3, 2).T,  # not in C order
        "wide": np.arange(8, dtype=np.float32).reshape(2, 4),
        "mask": np.array([True, False, True, True, False]),
        "scalar": np.int64(-7),
        "none": np.zeros((0, 4), np.float32),
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_the_same_arrays_come_out_with_the_calls_of_every_version(
    infer: SimpleNamespace, cudart: Cudart, tmp_path: Path, version: str
) -> None:
    log = Log()
    integers = "INT64" if Version.parse(version) >= Version(10, 0) else "INT32"
    path = saved(tmp_path, version, {**ENDS, "ids": (integers, [3])})
    engine = infer.Engine(path, package(version, log))
    for batch in (2, 5):
        arrays = {**sample(), "ids": np.array([1, -2, 3]), "wide": np.ones((batch, 4), np.float32) * 3}
        found = engine.run(arrays)
        assert list(found) == [f"out.{name}" for name in [*ENDS, "ids"]]
        for name, array in arrays.items():
            expected = ~array if array.dtype == np.bool_ else array * 2
            np.testing.assert_array_equal(found[f"out.{name}"], expected)
            assert found[f"out.{name}"].dtype == engine.outputs[f"out.{name}"]
    assert cudart.held == {}
    call = "v2" if version in ("8.2.1", "8.4.1") else "v3"
    assert log.calls == ["set wide [2, 4]", call, "set wide [5, 4]", call]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.zeros((3, 2), np.float32)}, r"x has shape \[3, 2\]; the engine takes \[2, 3\]"),
        ({"wide": np.zeros((9, 4), np.float32)}, r"wide has shape \[9, 4\]; the engine takes \[-1, 4\]"),
        ({"scalar": np.int64(2**40)}, "scalar holds int64 numbers that int32, which the engine takes, cannot hold"),
        ({"x": np.zeros((2, 3), np.int64)}, "x is int64; the engine takes float32"),
        ({"other": np.zeros(1)}, "the engine takes x, wide, mask, scalar, none; given is x, wide, mask, scalar, none,"),
    ],
)
@pytest.mark.parametrize("version", ["8.4.1", "10.3.0"])
def test_arrays_that_the_engine_does_not_take_are_refused(
    infer: SimpleNamespace, cudart: Cudart, tmp_path: Path, version: str, change: dict[str, Any], message: str
) -> None:
    engine = infer.Engine(saved(tmp_path, version, ENDS), package(version))
    with pytest.raises(infer.EngineError, match=message):
        engine.run({**sample(), **change})
    assert cudart.held == {}


def test_sizes_that_depend_on_values_and_types_that_numpy_lacks_are_refused(
    infer: SimpleNamespace, tmp_path: Path
) -> None:
    engine = infer.Engine(saved(tmp_path, "11.4.1", {"a": ("FLOAT", [-1])}, unknown=True), package("11.4.1"))
    with pytest.raises(infer.EngineError, match=r"the size of out\.a depends on the inputs' values"):
        engine.run({"a": np.zeros(2, np.float32)})
    with pytest.raises(infer.EngineError, match="a is BF16 in the engine, which numpy has not"):
        infer.Engine(saved(tmp_path, "11.4.1", {"a": ("BF16", [2])}), package("11.4.1"))


def test_an_engine_of_another_version_and_errors_of_cuda_are_lines(infer: SimpleNamespace, tmp_path: Path) -> None:
    path = saved(tmp_path, "8.5.2", ENDS)
    with pytest.raises(infer.EngineError, match=r"TensorRT 10\.3\.0 does not load .*: it was built by another version"):
        infer.Engine(path, package("10.3.0"))
    with pytest.raises(infer.EngineError, match="cudaMalloc: out of memory"):
        infer.Cuda().allocate(2**41)


def test_nvidias_runtime_has_these_calls(infer: SimpleNamespace, tmp_path: Path) -> None:
    """As far as it goes without a GPU: it takes the bytes and gives no engine; the fakes have no call that it lacks."""
    trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: its calls are not looked up")
    with pytest.raises(infer.EngineError, match=f"TensorRT {trt.__version__} does not load"):
        infer.Engine(saved(tmp_path, "11.4.1", ENDS), trt)
    fake = infer.Engine(saved(tmp_path, "11.4.1", ENDS), package("11.4.1"))
    for one, real in ((fake.engine, trt.ICudaEngine), (fake.context, trt.IExecutionContext), (fake.trt, trt)):
        assert [name for name in vars(one) if not hasattr(real, name)] == []
    assert set(infer.DTYPES) <= set(trt.DataType.__members__)


def test_the_gpu_says_its_compute_capability_or_that_it_is_not_there(script: dict[str, Any]) -> None:
    known = script["Cuda"].__init__.__globals__
    known["load_cudart"] = lambda: Cudart(capability=(7, 2))
    assert script["Cuda"]().compute_capability() == "7.2"
    known["load_cudart"] = lambda: Cudart(devices=0)
    with pytest.raises(script["EngineError"], match="cudaGetDevice: no CUDA-capable device is detected"):
        script["Cuda"]().compute_capability()


def test_the_command_reads_and_writes_arrays(
    infer: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", package("8.6.1"))  # type: ignore[arg-type]
    engine, inputs, outputs = saved(tmp_path, "8.6.1", ENDS), tmp_path / "in.npz", tmp_path / "out.npz"
    np.savez(inputs, **sample())
    monkeypatch.setattr(sys, "argv", ["infer.py", engine, str(inputs), str(outputs)])
    assert infer.main() == 0
    assert "out.x: float32 [2, 3]" in capsys.readouterr().out
    with np.load(outputs) as found:
        np.testing.assert_array_equal(found["out.x"], sample()["x"] * 2)
    cut = inputs.read_bytes()[:300]
    for name, content, said in (
        ("no", None, "No such file"),
        ("text", b"x", "is no .npz file"),
        ("cut", cut, "cut.npz"),
    ):
        if content is not None:
            (tmp_path / f"{name}.npz").write_bytes(content)
        monkeypatch.setattr(sys, "argv", ["infer.py", engine, str(tmp_path / f"{name}.npz")])
        assert infer.main() == 2
        (line,) = capsys.readouterr().out.splitlines()
        assert line.startswith("cannot run: ")
        assert said in line
    monkeypatch.setitem(sys.modules, "tensorrt", None)  # type: ignore[arg-type]  # as where it is not installed
    monkeypatch.setattr(sys, "argv", ["infer.py", engine, str(inputs)])
    assert infer.main() == 2
    assert "apt-get install python3-libnvinfer" in capsys.readouterr().out


def test_without_numpy_one_line_says_so() -> None:
    done = subprocess.run([sys.executable, "-S", "-I", str(SCRIPT), "a", "b"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "cannot run: numpy is missing: sudo apt-get install python3-numpy\n"


def test_cudas_library_is_looked_for_beside_tensorrt_too(
    script: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script["LIBRARIES"][:] = ["libcudart-nowhere.so"]
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(script["EngineError"], match="is not installed here"):
        script["load_cudart"]()
    beside = tmp_path / "nvidia" / "cuda_runtime" / "lib" / "libcudart.so.12"
    beside.parent.mkdir(parents=True)
    beside.symlink_to(_umath_linalg.__file__)  # any library does
    assert script["load_cudart"]()._name == str(beside)


def test_the_script_is_python_3_6() -> None:
    ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 6))
