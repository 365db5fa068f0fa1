"""`--target all`: every target that this machine and the other options have; what is left out is said, not refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgeport.errors import EdgeportError, ToolchainError, UsageError
from edgeport.export_options import ExportOptions, check_ends, check_machine, check_precision, scheme_passes
from edgeport.findings import Finding
from edgeport.targets.contract import Target
from edgeport.targets.registry import missing_requirements, target_names

ALL = "all"


def named(names: Sequence[str]) -> tuple[str, ...]:
    """The targets that a list of names means: `all` stands for every one there is."""
    found = [known for name in names for known in (target_names() if name == ALL else (name,))]
    return tuple(dict.fromkeys(found))


def available(options: ExportOptions, names: Sequence[str]) -> tuple[ExportOptions, tuple[Finding, ...]]:
    """The options without the targets that only `all` asked for and that cannot be built so.

    Args:
        options: with the targets that `named` gives.
        names: as the user gave them.

    Returns:
        The options, and for every target left out a finding with the reason and the way out.

    Raises:
        EdgeportError: none is left; it is the reason of the first, a missing toolchain before others.
    """
    if ALL not in names:
        return options, ()
    left, findings, reasons = [], [], []
    for target in options.targets:
        reason = None if target.name in names else _why_not(target, options)
        if reason is None:
            left.append(target)
            continue
        reasons.append(reason)
        missing = missing_requirements(target)
        if missing and isinstance(reason, ToolchainError):
            message = f"{target.name} is left out: {', '.join(missing)} is not installed"
            findings.append(
                Finding("info", "toolchain-missing", message, hint=f"pip install 'edgeport[{target.name}]'")
            )
        else:
            findings.append(Finding("info", "target-skipped", f"{target.name} is left out: {reason}"))
    if not left:
        raise min(reasons, key=lambda reason: not isinstance(reason, ToolchainError))
    return replace(options, targets=tuple(left)), tuple(findings)


def _why_not(target: Target, options: ExportOptions) -> EdgeportError | None:
    """What stands against a target under these options."""
    profile = options.device(target)
    try:
        scheme_passes((target,), options.scheme)
        check_precision(target, options.precision, profile)
        for layer in options.layer_precision:
            check_precision(target, layer.precision, profile, f"--layer-precision {layer.glob}=")
        options.scheme_of(target, {layer.glob: layer.precision for layer in options.layer_precision})
        check_ends(target, options)
        check_machine(target, options)
    except (UsageError, ToolchainError) as error:
        return error
    return None
