"""The last operation of a classifier."""

from __future__ import annotations

import numpy as np

from edgeport.targets.coreml.evaluator.call import Call, boxed
from edgeport.targets.coreml.evaluator.registry import Array, EvaluationError, evaluates


@evaluates("classify")
def classify(call: Call) -> tuple[Array, ...]:
    """The label of the largest probability, the first of equal ones, and a dictionary label -> probability."""
    probabilities, labels = call.array("probabilities").reshape(-1), call.array("classes")[()]
    if not isinstance(labels, list) or len(labels) != probabilities.size:
        raise EvaluationError(f"{probabilities.size} probabilities for other labels: {str(labels)[:80]}")
    best = labels[int(probabilities.argmax())]
    label = boxed(best) if isinstance(best, str) else np.asarray(best)
    return label, boxed(dict(zip(labels, probabilities.tolist(), strict=True)))
