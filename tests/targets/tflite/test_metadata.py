"""TFLite Metadata, read back by table and field number as metadata_schema.fbs numbers them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import number_types
from flatbuffers.table import Table
from tflite_graphs import Graph, normal

from edgeport.calibration import Preprocessing
from edgeport.description import describe
from edgeport.errors import UsageError
from edgeport.presentation import Presentation
from edgeport.quantize.plan import Plan
from edgeport.sample import InputSpec
from edgeport.targets.tflite.target import TFLITE

INPUTS = (InputSpec("image", "float32", (1, 3, 6, 8)),)
OUTPUTS = (InputSpec("y", "float32", (1, 4)),)
DECLARED = Preprocessing(colour="RGB", mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5))


def export(tmp_path: Path, lines: str = "cat\ndog\nowl\nemu\n") -> tuple[bytes, Graph, str]:
    (tmp_path / "names.txt").write_text(lines, encoding="utf-8")
    said = describe(INPUTS, OUTPUTS, DECLARED, tmp_path / "names.txt")
    g = Graph()
    x = g.op("GlobalAveragePool", g.op("Conv", g.input("image", normal(1, 3, 6, 8)), g.const(normal(4, 3, 1, 1))))
    y = g.op("Flatten", x, out="y")
    artifact = TFLITE.lower(g.model(y), Presentation(description=said).of(Plan("fp32")), tmp_path, "net")
    got = TFLITE.runner(artifact, g.model(y)).run(g.inputs)[y]
    want = np.einsum("chw,oc->o", g.inputs["image"][0], normal(4, 3, 1, 1)[..., 0, 0]) / 48
    assert np.allclose(got[0], want, atol=1e-5)  # sums of 144 products of magnitude 1 in float32
    return artifact.path.read_bytes(), g, y


class Reader:
    """A flatbuffers table by field numbers."""

    def __init__(self, data: bytes, position: int) -> None:
        self.table = Table(data, position)

    @classmethod
    def root(cls, data: bytes) -> Reader:
        return cls(data, flatbuffers.encode.Get(flatbuffers.packer.uoffset, data, 0))

    def _at(self, number: int) -> int:
        return int(self.table.Offset(4 + 2 * number))

    def text(self, number: int) -> str:
        return str(self.table.String(self._at(number) + self.table.Pos).decode())

    def byte(self, number: int) -> int:
        return int(self.table.Get(number_types.Uint8Flags, self._at(number) + self.table.Pos))

    def uint(self, number: int) -> int:
        return int(self.table.Get(number_types.Uint32Flags, self._at(number) + self.table.Pos))

    def child(self, number: int) -> Reader:
        return Reader(self.table.Bytes, self.table.Indirect(self._at(number) + self.table.Pos))

    def children(self, number: int) -> list[Reader]:
        if not self._at(number):
            return []
        start, count = self.table.Vector(self._at(number)), self.table.VectorLen(self._at(number))
        return [Reader(self.table.Bytes, self.table.Indirect(start + 4 * i)) for i in range(count)]

    def floats(self, number: int) -> list[float]:
        found: Any = self.table.GetVectorAsNumpy(number_types.Float32Flags, self._at(number))
        return [float(v) for v in found]


def test_labels_and_normalization_stand_where_the_task_library_looks(tmp_path: Path) -> None:
    data, _, _ = export(tmp_path)
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    entries = {m.name: m.buffer for m in model.metadata}
    raw = bytes(model.buffers[entries[b"TFLITE_METADATA"]].data)
    assert raw[4:8] == b"M001"
    root = Reader.root(raw)
    assert (root.text(0), root.text(7)) == ("net", "1.0.0")
    (graph,) = root.children(3)
    (image,), (scores,) = graph.children(2), graph.children(3)
    assert (image.text(0), scores.text(0)) == ("image", "y")
    content = image.child(3)
    assert content.byte(0) == 2  # ImageProperties
    assert content.child(1).byte(0) == 1  # RGB
    assert (content.child(1).child(1).uint(0), content.child(1).child(1).uint(1)) == (8, 6)  # width, height
    (unit,) = image.children(4)
    assert unit.byte(0) == 1  # NormalizationOptions, of pixels in 0 to 255
    assert unit.child(1).floats(0) == pytest.approx([0.5 * 255, 0.4 * 255, 0.3 * 255])
    assert unit.child(1).floats(1) == pytest.approx([0.2 * 255, 0.25 * 255, 0.5 * 255])
    (file,) = scores.children(6)
    assert (file.text(0), file.byte(2)) == ("labels.txt", 2)  # TENSOR_AXIS_LABELS
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.read("labels.txt").decode().split("\n") == ["cat", "dog", "owl", "emu", ""]


def test_the_file_is_the_same_every_time(tmp_path: Path) -> None:
    assert export(tmp_path)[0] == export(tmp_path)[0]


def test_nothing_declared_writes_nothing(tmp_path: Path) -> None:
    g = Graph()
    y = g.op("Relu", g.input("x", normal(2, 3)))
    artifact = TFLITE.lower(g.model(y), Plan("fp32"), tmp_path, "m")
    assert b"TFLITE_METADATA" not in artifact.path.read_bytes()


@pytest.mark.parametrize(("lines", "said"), [("a\nb\n", "2 lines"), (None, "No such file")])
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, lines: str | None, said: str) -> None:
    path = tmp_path / "labels.txt"
    if lines is not None:
        path.write_text(lines)
    with pytest.raises(UsageError, match=said):
        describe(INPUTS, OUTPUTS, None, path)
