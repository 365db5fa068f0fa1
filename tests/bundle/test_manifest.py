from __future__ import annotations

import hashlib
import json
import sys
from importlib import metadata
from pathlib import Path

import numpy as np

from edgeport.bundle.manifest import list_files, read_manifest, tool_versions, write_manifest


def make(folder: Path) -> Path:
    (folder / "tflite" / "golden").mkdir(parents=True)
    (folder / "tflite" / "b.tflite").write_bytes(b"b" * 1000)
    (folder / "tflite" / "golden" / "g").write_bytes(b"")
    (folder / "report.json").write_bytes(b"{}")
    path = folder / "metric.py"
    path.write_text("")
    write_manifest(
        folder,
        source={"name": "m.onnx", "sha256": "ab", "bytes": np.int64(3)},
        data={"samples": 3},
        options={"metric": f"{path}:score", "calib": folder, "input": ["/x:float32[1]"], "percentile": 99.9},
        toolchains=["ai-edge-litert>=2.3", "no-such-distribution; extra"],
    )
    return folder


def test_lists_every_file_with_its_digest(tmp_path: Path) -> None:
    folder = make(tmp_path / "a")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [f["path"] for f in manifest["files"]] == ["metric.py", "report.json", "tflite/b.tflite", "tflite/golden/g"]
    assert manifest["files"][2] == {
        "path": "tflite/b.tflite",
        "bytes": 1000,
        "sha256": hashlib.sha256(b"b" * 1000).hexdigest(),
    }
    assert manifest["source"]["bytes"] == 3
    assert manifest["tools"]["onnx"] == metadata.version("onnx")
    assert read_manifest(folder) == manifest


def test_same_bytes_wherever_it_lies(tmp_path: Path) -> None:
    first, second = make(tmp_path / "one" / "out"), make(tmp_path / "two" / "out")
    assert (first / "manifest.json").read_bytes() == (second / "manifest.json").read_bytes()
    text = (first / "manifest.json").read_text()
    assert str(tmp_path) not in text
    assert json.loads(text)["options"] == {
        "calib": "out",
        "input": ["/x:float32[1]"],
        "metric": "metric.py:score",
        "percentile": 99.9,
    }


def test_tool_versions() -> None:
    versions = tool_versions(["pytest>=8", "torch[extra] >=2.9", "none-of-that==1"])
    assert versions["pytest"] == metadata.version("pytest")
    assert "none-of-that" not in versions
    assert versions["python"] == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert list(versions)[1:] == sorted(list(versions)[1:])


def test_other_peoples_manifests(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None
    for text in ("", "[]", '{"edgeport": "1"}', '{"files": []}', "\xff"):
        (tmp_path / "manifest.json").write_text(text, encoding="latin-1")
        assert read_manifest(tmp_path) is None
    assert list_files(tmp_path) == ()
