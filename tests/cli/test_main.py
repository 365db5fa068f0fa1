"""The command line's contract: exit codes, one line per error, one envelope with --json, a light start."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import edgeport
from edgeport.cli.commands import cli
from edgeport.cli.main import run
from edgeport.targets.registry import profile_names

COMMANDS = ("calibrate", "doctor", "export", "inspect", "targets", "validate")
ENVELOPE_KEYS = ["schema_version", "command", "ok", "result", "findings", "error"]


def edgeport_process(*arguments: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgeport", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **env},
    )


@pytest.mark.parametrize("arguments", [["--help"], ["export", "--help"], ["--version"]])
def test_start_imports_no_heavy_module(arguments: list[str]) -> None:
    code = (
        "import sys; from edgeport.cli.main import run; code = run(sys.argv[1:]);"
        "heavy = {'numpy', 'onnx', 'onnx_ir', 'onnxruntime', 'torch', 'pydantic', 'rich', 'PIL', 'ai_edge_litert'};"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (0, "[]")


def test_help_lists_exactly_the_built_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    listed = capsys.readouterr().out.split("Commands:\n")[1].split("\n\n")[0]
    assert tuple(line.split()[0] for line in listed.splitlines()) == COMMANDS


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert edgeport.__version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["exprot", "m.onnx"], "export"),
        (["export", "m.onnx", "--precison", "int8"], "--precision"),
        (["export", "m.onnx", "--budgets", "sqnr>=25"], "--budget"),
        (["export", "m.onnx"], "--out"),
        (["export", "--out", "x"], "SOURCE"),
        (["export", "m.onnx", "extra", "--out", "x"], "extra"),
        (["export", "m.onnx", "--out"], "--out"),
        (["calibrate", "m.onnx", "--out", "s.safetensors"], "--calib"),
        (["calibrate", "m.onnx", "--calib", "d"], "--out"),
        (["validate", "a.tflite", "m.onnx"], "--data"),
        (["validate"], "ARTIFACT"),
    ],
)
def test_usage_errors_exit_2_in_one_line(
    arguments: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert expected in captured.err
    assert len(captured.err.splitlines()) == 1

    assert run([*arguments, "--json"]) == 2 if arguments[-1] != "--out" else True
    if arguments[-1] == "--out":  # there --json would be taken as the value
        return
    body = json.loads(capsys.readouterr().out)
    assert list(body) == ENVELOPE_KEYS
    assert body["ok"] is False
    assert body["result"] is None
    assert body["error"]["type"] == "UsageError"
    assert body["error"]["exit_code"] == 2
    assert expected in body["error"]["message"]


def test_no_arguments_show_help_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert "Commands:" in capsys.readouterr().out


def test_json_after_the_end_of_options_is_not_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", "--", "--json", "more"]) == 2
    assert capsys.readouterr().out == ""


def test_unexpected_exception_is_one_line_without_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgeport import api

    def broken() -> None:
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr(api, "targets", broken)
    monkeypatch.delenv("EDGEPORT_TRACEBACK", raising=False)
    assert run(["targets", "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["error"]["exit_code"] == 1
    (line,) = captured.err.splitlines()
    assert "internal error" in line
    assert "RuntimeError: first second" in line
    assert "EDGEPORT_TRACEBACK=1" in line

    monkeypatch.setenv("EDGEPORT_TRACEBACK", "1")
    assert run(["targets"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_interrupt_exits_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from edgeport import api

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "targets", interrupted)
    assert run(["targets", "--json"]) == 130
    assert json.loads(capsys.readouterr().out)["error"]["exit_code"] == 130


def test_the_table_of_targets_is_as_wide_as_a_page_and_holds_every_device_in_one_piece(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["targets"]) == 0
    piped = capsys.readouterr().out
    assert max(map(len, piped.splitlines())) < 180, "in a pipe nothing is cut, so that a cell's length is the table's"
    assert set(profile_names()) <= set(piped.replace(",", " ").split())


def test_targets_and_doctor_as_tables_and_json() -> None:
    for command in ("targets", "doctor"):
        table = edgeport_process(command)
        assert table.returncode == 0, table.stderr
        assert "tflite" in table.stdout
        assert "\x1b[" not in table.stdout  # a pipe gets no colours
        envelope = edgeport_process(command, "--json")
        assert envelope.returncode == 0
        body = json.loads(envelope.stdout)
        assert list(body) == ENVELOPE_KEYS
        assert (body["command"], body["ok"], body["error"]) == (command, True, None)


def test_quiet_prints_nothing() -> None:
    done = edgeport_process("targets", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_reader_that_leaves_early_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "edgeport", "targets", "--json"], stdout=write, stderr=subprocess.PIPE, text=True
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_closed_streams_are_no_error() -> None:
    command = f'"{sys.executable}" -m edgeport exprot --json >&- 2>&-'
    assert subprocess.run(["/bin/sh", "-c", command]).returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_full_disk_under_stdout_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edgeport", "exprot", "--json"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2  # the first failure's code stands
    assert done.stderr.splitlines()[1] == ("edgeport: the result cannot be written to stdout: No space left on device")


def test_guide_lists_the_flags_of_export() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    listed = set(re.findall(r"--[a-z][a-z-]*", guide.split("## export")[1].split("## inspect")[0]))
    flags = {option for param in cli.commands["export"].params for option in (*param.opts, *param.secondary_opts)}
    # --quiet and --json, which every command has, stand above; the example names no others.
    assert listed == flags - {"source", "--quiet", "--json", "--cache"}
