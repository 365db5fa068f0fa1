"""What a case can end as, and when outputs count as equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Verdict = Literal["pass", "refused", "wrong", "crash"]
VERDICTS: tuple[Verdict, ...] = ("pass", "refused", "wrong", "crash")


@dataclass(frozen=True)
class Outcome:
    """How a case ended; `reason` is empty for a pass."""

    verdict: Verdict
    reason: str = ""


def difference(got: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> str | None:
    """What is wrong with the outputs, None if nothing is.

    The expected values are numpy's, some written down with 4 to 7 digits, and runtimes sum in another order: rtol 1e-3
    and atol 1e-4, for float16 (11 bits of mantissa, summed in any order) 2e-2. Eight-bit integers may be off by one,
    which is a tie rounded the other way; other integers and booleans are exact.
    """
    if len(got) != len(wanted):
        return f"{len(got)} outputs instead of {len(wanted)}"
    for index, (array, want) in enumerate(zip(got, wanted, strict=True)):
        array = np.asarray(array)
        if array.dtype != want.dtype or array.shape != want.shape:
            return f"output {index} is {array.dtype}{list(array.shape)} instead of {want.dtype}{list(want.shape)}"
        half = want.dtype == np.float16
        rtol, atol = (2e-2, 2e-2) if half else (1e-3, 1e-4)
        if want.dtype.kind != "f":
            rtol, atol = 0.0, 1.0 if want.dtype in (np.int8, np.uint8) else 0.0
        with np.errstate(invalid="ignore", over="ignore"):
            a, b = (array, want) if want.dtype.itemsize == 8 else (array.astype(np.float64), want.astype(np.float64))
            equal = (a == b) if atol == 0 else np.isclose(a, b, rtol=rtol, atol=atol, equal_nan=True)
        if not equal.all():
            at = tuple(int(i) for i in np.argwhere(~equal)[0])
            count = int((~equal).sum())
            return f"output {index}: {count} of {want.size} differ, at {list(at)} {array[at]} instead of {want[at]}"
    return None
