"""Transpositions of merged axes."""

from __future__ import annotations

import numpy as np
import pytest

HEAD = '<ir_version: 10, opset_import: ["": 24]>'
CASES = {
    "heads merged": ("2,3,5,8", [6, 5, 8], [0, 2, 1], [2, 3, 8, 5], [0, 1, 3, 2], 0),
    "two merged": ("2,3,5,8", [6, 40], [1, 0], [5, 8, 2, 3], [2, 3, 0, 1], 0),
    "split elsewhere": ("2,30,8", [6, 10, 8], [0, 2, 1], [2, 3, 8, 10], [0, 1, 3, 2], 1),
    "ones": ("1,3,5,8", [3, 5, 8], [0, 2, 1], [1, 3, 8, 5], [0, 1, 3, 2], 0),
}


@pytest.mark.parametrize("name", CASES)
def test_unmerged(check, name):
    shape, merged, perm, target, expected, reshapes = CASES[name]
    body = f"r = Reshape(x, merged) t = Transpose<perm = {perm}>(r) c = Reshape(t, target) y = Neg(c)"
    dims = ",".join(map(str, target))
    checked = check(
        f"{HEAD} g (float[{shape}] x) => (float[{dims}] y) {{ {body} }}",
        initializers={"merged": np.array(merged, np.int64), "target": np.array(target, np.int64)},
    )
    assert checked.ops == {"Transpose": 1, "Neg": 1} | ({"Reshape": reshapes} if reshapes else {})
    assert list(checked.node("Transpose").attributes["perm"].as_ints()) == expected


def test_axes_of_parts_stay(check):
    body = "r = Reshape(x, merged) t = Transpose<perm = [1, 0]>(r) y = Reshape(t, target)"
    checked = check(
        f"{HEAD} g (float[6,10] x) => (float[4,5,3] y) {{ {body} }}",
        initializers={"merged": np.array([10, 6], np.int64), "target": np.array([4, 5, 3], np.int64)},
    )
    assert checked.ops == {"Reshape": 2, "Transpose": 1}
