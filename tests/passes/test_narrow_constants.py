"""Tables that repeat for every sample hold one of them, and the numbers stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

TABLE = np.random.default_rng(0).normal(size=(1, 4, 3)).astype(np.float32)
CASES = {
    "added": ("y = Add(x, t)", TABLE.repeat(2, 0), (1, 4, 3)),
    "chosen": ("c = Greater(x, t) y = Where(c, x, t)", TABLE.repeat(2, 0), (1, 4, 3)),
    "different": ("y = Add(x, t)", np.concatenate([TABLE, TABLE + 1]), (2, 4, 3)),
    "different zeros": ("y = Div(x, t)", np.concatenate([TABLE * 0, TABLE * -0.0]), (2, 4, 3)),
    "joined": ("y = Concat<axis=2>(x, t)", TABLE.repeat(2, 0), (2, 4, 3)),
    "what makes the batch": ("r = ReduceSum<keepdims=1>(x, zero) y = Add(r, t)", TABLE.repeat(2, 0), (2, 4, 3)),
    "also read whole": ("a = Add(x, t) y = Concat<axis=0>(a, t)", TABLE.repeat(2, 0), (2, 4, 3)),
}


@pytest.mark.parametrize("case", CASES)
def test_tables(case: str, check: Callable[..., Any]) -> None:
    body, table, shape = CASES[case]
    source = f'<ir_version: 10, opset_import: ["" : 24]> g (float[2,4,3] x) => (float[A,B,C] y) {{ {body} }}'
    done = check(source, "narrow_constants", initializers={"t": table, "zero": np.array([0])})
    assert tuple(done.model.graph.initializers["t"].shape) == shape
