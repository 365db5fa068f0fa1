"""What the guides point at exists."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import click
import pytest

from edgeport.calibration import Preprocessing
from edgeport.cli.commands import cli
from edgeport.config import Config

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md"))
)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert ((ROOT / page).parent / link).exists(), link


def test_files_named_in_contributing_exist() -> None:
    named = re.findall(r"`([\w.-]+(?:/[\w.-]*)+)`", (ROOT / "CONTRIBUTING.md").read_text())
    assert len(named) > 10
    for path in named:
        assert (ROOT / path).exists(), path


def test_configurations_in_the_guide_are_accepted() -> None:
    tables = [
        tomllib.loads(block)
        for page in ("cli.md", "calibration.md")
        for block in re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    ]
    assert len(tables) == 2
    for table in tables:
        config = Config.model_validate(table)
        Preprocessing.parse(config.preprocessing or {})
    assert set(tables[1]["preprocessing"]) == set(Preprocessing.model_fields)


def _codes(source: Path) -> set[str]:
    """Finding codes that a file gives out, also through the errors that become findings."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Call):
            called = getattr(node.func, "id", "")
            place = {"Finding": 1, "Refused": 2, "rule": 0}.get(called, len(node.args))
            given = [*node.args[place : place + 1], *(k.value for k in node.keywords if k.arg == "code")]
            found |= {value.value for value in given if isinstance(value, ast.Constant) and value.value}
    return found


def test_finding_codes_in_the_guide_are_those_of_the_source() -> None:
    sources = [path for folder in ("edgeport", "targets", "calibration") for path in (ROOT / folder).rglob("*.py")]
    given = set().union(*map(_codes, sources))
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "findings.md").read_text(), re.MULTILINE)
    listed = {code for row in rows for code in re.findall(r"`([\w-]+)`", row)}
    computed = {"constant-data", "noise-like-data", "unsupported-variant"}  # chosen at run time, or a default
    assert len(given) > 30
    assert given | computed == listed


def test_flags_in_the_guide_are_those_of_the_commands() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    flags = {
        flag
        for command in cli.commands.values()
        for option in command.params
        if isinstance(option, click.Option)
        for flag in (*option.opts, *option.secondary_opts)
        if flag.startswith("--")
    }
    defaults = {"--cache", "--help"}  # what is said anyway
    assert flags - defaults == set(re.findall(r"`(--[\w-]+)", text))
