"""edgeport.toml: the flags' names, strict keys, paths relative to the file, and a flag beats it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeport.cli.commands import cli
from edgeport.cli.settings import merge, read_config
from edgeport.config import Config, load_config
from edgeport.errors import UsageError

NOT_IN_THE_FILE = {"for", "config", "dry-run", "quiet", "json", "no-cache", "layers", "help", "version"}


def write(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "edgeport.toml"
    path.write_text(text)
    return path


def test_keys_are_the_flags() -> None:
    flags = {
        option.removeprefix("--")
        for command in cli.commands.values()
        for param in command.params
        for option in (*param.opts, *param.secondary_opts)
    }
    keys = {str(field.alias) for field in Config.model_fields.values()}
    assert keys - {"preprocessing"} == flags - NOT_IN_THE_FILE - {"artifact", "h"}


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = load_config(
        write(
            tmp_path / "app",
            'source = "m.onnx"\ncalib = "samples"\nmetric = "metric.py:accuracy"\nout = "/absolute/out"\n',
        )
    )
    assert config.source == str(tmp_path / "app" / "m.onnx")
    assert config.calib == str(tmp_path / "app" / "samples")
    assert config.metric == str(tmp_path / "app" / "metric.py:accuracy")
    assert config.out == "/absolute/out"


def test_names_take_commas_or_lists_and_entries_keep_their_commas(tmp_path: Path) -> None:
    config = load_config(
        write(tmp_path, 'target = "tflite, coreml"\npasses-drop = ["a", "b"]\ninput = "x:float32[1,3]"\n')
    )
    assert config.target == ["tflite", "coreml"]
    assert config.passes_drop == ["a", "b"]
    assert config.input == ["x:float32[1,3]"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('precison = "int8"', "unknown key 'precison'; did you mean 'precision'?"),
        ("allow_suspicious_data = true", "did you mean 'allow-suspicious-data'?"),
        ("zzz = 1", "unknown key 'zzz'; use one of source, target"),
        ("precision = 8", "precision = 8"),
        ("cache = 'no'", "cache = 'no'"),
        ("budget = [25]", "budget = 25"),
        ("precision = ", "not valid TOML"),
        ("a = 1\nb = 2", "(and 1 more)"),
    ],
)
def test_wrong_files_are_refused_in_one_line(tmp_path: Path, text: str, expected: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError) as refusal:
        load_config(path)
    message = str(refusal.value)
    assert expected in message
    assert str(path) in message
    assert "\n" not in message


def test_missing_explicit_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        load_config(tmp_path / "none.toml")


def test_file_of_the_folder_is_found_and_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_config(None, quiet=False) == Config()
    assert capsys.readouterr().err == ""
    write(tmp_path, 'profile = "pixel-8"\n')
    assert read_config(None, quiet=False).profile == ["pixel-8"]
    captured = capsys.readouterr()
    assert "using ./edgeport.toml" in captured.err
    assert captured.out == ""
    assert read_config(None, quiet=True).profile == ["pixel-8"]
    assert capsys.readouterr().err == ""


def test_flag_beats_file() -> None:
    config = Config(precision="fp16", budget=["sqnr>=25"], out="build", cache=False)
    flags = {"precision": "int8", "budget": (), "out": None, "cache": None, "ranges": None, "input": ("x:bool[1]",)}
    assert merge(flags, config) == {
        "precision": "int8",
        "budget": ["sqnr>=25"],
        "out": Path("build"),
        "cache": False,
        "inputs": ("x:bool[1]",),
    }


def test_statistics_on_the_command_line_replace_calibration_data_of_the_file() -> None:
    flags = {"calib": None, "statistics": "s.safetensors"}
    assert merge(flags, Config(calib="samples")) == {"statistics": Path("s.safetensors")}
    flags = {"calib": "samples", "statistics": None}
    assert merge(flags, Config(statistics="s.safetensors")) == {"calib": "samples"}
