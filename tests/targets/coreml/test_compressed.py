"""Every kind of compressed constant: written by coremltools, read back by the evaluator, exactly what the plan says."""

from pathlib import Path

import numpy as np
import pytest

from edgeport.quantize.compression import Palette, Sparse
from edgeport.quantize.plan import Compression, Plan, QParams
from edgeport.targets.coreml import mil
from edgeport.targets.coreml.compressed import compressed
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.evaluator.run import Evaluator
from edgeport.targets.coreml.names import Names
from edgeport.targets.coreml.save import save

pytest.importorskip("coremltools")
RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(6, 8)).astype(np.float32)
COLUMNS = np.abs(WEIGHT).max(axis=0) / 127


def integers(dtype: str, scale: np.ndarray, axis: int | None, block: int | None = None) -> QParams:
    return QParams(dtype, scale.astype(np.float32), np.zeros(scale.shape, np.int32), axis, block=block)


FORMS: dict[str, tuple[Compression, tuple[str, ...]]] = {
    "int8 per channel": (integers("int8", COLUMNS, 1), ("iOS16", "iOS17", "iOS18")),
    "int8 per tensor": (integers("int8", COLUMNS.max(), None), ("iOS16", "iOS18")),
    "int8 with a zero point": (
        QParams("int8", np.float32(0.05), np.asarray(-7, np.int32)),
        ("iOS16", "iOS18"),
    ),
    "int4 per channel": (integers("int4", COLUMNS * 16, 1), ("iOS18",)),
    "int4 in blocks": (integers("int4", np.abs(WEIGHT).reshape(2, 3, 8).max(1) / 7, 0, block=3), ("iOS18",)),
    "palette of 4": (Palette(np.sort(RNG.normal(size=(1, 4)), axis=1).astype(np.float32), 2), ("iOS16", "iOS18")),
    "palette of 64": (Palette(np.sort(RNG.normal(size=(1, 64)), axis=1).astype(np.float32), 6), ("iOS16", "iOS18")),
    "palettes of groups": (Palette(np.sort(RNG.normal(size=(4, 16)), axis=1).astype(np.float32), 4, 1), ("iOS18",)),
    "sparse": (Sparse(np.abs(WEIGHT) > 0.7), ("iOS16", "iOS18")),
}


@pytest.mark.parametrize(
    ("name", "system"), [(name, system) for name, (_, systems) in FORMS.items() for system in systems]
)
def test_it_is_what_the_plan_says_in_any_order_of_axes(name: str, system: str, tmp_path: Path) -> None:
    how = FORMS[name][0]
    ctx = Context(Plan("fp32"), {}, system, "float32", Names())
    with mil.function({"x": ((8, 6), "float32")}, system) as function:
        made = compressed(ctx, WEIGHT, how, (1, 0), (8, 6), "w")
        total = mil.emit("add", x=function.inputs["x"], y=made, name="total")
        function.set_outputs([total])
    package = tmp_path / "one.mlpackage"
    save(mil.convert(mil.program({"main": function}), system), package, {}, lambda message: None)
    run = Evaluator(package).run({"x": np.zeros((8, 6), np.float32)})
    np.testing.assert_array_equal(run.outputs["total"], how.restored(WEIGHT).T)
