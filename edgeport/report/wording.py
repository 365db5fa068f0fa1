"""Numbers and states in words: one wording for the page and the terminal. All take what `build_report` made."""

from __future__ import annotations

from collections.abc import Mapping

from edgeport.report.encode import Json

STATUS = {
    "ok": "done",
    "planned": "planned, nothing written",
    "over-budget": "over budget",
    "failed": "failed",
    "skipped": "skipped",
}
VERDICT = {
    "measured": "measured in the target's own runtime",
    "reference-verified": "verified with an independent evaluator, not in the target's runtime",
    "checked-not-run": "checked, not run on hardware",
}
RUNG_MEANING = {
    "capture": "source → canonical graph",
    "lowering": "canonical graph → float file",
    "quantization": "canonical → quantized graph",
    "kernels": "quantized graph → artifact",
    "total": "source → artifact",
}
BUDGET_STATE = {
    (True, True): ("ok", "within"),
    (True, False): ("warning", "within, not certain"),
    (False, True): ("error", "over"),
}
_QUIET_DB = 120.0
"""SQNR at which a noise bar has no length: float32 rounding through a deep network leaves about that."""


def closeness(output: Mapping[str, Json]) -> str:
    """One output's distance in a few characters: `41.2 dB`, `identical`, `98.1 % equal`, `NaN`."""
    if output["identical"]:
        return "identical"
    if output["nonfinite"] or output["reference_nonfinite"]:
        return "not finite"
    if output["exact_match"] is not None:
        return f"{100 * output['exact_match']:.1f} % equal"
    return "not defined" if output["sqnr_db"] is None else f"{output['sqnr_db']:.1f} dB"


def layer_closeness(layer: Mapping[str, Json]) -> str:
    """One inner tensor's distance in a few characters."""
    return "identical" if layer["identical"] else decibels(layer["sqnr_db"])


def decibels(value: float | None) -> str:
    """`41.2 dB`, `–` for none."""
    return "–" if value is None else f"{value:.1f} dB"


def noise_share(output: Mapping[str, Json]) -> float:
    """Length of a noise bar from 0 to 100, linear in dB: 0 at 120 dB SQNR or better, 100 at 0 dB or worse."""
    if output["identical"]:
        return 0.0
    if output["exact_match"] is not None:
        share = 1 - float(output["exact_match"])
    else:
        share = 1 - float(output["sqnr_db"] or 0) / _QUIET_DB
    return round(100 * min(1.0, max(0.0, share)), 1)


def is_loud(output: Mapping[str, Json]) -> bool:
    """Whether an output's noise deserves a colour: 100 dB and better is what float rounding leaves."""
    return noise_share(output) > 100 * (1 - 100 / _QUIET_DB)


def worst_index(ladder: Mapping[str, Json]) -> int:
    """Index of the output that the ladder's sentence is about, the first where there is no drift."""
    names = [output["output"] for output in ladder["rungs"][-1]["outputs"]]
    return names.index(ladder["blame"]["output"]) if ladder["blame"]["output"] in names else 0


def amount(value: Json, digits: int = 4) -> str:
    """A number with few digits, `–` for none."""
    if value is None:
        return "–"
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def interval(value: Mapping[str, Json] | None) -> str:
    """`0.002 to 0.013`, `–` for none."""
    return "–" if value is None else f"{value['low']:.3g} to {value['high']:.3g}"


def size(count: int) -> str:
    """Bytes in decimal units, as app stores and file managers count them."""
    if count < 1000:
        return f"{count} B"
    count = round(count, 3 - len(str(count)))
    power = min(3, (len(str(count)) - 1) // 3)
    return f"{count / 1000**power:.3g} {('kB', 'MB', 'GB')[power - 1]}"


def scales(tensor: Mapping[str, Json]) -> str:
    """A tensor's scale, or the range of its channels' scales."""
    if "scale_min" not in tensor:
        return ""
    low, high = tensor["scale_min"], tensor["scale_max"]
    text = f"{low:.4g}" if low == high else f"{low:.4g} … {high:.4g}"
    return text if tensor["channels"] == 1 else f"{text} ({tensor['channels']} channels)"


def kernel_word(kernel: str) -> str:
    """A kernel of a plan: `float32` is none in integers, whatever floats the target computes in."""
    return "float" if kernel == "float32" else kernel
