from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgeport.entry import is_entry, load_callable, user_code
from edgeport.errors import CalibrationError, UsageError


def write(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_loads_and_calls(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "import dataclasses\n@dataclasses.dataclass\nclass A:\n    x: int\n\ndef f(a):\n    return A(a).x + 1\n",
    )
    assert load_callable(f"{path}:f")(1) == 2


def test_siblings_import_at_load_and_in_functions(tmp_path: Path) -> None:
    write(tmp_path, "VALUE = 7\n", "edgeport_test_sibling_one.py")
    write(tmp_path, "VALUE = 8\n", "edgeport_test_sibling_two.py")
    path = write(
        tmp_path,
        "from edgeport_test_sibling_one import VALUE\n"
        "def f():\n    from edgeport_test_sibling_two import VALUE as b\n    return VALUE, b\n",
    )
    before = list(sys.path)
    try:
        assert load_callable(f"{path}:f")() == (7, 8)
        assert sys.path[: len(before)] == before
    finally:
        sys.path[:] = before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f():\n    pass\nraise ValueError('no\\nmore')\n", "mine.py:3: ValueError: no"),
        ("def f(:\n", "mine.py:1: SyntaxError"),
        ("import no_such_module_at_all\n", "mine.py:1: ModuleNotFoundError"),
        ("raise SystemExit(3)\n", "mine.py:1: SystemExit: 3"),
        ("def metrics(): ...\n", "has no 'metric'; did you mean 'metrics'?"),
        ("metric = 3\n", "'metric' is a int, not a callable"),
    ],
)
def test_errors_are_one_line_with_place(tmp_path: Path, text: str, expected: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        load_callable(f"{path}:metric", "--metric")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("--metric ")


@pytest.mark.parametrize("text", ["mine.py", "mine.txt:f", "mine.py:", "mine.py:a.b", ":f"])
def test_other_forms_are_refused(text: str) -> None:
    assert not is_entry(text)
    with pytest.raises(UsageError, match=r"is not file\.py:callable"):
        load_callable(text)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_callable(f"{tmp_path}/none.py:f")


def test_user_code_names_the_users_line_not_the_library(tmp_path: Path) -> None:
    path = write(tmp_path, "import json\ndef f():\n    return json.loads('{')\n")
    function = load_callable(f"{path}:f")
    with pytest.raises(UsageError, match=r"--metric: mine.py:3: JSONDecodeError"), user_code("--metric", path):
        function()


def test_user_code_lets_edgeport_errors_through() -> None:
    with pytest.raises(CalibrationError, match="bad data"), user_code("x"):
        raise CalibrationError("bad data")
