"""Node tests through the torch view, which is no target: its module takes the place of a file."""

from __future__ import annotations

from edgeport.errors import EdgeportError, ModelError

from .cases import Case
from .outcomes import Outcome, difference

NAME = "torch-view"
"""What `--target` calls it."""


def run_view(case: Case) -> Outcome:
    """Builds the view of one case and runs it."""
    import onnx
    import torch

    from edgeport.preparation import prepare
    from edgeport.torch_view.runner import TorchViewRunner
    from edgeport.torch_view.view import torch_view

    torch.set_num_threads(1)
    try:
        canonical = prepare(onnx.ModelProto.FromString(case.model)).canonical
        view = torch_view(canonical)
    except EdgeportError as error:
        reasons = [f"{f.op}: {f.message}" for f in error.findings if f.op and f.severity == "error"]
        if isinstance(error, ModelError) and reasons:
            return Outcome("refused", "; ".join(dict.fromkeys(reasons)))
        return Outcome("crash", f"{type(error).__name__} that names no operator: {error}")
    got = TorchViewRunner(view, canonical).run(case.feeds)
    problem = difference(list(got.values()), case.wanted)
    return Outcome("pass") if problem is None else Outcome("wrong", problem)
