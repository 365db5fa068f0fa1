"""Which boards, JetPacks and options build.sh refuses, and in what words."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from trt_board_box import PATH, SCRIPTS, box, export, place

from edgeport.targets.registry import load_profile, profile_names

RECOGNIZE = runpy.run_path(str(SCRIPTS / "recognize.py"))["main"]


# What the folder is for, the board, its TensorRT, the options -> the exit code and what the line says.
REFUSALS: list[tuple[str | None, str | None, str, tuple[str, ...], int, str]] = [
    (
        "jetson-orin-jp6",
        "orin-nano-6",
        "10.3.0",
        (),
        3,
        "Orin Nano.*for Jetson AGX Orin.*--profile jetson-orin-nano-jp6",
    ),
    ("jetson-orin-jp6", "carrier-6", "10.3.0", (), 3, "Cows.*--profile jetson-orin-nx-jp6"),
    ("jetson-orin-jp6", "orin-5", "8.5.2", (), 3, "R35.4.1.*JetPack 6.0 to 6.2.*--profile jetson-orin-jp5"),
    ("jetson-nano-jp4", "tx2", "8.2.1", (), 3, "quill.*--profile jetson-tx2-jp4"),
    ("jetson-orin-jp6", None, "10.3.0", (), 3, "no Jetson.*for Jetson AGX Orin.*--insist"),
    ("jetson-orin-jp6", "orin-6", "8.5.2", (), 3, "TensorRT 8.5.2 is installed here.*8.6.2 to 10.7:"),
    ("jetson-orin-jp6", "orin-6", "11.4.1", (), 3, "TensorRT 11.4.1 is installed here"),
    ("jetson-xavier-jp5", "xavier-5", "8.2.1", (), 3, "8.4.1 to 8.5.2"),
    (None, None, "8.5.2", (), 3, "for 8.6 to 11: export with a --profile"),
    (None, "orin-5", "8.5.2", (), 3, "for 8.6 to 11: export with --profile jetson-orin-jp5"),
    ("jetson-nano-jp4", "nano", "8.2.1", ("--precision", "int8"), 3, "Jetson Nano: SM 5.3 has no int8 hardware.*fp16"),
    ("jetson-orin-jp6", "orin-6", "10.3.0", ("--precision", "fp8"), 3, "no FP8 hardware"),
    ("jetson-orin-jp6", "orin-6", "10.3.0", ("--precision", "int5"), 2, "holds fp16, fp32, int8"),
    ("jetson-orin-jp6", "orin-6", "10.3.0", ("--dla", "2"), 3, "has 2 DLA core"),
    ("jetson-orin-nano-jp6", "orin-nano-6", "10.3.0", ("--dla", "0"), 3, "Orin Nano has no DLA"),
    ("jetson-orin-jp6", "orin-6", "10.3.0", ("--dla", "0", "--precision", "fp32"), 2, "fp16 or int8"),
    ("jetson-thor-jp7", "thor", "10.13.3", ("--cache",), 2, "holds no calibration cache"),
    ("jetson-orin-jp6", "orin-6", "10.3.0", ("--cache", "--precision", "fp16"), 2, "--cache is for --precision int8"),
    ("jetson-orin-jp6", "orin-6", "10.3.0", ("--workspace", "1;id"), 2, "letters, digits"),
    ("jetson-orin-jp6", "orin-6", "10.3.0", ("--dla",), 2, "needs a value"),
    ("jetson-orin-jp6", "orin-6", "10.3.0", ("--fast",), 2, "--fast: no such option"),
]


@pytest.mark.parametrize(("profile", "board", "version", "options", "code", "says"), REFUSALS)
def test_what_does_not_fit_is_refused_in_one_line(
    tmp_path: Path, profile: str | None, board: str | None, version: str, options: tuple[str, ...], code: int, says: str
) -> None:
    precision = "fp16" if profile == "jetson-nano-jp4" else "int8"
    line = box(tmp_path, profile, board, version, precision).refused(code, *options)
    assert re.search(says, line), line


def test_one_can_insist_on_another_board(tmp_path: Path) -> None:
    here = box(tmp_path, "jetson-orin-jp6", "carrier-6", "10.3.0")
    assert here.engine("--insist").name.startswith("net.int8.a-carrier-for-cows.trt10.3.0.")


def test_a_board_is_known_by_its_module_or_by_its_name(tmp_path: Path) -> None:
    here = box(tmp_path, "jetson-orin-nx-jp6", "carrier-6", "10.3.0")
    here.engine()
    (here.root / "proc/device-tree/compatible").unlink()
    (here.root / "proc/device-tree/model").write_text("NVIDIA Jetson Orin NX Engineering Reference Developer Kit\0")
    here.engine("--force")
    assert len(here.builds) == 2


def test_without_a_profile_the_gpu_names_the_engine(tmp_path: Path) -> None:
    here = box(tmp_path, None, None, "10.3.0")
    smi = here.root / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    smi.write_text("#!/bin/sh\necho NVIDIA L4\n")
    smi.chmod(0o755)
    done = here.run("--no-verify", PATH=f"{smi.parent}:{PATH}")
    assert Path(done.stdout).name.startswith("net.int8.nvidia-l4.trt10.3.0."), done.stderr


JETSONS = [name for name in profile_names() if "recognize" in load_profile(name).facts]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What is exported for each Jetson."""
    found = {name: tmp_path_factory.mktemp(name) for name in JETSONS}
    for name, folder in found.items():
        export(folder, name, load_profile(name).facts["precisions"][-1])
    return found


@pytest.mark.parametrize("name", JETSONS)
def test_every_jetson_takes_the_folder_of_its_profile_and_no_other(
    tmp_path: Path, name: str, folders: dict[str, Path]
) -> None:
    facts = load_profile(name).facts
    place(tmp_path, "nano")
    for module in facts["recognize"]["modules"]:
        (tmp_path / "proc/device-tree/compatible").write_text(f"nvidia,{module}\0nvidia,tegra\0")
        release = facts["recognize"]["l4t"][0]
        (tmp_path / "etc/nv_tegra_release").write_text(f"# R{release} (release), REVISION: 4.1, GCID: 1\n")
        options = ["--tensorrt", facts["tensorrt"][-1], "--root", str(tmp_path)]
        assert [other for other, folder in folders.items() if RECOGNIZE(options, str(folder)) == 0] == [name]
