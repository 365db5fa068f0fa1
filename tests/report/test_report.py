from __future__ import annotations

import io
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from export_report import HOSTILE, make_ladder, make_plan, make_report
from rich.console import Console

from edgeport.quantize.plan import NodePlan, Plan, QParams
from edgeport.report.build import build_report, plan_data, write_report
from edgeport.report.contents import ExportReport, TargetReport
from edgeport.report.encode import jsonable, portable, to_text
from edgeport.report.html import render_html
from edgeport.report.tables import finding_table, plan_tables, print_report
from edgeport.report.wording import closeness, noise_share, size
from edgeport.validate.second import SecondDrift


class Page(HTMLParser):
    """Collects tags, attributes and the text outside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.text += data


def numbers(value: object) -> list[float]:
    if isinstance(value, dict):
        return [n for v in value.values() for n in numbers(v)]
    if isinstance(value, list):
        return [n for v in value for n in numbers(v)]
    return [value] if isinstance(value, float) else []


def test_json_is_complete_finite_and_free_of_paths() -> None:
    data = json.loads(to_text(build_report(make_report())))
    assert data["schema_version"] == 1
    tflite, fp16, coreml = data["targets"]
    rungs = {r["name"]: r for r in tflite["ladder"]["rungs"]}
    assert list(rungs) == ["capture", "lowering", "quantization", "kernels", "total"]
    ladder = make_ladder()
    for name, rung in rungs.items():
        assert rung["outputs"][0]["sqnr_db"] == ladder.rung(name).outputs[0].sqnr_db  # type: ignore[arg-type]
    assert {r["name"] for r in fp16["ladder"]["rungs"] if r["reason"]} == {"quantization", "kernels"}
    assert (coreml["ladder"], coreml["plan"], coreml["status"]) == (None, None, "skipped")
    assert tflite["bytes"] == 84_312  # golden samples do not ship
    (first, *_) = make_report().targets
    named = replace(make_report(), targets=(replace(first, facts={"bytes": 5}),))
    assert json.loads(to_text(build_report(named)))["targets"][0]["bytes"] == 5  # of one file where there are more
    assert [b["passed"] for b in tflite["budgets"]] == [True, False, False]
    assert data["options"]["calib"] == "calib.npz"
    assert "/home/someone" not in json.dumps(data)
    assert numbers(data)
    assert all(math.isfinite(n) for n in numbers(data))
    assert "findings" not in tflite["ladder"]  # they stand in the target's


def test_nan_outputs_give_json_without_nan() -> None:
    report = ExportReport("m", {}, "int8", targets=(TargetReport("t", "int8", "failed", ladder=make_ladder(nan=True)),))
    data = json.loads(to_text(build_report(report)))
    output = data["targets"][0]["ladder"]["rungs"][-1]["outputs"][0]
    assert (output["sqnr_db"], output["nonfinite"], output["identical"]) == (None, 64, False)
    page = Page(render_html(data)).text
    assert "not finite" in page


def test_plan_counts_and_rows() -> None:
    plan = plan_data(make_plan(5))
    assert plan["kernels"] == {"float32": 7, "int8": 5}
    assert sum(row["nodes"] for row in plan["reasons"]) == 12
    assert [row["nodes"] for row in plan["reasons"]] == [6, 5, 1]
    rows = {row["name"]: row for row in plan["tensors"]}
    assert len(rows) == 11
    assert rows["features.0.weight"] == {
        "name": "features.0.weight",
        "role": "weight",
        "dtype": "int8",
        "channels": 16,
        "axis": 0,
        "scale_min": 0.001,
        "scale_max": 0.02,
        "zero_point": 0,
        "reason": "weights of a Conv",
    }
    assert rows[HOSTILE]["dtype"] == "float32"
    assert "scale_min" not in rows[HOSTILE]
    assert plan["nodes"][0]["reason"] == "no integer kernel for this axis"


def test_reasons_that_differ_in_a_name_count_together() -> None:
    nodes = {f"n/{i}": NodePlan(f"n/{i}", "Relu", "int8", f"runs inside Conv n/{i - 1}, fused") for i in range(1, 4)}
    [row, single] = plan_data(Plan("int8", {}, nodes))["reasons"]
    assert row == {"kernel": "int8", "reason": "runs inside Conv …, fused", "nodes": 2}
    assert single["reason"] == "runs inside Conv n/0, fused"  # n/0 is no node of this plan


def test_files_have_the_same_bytes_twice_and_in_another_process(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_report(tmp_path / name, make_report())
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\nfrom export_report import make_report\n"
        "from edgeport.report.build import write_report\n"
        f"p = Path({str(tmp_path / 'c')!r}); p.mkdir(); write_report(p, make_report())\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONHASHSEED": "77"})
    for file in ("report.json", "report.html"):
        first = (tmp_path / "a" / file).read_bytes()
        assert first == (tmp_path / "b" / file).read_bytes() == (tmp_path / "c" / file).read_bytes()


def test_page_is_self_contained_and_escapes_hostile_names() -> None:
    text = render_html(build_report(make_report()))
    page = Page(text)
    tags = [tag for tag, _ in page.tags]
    assert "img" not in tags
    assert not {"link", "iframe", "object", "embed"} & set(tags)
    assert tags.count("script") == 1
    for _, attributes in page.tags:
        assert not any(name.startswith("on") or name in ("src", "href") for name in attributes)
    assert not re.search(r"https?://", text)
    assert HOSTILE in page.text  # shown as it is, and not evaluated as a template
    assert "49" not in page.text.split(HOSTILE)[0]
    assert "url(" not in text
    assert "@import" not in text


def test_the_policy_allows_the_pages_own_script_only() -> None:
    import base64
    import hashlib

    text = render_html(build_report(make_report()))
    [policy] = [a["content"] for t, a in Page(text).tags if t == "meta" and a.get("http-equiv")]
    [script] = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_page_shows_the_figures_of_the_report() -> None:
    data = build_report(make_report())
    page = Page(render_html(data)).text
    for rung in data["targets"][0]["ladder"]["rungs"]:
        assert f"{rung['outputs'][0]['sqnr_db']:.1f} dB" in page
    assert data["targets"][0]["ladder"]["blame"]["sentence"] in page
    for words in (
        "over budget",
        "skipped",
        "coremltools is not installed",
        "84.3 kB",
        "not applicable",
        "both inputs are activations",
    ):
        assert words in page
    widths = [a["style"] for t, a in Page(render_html(data)).tags if a.get("class") == "bar"]
    first = [f"width:{noise_share(r['outputs'][0])}%" for r in data["targets"][0]["ladder"]["rungs"]]
    assert widths[:5] == first


def test_smallest_report_renders() -> None:
    data = build_report(ExportReport("m", {}, "fp32"))
    assert "m" in Page(render_html(data)).text
    print_report(data, Console(file=io.StringIO()))


@pytest.mark.parametrize("width", [80, 110, 160])
def test_tables_say_the_same(width: int) -> None:
    data = build_report(make_report())
    stream = io.StringIO()
    print_report(data, Console(file=stream, width=width))
    text = stream.getvalue()
    for rung in data["targets"][0]["ladder"]["rungs"]:
        assert f"{rung['outputs'][0]['sqnr_db']:.1f} dB" in text
    words = " ".join(text.split())
    assert data["targets"][0]["ladder"]["blame"]["sentence"].split(" (")[0] in words
    assert max(len(line) for line in text.splitlines()) <= width


def test_a_second_runtime_is_named_with_its_samples() -> None:
    report = make_report()
    first, *others = report.targets
    assert first.ladder is not None
    outputs = first.ladder.rung("total").outputs
    facts = {"rounding": "Floats are rounded otherwise here."}
    second = SecondDrift("torch 2.13.0+cpu lite interpreter", 4, facts, outputs, outputs, outputs)
    data = build_report(replace(report, targets=(replace(first, second=second), *others)))
    console = Console(file=io.StringIO(), width=160)
    print_report(data, console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert any(line.split()[0] == "torch" and "4 samples" in line for line in lines if line.strip())
    page = " ".join(Page(render_html(data)).text.split())
    assert "torch 2.13.0+cpu lite interpreter The first 4 held-out samples. Floats are rounded otherwise here." in page


def test_tables_take_no_markup_and_no_control_codes_from_names() -> None:
    finding = {
        "severity": "error",
        "code": "c",
        "message": "[red]x[/red]\x1b[2J",
        "node": "[/bold]",
        "op": None,
        "hint": None,
    }
    stream = io.StringIO()
    Console(file=stream, width=100).print(finding_table([finding]))
    assert "[/bold]: [red]x[/red]�[2J" in stream.getvalue()


def test_plan_tables() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=150)
    plan = plan_data(make_plan(3))
    for table in plan_tables(plan):
        console.print(table)
    text = stream.getvalue()
    assert "/features/block.2/conv/Conv" in text
    assert "0.001 … 0.02 (16 channels)" in text
    assert len(plan_tables(plan, every=False)) == 1


def test_encoding() -> None:
    assert jsonable({"b": np.float32(0.1), "a": (np.int64(3), float("inf"), np.nan, None, True)}) == {
        "a": [3, None, None, None, True],
        "b": 0.1,
    }
    assert jsonable(np.array([[1.5, np.inf]])) == [[1.5, None]]
    assert jsonable({"z", "a"}) == ["a", "z"]
    assert jsonable(QParams("int8", np.float32(0.5), np.int32(3))) == {
        "dtype": "int8",
        "scale": 0.5,
        "zero_point": 3,
        "axis": None,
        "narrow": False,
        "block": None,
    }
    with pytest.raises(TypeError, match="no JSON form for object"):
        jsonable(object())


def test_portable_takes_folders_off_existing_paths_only(tmp_path: Path) -> None:
    file = tmp_path / "metric.py"
    file.write_text("")
    assert portable({"m": f"{file}:f", "p": str(file), "i": ["/x:float32[1]", "/model/Conv"], "c": tmp_path}) == {
        "c": tmp_path.name,
        "i": ["/x:float32[1]", "/model/Conv"],
        "m": "metric.py:f",
        "p": "metric.py",
    }


def test_wording() -> None:
    sizes = {0: "0 B", 999: "999 B", 1000: "1 kB", 84_312: "84.3 kB", 999_999: "1 MB", 3_456_789: "3.46 MB"}
    assert {n: size(n) for n in sizes} == sizes
    assert size(10**10) == "10 GB"
    output = {"identical": False, "nonfinite": 0, "reference_nonfinite": 0, "exact_match": None, "sqnr_db": 60.0}
    assert (closeness(output), noise_share(output)) == ("60.0 dB", 50.0)
    assert noise_share(output | {"sqnr_db": -3.0}) == 100
    assert noise_share(output | {"sqnr_db": 150.0}) == 0
    assert noise_share(output | {"sqnr_db": None}) == 100
    assert (closeness(output | {"sqnr_db": None}), closeness(output | {"identical": True})) == (
        "not defined",
        "identical",
    )
    assert noise_share(output | {"exact_match": 0.75}) == 25
