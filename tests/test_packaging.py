"""What is installed: the wheel's content, the entry points, and a constraints file that fits pyproject.toml."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import edgeport

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from a copy of the tree: setuptools leaves a build folder in what it builds from."""
    pytest.importorskip("build")
    source = tmp_path_factory.mktemp("source") / "tree"
    keep = ("edgeport", "targets", "calibration")
    for name in keep:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    out = source.parent / "wheel"
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)],
        check=True,
        capture_output=True,
    )
    (path,) = out.glob("*.whl")
    return zipfile.ZipFile(path)


def test_wheel_holds_every_module_and_data_file_under_edgeport(wheel: zipfile.ZipFile) -> None:
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = set()
    for folder, inside in (
        ("edgeport", "edgeport"),
        ("targets", "edgeport/targets"),
        ("calibration", "edgeport/calibration"),
    ):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix != ".md" and "__pycache__" not in path.parts:
                expected.add(f"{inside}/{path.relative_to(ROOT / folder).as_posix()}")
    assert packed == expected


def test_wheel_names_licence_and_command(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert any(name.endswith("licenses/LICENSE") for name in names)
    (entry_points,) = (wheel.read(name).decode() for name in names if name.endswith("entry_points.txt"))
    assert "edgeport = edgeport.cli.main:main" in entry_points
    targets = entry_points.partition("[edgeport.targets]")[2].partition("[")[0]
    assert set(re.findall(r"^(\w+) = ", targets, re.MULTILINE)) == {"tflite", "coreml", "coreai", "qnnpack", "tensorrt"}


def test_versions_agree() -> None:
    assert edgeport.__version__ == PROJECT["version"]
    assert (
        f"## [{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text()
        or "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()
    )


def test_constraints_pin_every_requirement_within_its_bounds() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    exact = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}
    assert all(str(pin.specifier).startswith("==") for pin in pins)
    assert len(exact) == len(pins)
    extras = PROJECT["optional-dependencies"].values()
    for text in (*PROJECT["dependencies"], *(one for extra in extras for one in extra)):
        requirement = Requirement(text)
        if requirement.name != PROJECT["name"]:
            assert exact[canonicalize_name(requirement.name)] in requirement.specifier, text


def test_no_package_index_is_named() -> None:
    for name in ("Makefile", "constraints.txt", "pyproject.toml", ".ci/run"):
        assert not re.search(r"index-url|find-links|https?://", (ROOT / name).read_text()), name
