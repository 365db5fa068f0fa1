"""What the guides point at exists."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from edgeport.calibration import Preprocessing
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
