"""What the drift ladder says: which step causes the drift, and what is wrong with the numbers themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping

from edgeport.findings import Finding
from edgeport.validate.metrics import OutputMetrics
from edgeport.validate.rungs import Blame, RungName

Measured = Mapping[RungName, tuple[OutputMetrics, ...]]
"""Measured step, in ladder order with `total` last -> its outputs, in the same order for all."""

_QUIET_DB = 100.0
"""Total SQNR from which no step deserves blame: float32 rounding through a network leaves about as much."""


def find_blame(rungs: Measured) -> Blame:
    """Compares the noise power (sum of squared differences) of the steps in the output with the lowest total SQNR.

    The kernels step runs through the lowering too, so the lowering's own noise is taken off it. Noises of
    different steps may be correlated; the shares are of the sum of the steps' powers, not of the total's.
    """
    totals = rungs["total"]
    steps: list[RungName] = [name for name in rungs if name != "total"]
    if all(t.identical for t in totals):
        return Blame("No drift: every output equals the source's.")
    for index, total in enumerate(totals):
        if total.nonfinite or total.reference_nonfinite:
            bad = next(n for n in rungs if rungs[n][index].nonfinite or rungs[n][index].reference_nonfinite)
            return Blame(
                f"Output {total.output!r} gains or loses NaN or infinity in the {bad} step.", bad, total.output
            )
    worst = min(range(len(totals)), key=lambda i: _quality(totals[i]))
    total = totals[worst]
    powers = {name: rungs[name][worst].noise for name in steps}
    if total.noise is None or any(p is None for p in powers.values()):
        return _first_difference(rungs, worst)
    own: dict[RungName, float] = {name: power or 0.0 for name, power in powers.items()}
    if "kernels" in own and "lowering" in own:
        own["kernels"] = max(0.0, own["kernels"] - own["lowering"])
    whole = math.fsum(own.values())
    if whole == 0:  # differences too small to square
        return _first_difference(rungs, worst)
    shares = {name: power / whole for name, power in own.items()}
    rung = max(shares, key=lambda name: shares[name])  # the earlier step of two equal ones
    cause = f"the {rung} step causes {shares[rung]:.0%} of the noise in output {total.output!r}"
    if total.sqnr_db is None:
        sentence = f"T{cause[1:]}."
    elif total.sqnr_db >= _QUIET_DB:
        sentence = f"Next to no drift (total SQNR {total.sqnr_db:.1f} dB); {cause}."
    else:
        sentence = f"T{cause[1:]} (total SQNR {total.sqnr_db:.1f} dB)."
    return Blame(sentence, rung, total.output, shares)


def _first_difference(rungs: Measured, index: int) -> Blame:
    """Blame without powers: the first step that changes an output."""
    changed = next(name for name in rungs if not rungs[name][index].identical)
    output = rungs[changed][index].output
    return Blame(f"Output {output!r} first differs in the {changed} step.", changed, output)


def find_faults(rungs: Measured) -> tuple[Finding, ...]:
    """Findings about outputs whose drift is not a number, or says nothing."""
    findings = []
    for index, total in enumerate(rungs["total"]):
        if total.nonfinite:
            first = next(name for name, outputs in rungs.items() if outputs[index].nonfinite)
            findings.append(
                Finding(
                    "error",
                    "non-finite-output",
                    f"output {total.output!r} of the artifact has {total.nonfinite} NaN or infinite values where the "
                    f"source's are finite, first seen in the {first} rung",
                    hint="keep the nodes before that output in float, or use a wider precision",
                )
            )
        if total.reference_nonfinite:
            findings.append(
                Finding(
                    "warning",
                    "reference-not-finite",
                    f"output {total.output!r} of the source has {total.reference_nonfinite} NaN or infinite values "
                    "that the artifact does not repeat, so its distance is not defined",
                    hint="check the held-out data, or return the output before masking",
                )
            )
        elif total.signal == 0 and not total.nonfinite:
            findings.append(
                Finding(
                    "warning",
                    "silent-reference",
                    f"output {total.output!r} of the source is zero in all {total.samples} held-out samples, "
                    "so its drift says little",
                    hint="give held-out data that look like real inputs",
                )
            )
    return tuple(findings)


def _quality(total: OutputMetrics) -> float:
    """Orders outputs from worst to best: SQNR where there is one, then integer outputs that differ."""
    if total.identical:
        return math.inf
    if total.exact_match is not None:
        return 200.0 + total.exact_match  # after every float output: their SQNR says more
    return -math.inf if total.sqnr_db is None else total.sqnr_db
