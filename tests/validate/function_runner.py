"""A runner over a plain function, so that tests choose every number themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgeport.sample import Array, InputSpec, Sample
from edgeport.validate.runner import Verdict


@dataclass
class FunctionRunner:
    function: Callable[[Array], dict[str, Array]]
    outputs: tuple[str, ...] = ("y",)
    verdict: Verdict = "measured"
    inputs: tuple[InputSpec, ...] = (InputSpec("x", "float32", (1, 4)),)
    calls: list[int] = field(default_factory=list)

    def run(self, sample: Sample) -> dict[str, Array]:
        self.calls.append(1)
        return self.function(sample["x"])

    def intermediates(self, sample: Sample, names: Sequence[str]) -> dict[str, Array]:
        return {}


def plus(offset: float, outputs: tuple[str, ...] = ("y",)) -> FunctionRunner:
    return FunctionRunner(lambda x: {name: (x + np.float32(offset)).astype(np.float32) for name in outputs}, outputs)


def noisy(seed: int, sigma: float) -> FunctionRunner:
    """Adds noise that depends on the sample only, so that a run can be repeated."""

    def function(x: Array) -> dict[str, Array]:
        rng = np.random.default_rng([seed, abs(int(x.sum() * 1e4))])
        return {"y": (x + rng.normal(0, sigma, x.shape)).astype(np.float32)}

    return FunctionRunner(function)


def samples(count: int = 16, shape: tuple[int, ...] = (1, 4), seed: int = 0) -> list[Sample]:
    rng = np.random.default_rng(seed)
    return [{"x": rng.normal(size=shape).astype(np.float32)} for _ in range(count)]
