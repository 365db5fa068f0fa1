from __future__ import annotations

import pytest

from edgeport.capture.input_shapes import DeclaredInput, fix_inputs
from edgeport.errors import ModelError, UsageError
from edgeport.sample import parse_input_spec

IMAGE = DeclaredInput("image", "float32", ("N", 3, "H", "W"))
IDS = DeclaredInput("ids", "int64", ("batch", "seq"))
MASK = DeclaredInput("mask", "int64", ("batch", "seq"))


def fixed(*declared: DeclaredInput, flags: tuple[str, ...] = (), keep: bool = False) -> list[str]:
    return [str(s) for s in fix_inputs(declared, [parse_input_spec(f) for f in flags], keep).specs]


def test_static_inputs_stay() -> None:
    assert fixed(DeclaredInput("x", "float32", (2, 5))) == ["x:float32[2,5]"]


def test_a_flag_fixes_every_dimension() -> None:
    assert fixed(IMAGE, flags=("image:float32[2,3,64,32]",)) == ["image:float32[2,3,64,32]"]


def test_symbolic_batch_becomes_one_and_says_so() -> None:
    outcome = fix_inputs([DeclaredInput("x", "float32", ("N", 5))], [], False)
    assert [str(s) for s in outcome.specs] == ["x:float32[1,5]"]
    assert [(f.severity, f.code) for f in outcome.findings] == [("info", "batch-fixed")]
    assert outcome.findings[0].hint is not None
    assert '--input "x:float32[8,5]"' in outcome.findings[0].hint


def test_a_symbol_is_fixed_wherever_it_stands() -> None:
    assert fixed(IDS, MASK, flags=("ids:int64[2,16]",)) == ["ids:int64[2,16]", "mask:int64[2,16]"]


def test_a_batch_symbol_counts_in_later_positions_too() -> None:
    state = DeclaredInput("state", "float32", (2, "N", 64))
    assert fixed(state, DeclaredInput("x", "float32", ("N", 5))) == ["state:float32[2,1,64]", "x:float32[1,5]"]


def test_one_batch_finding_for_one_symbol() -> None:
    outcome = fix_inputs([IDS, MASK], [parse_input_spec("ids:int64[batch,16]")], False)
    assert [str(s) for s in outcome.specs] == ["ids:int64[1,16]", "mask:int64[1,16]"]
    assert len(outcome.findings) == 1


def test_open_dimensions_print_flags_that_parse() -> None:
    with pytest.raises(ModelError) as caught:
        fixed(IDS, MASK)
    flags = [part.split('"')[0] for part in str(caught.value).split('--input "')[1:]]
    assert flags == ["ids:int64[1,128]", "mask:int64[1,128]"]
    assert fixed(IDS, MASK, flags=tuple(flags)) == flags
    assert "'seq' of input 'ids'" in str(caught.value)


def test_unknown_rank_needs_a_flag_even_when_symbols_are_kept() -> None:
    unknown = DeclaredInput("x", "float32", None)
    for keep in (False, True):
        with pytest.raises(ModelError, match="the whole shape of input 'x'"):
            fixed(unknown, keep=keep)
    assert fixed(unknown, flags=("x:float32[1,7]",)) == ["x:float32[1,7]"]


def test_kept_symbols_stay_and_take_the_names_of_flags() -> None:
    assert fixed(IDS, MASK, keep=True) == ["ids:int64[batch,seq]", "mask:int64[batch,seq]"]
    assert fixed(IDS, MASK, flags=("ids:int64[4,T]",), keep=True) == ["ids:int64[4,T]", "mask:int64[4,T]"]


def test_flags_may_swap_symbol_names() -> None:
    a, b = DeclaredInput("a", "float32", ("p",)), DeclaredInput("b", "float32", ("q",))
    assert fixed(a, b, flags=("a:float32[q]", "b:float32[p]"), keep=True) == ["a:float32[q]", "b:float32[p]"]


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("imgae:float32[1,3,8,8]", "no input 'imgae'; did you mean 'image'?"),
        ("zzz:float32[1,3,8,8]", "no input 'zzz'; it has 'image'"),
        ("image:float32[1,3,8]", "3 dimensions, the model takes 4"),
        ("image:float32[1,4,8,8]", "dimension 1 is 4, the model has 3 there"),
        ("image:uint8[1,3,8,8]", "takes 'image' as float32"),
    ],
)
def test_flags_that_contradict_the_model(flag: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        fixed(IMAGE, flags=(flag,))
    assert message in str(caught.value)
    assert flag in str(caught.value)


def test_flags_that_contradict_each_other() -> None:
    with pytest.raises(UsageError, match="'batch', which stands for it, is 2 elsewhere"):
        fixed(IDS, MASK, flags=("ids:int64[2,16]", "mask:int64[3,16]"))
    with pytest.raises(UsageError, match="given twice"):
        fixed(IDS, flags=("ids:int64[2,16]", "ids:int64[2,16]"))
