"""`QuantizedTransformer`: fuse, prepare and convert a torch module, in the steps that torch.ao's eager mode had."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeport.calibration import graph_digest
from edgeport.capture.torch_file import require_torch
from edgeport.conversion import Conversion
from edgeport.datasets import Datasets, open_datasets
from edgeport.emission import check_target
from edgeport.errors import UsageError
from edgeport.export_options import scheme_of, scheme_passes
from edgeport.exporting import DEFAULT_RANGES, export
from edgeport.findings import Finding
from edgeport.fusions import count_fusions
from edgeport.observation import observe
from edgeport.planning import Assigned, assign_for, plan_for
from edgeport.preparation import Prepared, check_capture, prepare
from edgeport.progress import Silent
from edgeport.quantize.plan import Plan
from edgeport.targets.registry import load_target, require_toolchain

if TYPE_CHECKING:
    import torch

    from edgeport.torch_view.batches import BatchedView
    from edgeport.torch_view.calls import CallForm
    from edgeport.torch_view.distill import Loss

_PRECISIONS = {8: "int8", 4: "int4-weights"}
_LEARNING_RATES = {8: 1e-5, 4: 1e-4}
"""A step of int4 is 16 times as wide. Larger rates fit the samples and lose elsewhere (ViT, 112 samples)."""
_CHECKED_SAMPLES = 2


@dataclass(frozen=True)
class _Fused:
    """After `fuse_model`."""

    prepared: Prepared
    form: CallForm
    assigned: Assigned


@dataclass(frozen=True)
class _Calibrated:
    """After `prepare_quantization`; the module is made when it is first asked for."""

    samples: Any
    datasets: Datasets
    plan: Plan
    ranges: str
    allow_suspicious: bool
    trains: bool


class QuantizedTransformer:
    """A torch module on its way to a quantized file: `fuse_model`, `prepare_quantization`, `convert_quantization`.

        q = QuantizedTransformer(model.eval(), bits=8)
        print(q.fuse_model(x))                        # x: an example input
        q.prepare_quantization(samples)               # calibrates
        print(q.convert_quantization("build/edge"))   # a .ptl file for QNNPACK, run and compared with the module

    With `prepare_quantization(samples, fine_tune=True)` the quantized module has weights with gradients: train
    `q.module` in a loop of your own, or call `fine_tune`, before it is converted. The name says what it is for;
    any module that edgeport captures will do.

    Args:
        module: in eval mode; it is not changed.
        bits: 8 for int8 weights and activations; 4 for int4 weights, where the target has them.
        example: one call: a tensor, a tuple of the arguments, or a mapping of name to argument. It may be left to
            `fuse_model`. Its shapes are those of the file; batches may be larger everywhere else.
        target: what the file is for; `edgeport targets` lists them.

    Raises:
        UsageError: there is no such target, or it has no such width.
        ToolchainError: torch or the target's toolchain is not installed.
    """

    def __init__(self, module: torch.nn.Module, bits: int = 8, *, example: Any = None, target: str = "qnnpack") -> None:
        require_torch("QuantizedTransformer")
        import torch

        if not isinstance(module, torch.nn.Module):
            raise UsageError(f"QuantizedTransformer takes a torch.nn.Module, not a {type(module).__name__}")
        self._source = module
        self._target = load_target(target)
        self._bits = bits
        self._precision = _precision(bits, self._target.name, self._target.precisions)
        require_toolchain(self._target)
        self._example = example
        self._fused: _Fused | None = None
        self._calibrated: _Calibrated | None = None
        self._module: BatchedView | None = None

    def fuse_model(self, example: Any = None) -> dict[str, int]:
        """Captures the module as a graph and fuses what runs as one kernel: Gelu, normalizations, attention, biases.

        Args:
            example: one call, if it was not given before.

        Returns:
            What was fused -> how often.

        Raises:
            UsageError: there is no example, or the module is in training mode and would compute something else.
            ModelError: it cannot be captured, or the target lacks an operator; the findings list every such node.
        """
        from torch.nn.modules.batchnorm import _BatchNorm

        from edgeport.torch_view.calls import arguments, as_call, call_form

        given = self._example if example is None else example
        if given is None:
            raise UsageError(
                "fuse_model needs an example input: fuse_model(x), or QuantizedTransformer(..., example=x)"
            )
        _check_mode(self._source)
        args, kwargs = as_call(given, "the example")
        named = arguments(inspect.signature(self._source.forward), args, kwargs, "the example")
        passes = scheme_passes([self._target], "default")
        prepared = prepare((self._source, named), add_passes=passes)
        form = call_form(self._source, named, prepared.inputs)
        check_capture(prepared, form.samples((), named, "the example"))
        check_target(self._target, prepared, self._precision, None)
        assigned = assign_for(prepared.canonical, scheme_of(self._target, self._precision, None, "default", {}))
        self._fused = _Fused(prepared, form, assigned)
        self._calibrated = self._module = None
        batch_norms = sum(isinstance(part, _BatchNorm) for part in self._source.modules())
        return count_fusions(prepared.canonical, batch_norms)

    def prepare_quantization(
        self,
        samples: Any,
        *,
        fine_tune: bool = False,
        ranges: str = DEFAULT_RANGES,
        allow_suspicious_data: bool = False,
    ) -> torch.nn.Module:
        """Calibrates: chooses the scales from what flows through the float model.

        Args:
            samples: an iterable of calls (tensors, tuples of arguments, or mappings), single or in batches, such as a
                list or a DataLoader; or what `edgeport.export` takes for `calib`. The last eighth is held out for the
                drift, unless `convert_quantization` gets other data.
            fine_tune: give the weights gradients.
            ranges: how clipping ranges are chosen: mse, min-max, percentile or entropy.
            allow_suspicious_data: accept samples that look like noise.

        Returns:
            `module`.

        Raises:
            UsageError: `fuse_model` was not called.
            CalibrationError: the samples cannot be used.
            ModelError: with `fine_tune`, the quantized model has no form in torch.
        """
        from edgeport.torch_view.call_data import read_calls

        fused = self._after_fusion()
        data = read_calls(fused.form, samples)
        datasets = open_datasets(fused.prepared, data, None, None, None)
        check_capture(fused.prepared, datasets.held_out.read(0, min(_CHECKED_SAMPLES, len(datasets.held_out))))
        observed = observe(
            fused.prepared,
            [fused.assigned],
            datasets,
            None,
            allow_suspicious=allow_suspicious_data,
            cache=True,
            progress=Silent(),
        )
        plan = plan_for(fused.prepared.canonical, fused.assigned, observed.statistics, ranges)
        if fine_tune:
            plan = replace(plan, shifts={})  # training learns what they correct
        self._calibrated = _Calibrated(data, datasets, plan, ranges, allow_suspicious_data, fine_tune)
        self._module = None
        return self.module

    @property
    def module(self) -> BatchedView:
        """The quantized model as a torch module, called as the source is: its numbers are rounded as in the file.

        After `prepare_quantization(..., fine_tune=True)` its parameters are the float weights of the fused model, which
        it rounds whenever it runs; what the source holds as a buffer is not trained.

        Raises:
            UsageError: nothing was calibrated.
            ModelError: the quantized model has no form in torch.
        """
        calibrated, fused = self._after_calibration(), self._after_fusion()
        if self._module is None:
            from edgeport.torch_view.batches import BatchedView
            from edgeport.torch_view.fake_quantize import fake_quantized_view, simulating_view

            made = fake_quantized_view if calibrated.trains else simulating_view
            view = made(fused.prepared.canonical, calibrated.plan, fused.assigned.scheme)
            self._module = BatchedView(view, fused.form)
            buffers = [b.detach().cpu() for b in self._source.buffers()]
            for parameter in self._module.parameters():
                parameter.requires_grad_(calibrated.trains and not _is_one_of(parameter, buffers))
        return self._module

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Those of `module` that can be trained."""
        return (p for p in self.module.parameters() if p.requires_grad)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls `module`."""
        return self.module(*args, **kwargs)

    def fine_tune(
        self,
        steps: int = 100,
        *,
        learning_rate: float | None = None,
        batch: int = 32,
        seed: int = 0,
        loss: Loss | None = None,
    ) -> list[float]:
        """Trains `module` to give what the float model gives for the calibration samples, with Adam; needs no labels.

        What is held out of the calibration samples is not trained on.

        Args:
            steps: how many batches.
            learning_rate: of the first step, from which it falls to 0; by default 1e-5 for 8 bits and 1e-4 for 4.
            batch: samples a batch.
            seed: of the order of samples; the same seed gives the same weights.
            loss: of the outputs of the module and those of the float model (two lists of tensors); without it, their
                relative mean squared error.

        Returns:
            The loss of every step.

        Raises:
            UsageError: `prepare_quantization` was not called with `fine_tune=True`.
        """
        from edgeport.torch_view.distill import distill

        calibrated, fused = self._after_calibration(), self._after_fusion()
        if not calibrated.trains:
            raise UsageError("fine_tune needs prepare_quantization(samples, fine_tune=True)")
        source = calibrated.datasets.calibration
        assert source is not None  # what `samples` became
        return distill(
            self.module,
            fused.prepared.runner,
            list(source),
            steps=steps,
            learning_rate=_LEARNING_RATES[self._bits] if learning_rate is None else learning_rate,
            batch=batch,
            seed=seed,
            loss=loss,
        )

    def convert_quantization(
        self,
        out: str | Path,
        *,
        data: Any = None,
        labels: Iterable[Any] | None = None,
        metric: Any = None,
        budget: Sequence[str] = (),
    ) -> Conversion:
        """Writes the file, runs it beside the float module, and says how far it drifted and why.

        Weights that were trained are calibrated and planned anew. The drift is that from the module as it was given.

        Args:
            out: the output folder, replaced as a whole.
            data: held-out samples, as for `prepare_quantization`.
            labels: one of each of them: the report has top-1.
            metric: a callable, or `file.py:callable`, run on the float model and on the file.
            budget: e.g. `sqnr>=25`; beyond it, BudgetError.

        Raises:
            UsageError: nothing was calibrated, or `labels` without `data`.
            EdgeportError: see `edgeport.export`.
        """
        from edgeport.torch_view.call_data import read_calls

        calibrated = self._after_calibration()
        if labels is not None and data is None:
            raise UsageError("labels belong to held-out data: give both")
        result = export(
            self._deployed(),
            target=self._target.name,
            precision=self._precision,
            ranges=calibrated.ranges,
            calib=calibrated.samples,
            data=None if data is None else read_calls(self._after_fusion().form, data, labels),
            metric=metric,
            budget=budget,
            out=out,
            allow_suspicious_data=calibrated.allow_suspicious,
        )
        return Conversion(result, self._target.name)

    def _deployed(self) -> Prepared:
        """What is exported: the captured model, with trained weights if there are any."""
        prepared = self._after_fusion().prepared
        if self._module is None or not self._after_calibration().trains:
            return prepared
        from edgeport.torch_view.fake_quantize import trained_graph

        trained, changed = trained_graph(prepared.canonical, self._module.view)
        if not changed:
            return prepared
        message = f"{len(changed)} constants were fine-tuned; drift is measured from the model as it was before"
        captured = replace(
            prepared.captured,
            digest=hashlib.sha256(f"{prepared.captured.digest}{graph_digest(trained)}".encode()).hexdigest(),
            findings=(*prepared.captured.findings, Finding("info", "fine-tuned", message)),
        )
        return Prepared(captured, trained, prepared.runner, prepared.canonical)

    def _after_fusion(self) -> _Fused:
        if self._fused is None:
            raise UsageError("call fuse_model first: it captures the module")
        return self._fused

    def _after_calibration(self) -> _Calibrated:
        self._after_fusion()
        if self._calibrated is None:
            raise UsageError("call prepare_quantization first: it calibrates on samples")
        return self._calibrated


def _precision(bits: int, target: str, precisions: Sequence[str]) -> str:
    """The precision of a width.

    Raises:
        UsageError: the target has none of this width.
    """
    there = [width for width, name in _PRECISIONS.items() if name in precisions]
    if bits not in there:
        raise UsageError(f"bits={bits}: the {target} target takes {' or '.join(map(str, there)) or 'no integers'}")
    return _PRECISIONS[bits]


def _check_mode(module: torch.nn.Module) -> None:
    """Refuses a module that drops elements, or normalizes by its batch.

    Raises:
        UsageError: names the first such submodule.
    """
    from torch.nn.modules.batchnorm import _BatchNorm
    from torch.nn.modules.dropout import _DropoutNd

    for name, part in module.named_modules():
        drops = part.p if isinstance(part, _DropoutNd) else getattr(part, "dropout", 0)
        random = isinstance(drops, int | float) and drops > 0
        if part.training and (random or isinstance(part, _BatchNorm)):
            raise UsageError(
                f"the module is in training mode ({name or 'itself'}: {type(part).__name__}); call .eval() on it first"
            )


def _is_one_of(tensor: torch.Tensor, others: Sequence[torch.Tensor]) -> bool:
    import torch

    return any(tensor.shape == other.shape and torch.equal(tensor.detach(), other.to(tensor.dtype)) for other in others)
