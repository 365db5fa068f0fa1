"""Device profiles of Jetson boards: complete, consistent, and clear about what a board lacks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgeport.errors import UsageError
from edgeport.export_options import check_precision
from edgeport.targets.contract import Target, facts_of
from edgeport.targets.registry import load_profile, profile_names
from edgeport.targets.tensorrt.board import FIRST_TYPED, board_of, remarks_on_board
from edgeport.targets.tensorrt.target import TENSORRT
from edgeport.targets.tensorrt.version import Version

JETSONS = [name for name in profile_names() if name.startswith("jetson-")]
PRECISIONS = ("fp32", "fp16", "int8", "int8-weights", "int4-weights", "fp8")
TARGET = cast(Target, SimpleNamespace(name="tensorrt", precisions=PRECISIONS))


def test_every_jetson_with_each_of_its_jetpacks_is_there() -> None:
    named = {f"jetson-{board}-jp4" for board in ("nano", "tx2", "xavier", "xavier-nx")}
    named |= {f"jetson-{board}-jp5" for board in ("xavier", "xavier-nx")}
    named |= {f"jetson-orin{size}-jp{pack}" for size in ("", "-nx", "-nano") for pack in (5, 6, 7)}
    assert set(JETSONS) == named | {"jetson-thor-jp7"}


@pytest.mark.parametrize("name", JETSONS)
def test_facts_fit_each_other(name: str) -> None:
    profile = load_profile(name)
    board = board_of(facts_of(profile))
    assert board.name == name
    assert board.oldest <= board.newest
    assert board.typed == (board.newest >= FIRST_TYPED)
    assert board.opset == (
        13 if board.oldest.minor < 4 and board.oldest.major == 8 else 17 if board.oldest.major < 10 else 21
    )
    assert board.dialect == ("trt10" if board.oldest >= FIRST_TYPED else "trt8")
    assert not board.cache or ("int8" in board.precisions and board.oldest < Version(11, 0))  # 11 reads none
    assert not board.dla or board.cache  # a DLA takes int8 through a cache only
    assert ("int8" in board.precisions) == (
        board.sm not in ("5.3", "6.2")
    )  # NVIDIA's int8 dot product: 6.1, 7.x and later
    assert ("fp8" in board.precisions) == (board.sm == "11.0")
    lacking: dict[str, Any] = profile.facts.get("lacks", {})
    assert set(board.precisions) | set(lacking) == set(PRECISIONS)
    assert not set(board.precisions) & set(lacking)


def test_no_two_profiles_claim_the_same_board_with_the_same_jetson_linux() -> None:
    claims = [
        (module, release)
        for name in JETSONS
        for recognize in [load_profile(name).facts["recognize"]]
        for module in recognize["modules"]
        for release in recognize["l4t"]
    ]
    assert len(claims) == len(set(claims))


@pytest.mark.parametrize("name", ["jetson-nano-jp4", "jetson-tx2-jp4"])
def test_a_board_without_int8_says_why(name: str) -> None:
    profile = load_profile(name)
    with pytest.raises(
        UsageError, match=r"--precision int8 .* no int8 hardware .*use --precision fp16.*takes fp32, fp16"
    ):
        check_precision(TARGET, "int8", profile)
    check_precision(TARGET, "fp16", profile)
    (finding,) = remarks_on_board(board_of(facts_of(profile)))
    assert finding.severity == "info"
    assert profile.facts["sm"] in finding.message


def test_a_board_with_int8_needs_no_remark() -> None:
    assert not remarks_on_board(board_of(facts_of(load_profile("jetson-orin-jp6"))))
    assert not remarks_on_board(board_of({}))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_without_a_profile_there_is_what_every_board_has(precision: str) -> None:
    if precision in ("fp32", "fp16", "int8"):
        assert TENSORRT.scheme(precision, None).precision == precision
        return
    with pytest.raises(
        UsageError, match=f"^{precision} is not for every board.*--profile.*fp32, fp16, int8$"
    ) as caught:
        TENSORRT.scheme(precision, None)
    (example,) = (name for name in profile_names() if name in str(caught.value))
    assert TENSORRT.scheme(precision, load_profile(example)).precision == precision
