"""MeanVarianceNormalization is written out.

    x --+--> ReduceMean --> Sub --+--> Mul(itself) --> ReduceMean --> Sqrt --> Add(1e-9) --> Div --> y
        `--------------------^    `----------------------------------------------------------^

Epsilon stands outside of the root, so it is no LayerNormalization. The variance is that of the deviation, which does
not cancel as the difference of squares in ONNX's function body does. ONNX operator MeanVarianceNormalization-13.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_ints, nodes, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site


@register("expand_mean_variance")
def expand_mean_variance(model: ir.Model) -> bool:
    """Expands every MeanVarianceNormalization."""
    changed = False
    for node in nodes(model, "MeanVarianceNormalization"):
        site, x = Site(model, node), node.inputs[0]
        axes = site.constant("axes", np.asarray(get_ints(node, "axes") or [0, 2, 3], np.int64))
        mean = site.op("ReduceMean", [x, axes], "mean", keepdims=1)
        deviation = site.op("Sub", [x, mean], "deviation")
        square = site.op("Mul", [deviation, deviation], "square")
        root = site.op("Sqrt", [site.op("ReduceMean", [square, axes], "variance", keepdims=1)], "root")
        spread = site.op("Add", [root, site.constant("epsilon", np.float32(1e-9))], "spread")
        take_over(node.outputs[0], "Div", [deviation, spread])
        changed = True
    return changed
