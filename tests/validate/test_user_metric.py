from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeport.errors import CalibrationError, UsageError
from edgeport.validate.user_metric import as_metric, load_metric, sample_value, task_values


def loaded(folder: Path, text: str):  # type: ignore[no-untyped-def]
    path = folder / "metric.py"
    path.write_text(text)
    return load_metric(f"{path}:score")


@pytest.mark.parametrize(
    ("parameters", "form", "label"),
    [
        ("run", "task", "never"),
        ("run, verbose=False", "task", "never"),
        ("sample, outputs", "per-sample", "never"),
        ("sample, outputs, threshold=0.5", "per-sample", "never"),
        ("sample, outputs, label=None", "per-sample", "optional"),
        ("sample, outputs, label", "per-sample", "required"),
        ("s, o, y, *, k=3", "per-sample", "required"),
    ],
)
def test_form_follows_from_the_parameters(tmp_path: Path, parameters: str, form: str, label: str) -> None:
    metric = loaded(tmp_path, f"def score({parameters}):\n    return 1\n")
    assert (metric.name, metric.form, metric.label) == ("score", form, label)


@pytest.mark.parametrize("parameters", ["", "*args", "a, b, c, d", "run, *, k", "run=None"])
def test_other_forms_are_refused(tmp_path: Path, parameters: str) -> None:
    with pytest.raises(UsageError, match=r"--metric metric\.py:score takes .*metric\(run\)"):
        loaded(tmp_path, f"def score({parameters}):\n    return 1\n")


def test_values(tmp_path: Path) -> None:
    outputs = {"y": np.array([3.0])}
    metric = loaded(tmp_path, "def score(s, o, label=None):\n    return o['y'][0] + (label or 0)\n")
    assert sample_value(metric, {}, outputs, 2) == 5
    assert sample_value(metric, {}, outputs, None) == 3
    assert task_values(as_metric(lambda run: np.float32(0.5), "acc"), lambda s: []) == {"acc": 0.5}
    assert task_values(as_metric(lambda run: {"a": 1, "b": True}, "acc"), lambda s: []) == {"a": 1.0, "b": 1.0}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return 'high'", "must return a number or a mapping"),
        ("return None", "must return a number"),
        ("return float('nan')", "must be finite"),
        ("return {}", "returned no value"),
        ("return {'a': [1, 2]}", "must return a number"),
        ("x = {}\n    return x['k']", "metric.py:3: KeyError: 'k'"),
    ],
)
def test_bad_metrics_are_one_line(tmp_path: Path, body: str, words: str) -> None:
    metric = loaded(tmp_path, f"def score(run):\n    {body}\n")
    with pytest.raises(UsageError) as caught:
        task_values(metric, lambda s: [])
    assert words in str(caught.value)
    assert str(caught.value).startswith("--metric metric.py:score")
    assert "\n" not in str(caught.value)


def test_the_runners_own_errors_pass_through() -> None:
    def run(sample: object) -> list[object]:
        raise CalibrationError("input 'x' is missing")

    with pytest.raises(CalibrationError, match="'x' is missing"):
        task_values(as_metric(lambda r: r({}), "m"), run)  # type: ignore[arg-type]
