"""The check that stands beside a package: one Python and one Swift file, to be run on a Mac."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeport.targets.contract import Artifact

_SOURCE = Path(__file__).parent / "selftest"
FILES = ("SelfTest.swift", "selftest.py")


def with_selftest(artifact: Artifact) -> Artifact:
    """Writes `selftest/` beside the package; it reads the golden samples that come later."""
    folder = artifact.path.parent / "selftest"
    folder.mkdir(exist_ok=True)
    for name in FILES:
        (folder / name).write_bytes((_SOURCE / name).read_bytes())
    return replace(artifact, files=(*artifact.files, *(folder / name for name in FILES)))
