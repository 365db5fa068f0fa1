"""`report.html`: the report as one file that needs nothing else, on a desk or on a phone."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from edgeport.report.encode import Json
from edgeport.report.wording import (
    BUDGET_STATE,
    RUNG_MEANING,
    STATUS,
    VERDICT,
    amount,
    closeness,
    decibels,
    interval,
    is_loud,
    kernel_word,
    layer_closeness,
    noise_share,
    scales,
    size,
    worst_index,
)

_FOLDER = Path(__file__).parent


def render_html(data: dict[str, Json]) -> str:
    """Renders what `build_report` made.

    Every string is escaped (names of models and nodes come from strangers), and the page's own policy forbids any
    script but the one of the template and any request to the network.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    env = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters |= {
        "amount": amount,
        "closeness": closeness,
        "compact": _compact,
        "decibels": decibels,
        "interval": interval,
        "kernel": kernel_word,
        "layer_closeness": layer_closeness,
        "loud": is_loud,
        "noise": noise_share,
        "scales": scales,
        "size": size,
        "worst": worst_index,
    }
    script = (_FOLDER / "report.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return env.get_template("report.html.j2").render(
        r=data,
        script=script,
        script_digest=digest,
        style=(_FOLDER / "report.css").read_text("utf-8"),
        status=STATUS,
        verdict=VERDICT,
        meaning=RUNG_MEANING,
        state=BUDGET_STATE,
    )


def _compact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
