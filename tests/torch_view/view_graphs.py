"""The comparison of torch views with ONNX Runtime on small graphs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from onnx_graphs import Graph, normal, reference

from edgeport.torch_view.runner import TorchViewRunner
from edgeport.torch_view.view import torch_view

__all__ = ["Graph", "assert_same", "ints", "normal", "targets"]


def assert_same(graph: Graph, outputs: Sequence[str], tolerance: float = 1e-5) -> torch.fx.GraphModule:
    """The view's outputs equal ONNX Runtime's; returns the view.

    Both compute in float32 but sum in different orders: a few ulp (1e-7) times the number of terms stay well
    below 1e-5 for the sizes used here. Integers and booleans must be equal.
    """
    model = graph.model(*outputs)
    view = torch_view(model)
    got = TorchViewRunner(view, model).run(graph.inputs)
    for name, want in reference(graph.proto(*outputs), graph.inputs).items():
        assert got[name].dtype == want.dtype, name
        assert got[name].shape == want.shape, name
        if want.dtype.kind == "f":
            np.testing.assert_allclose(got[name], want, rtol=tolerance, atol=tolerance, err_msg=name)
        else:
            np.testing.assert_array_equal(got[name], want, err_msg=name)
    return view


def targets(view: torch.fx.GraphModule) -> list[str]:
    """Names of the functions that a view calls."""
    return [getattr(n.target, "__name__", str(n.target)) for n in view.graph.nodes if n.op == "call_function"]


def ints(*values: int) -> np.ndarray:
    """An int64 vector."""
    return np.asarray(values, np.int64)
