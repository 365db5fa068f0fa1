"""Samples from callables, lists and texts."""

import json

import numpy as np
import pytest

from edgeport.calibration import open_samples
from edgeport.errors import CalibrationError
from edgeport.sample import InputSpec

X = InputSpec("x", "float32", (1, 3))


def refusal(data, specs=(X,), **options):
    with pytest.raises(CalibrationError) as caught:
        list(open_samples(data, list(specs), **options))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_callable_is_called_afresh_for_every_pass():
    calls = []

    def make():
        calls.append(1)
        for i in range(4):
            yield {"x": np.full(3, i, np.float32), "y": i}

    source = open_samples(make, [X])
    assert len(source) == 4
    assert source.digest() == source.digest()
    np.testing.assert_array_equal(source.labels, range(4))
    assert len(calls) == 1  # count, digest and labels share a pass
    for _ in range(2):
        assert [s["x"].shape for s in source] == [(1, 3)] * 4
    assert [s["x"][0, 0] for s in source.read(1, 3)] == [1, 2]
    assert len(calls) == 4


def test_a_file_with_a_callable_and_a_list_give_the_same_samples(tmp_path):
    (tmp_path / "data.py").write_text(
        "import numpy\n\ndef samples():\n    for i in range(3):\n        yield {'x': numpy.full((1, 3), i, 'float32')}"
    )
    source = open_samples("data.py:samples", [X], base=tmp_path)
    same = open_samples([{"x": [float(i)] * 3} for i in range(3)], [X])
    assert source.digest() == same.digest()
    assert [s["x"].tolist() for s in source] == [s["x"].tolist() for s in same]
    assert source.description() == {"kind": "python", "count": 3, "preprocessing": None}
    assert open_samples(source, [X]) is source


def test_torch_tensors_are_taken():
    torch = pytest.importorskip("torch")
    (sample,) = open_samples([{"x": torch.ones(1, 3, requires_grad=True)}], [X])
    np.testing.assert_array_equal(sample["x"], np.ones((1, 3), np.float32))


def test_python_samples_that_do_not_fit_are_refused(tmp_path):
    (tmp_path / "data.py").write_text("def samples(): return 1 / 0\nvalue = 3\n")
    (tmp_path / "broken.py").write_text("import absent_module\n")
    assert "ZeroDivisionError" in refusal("data.py:samples", base=tmp_path)
    assert "did you mean 'samples'" in refusal("data.py:sample", base=tmp_path)
    assert "'value'" in refusal("data.py:value", base=tmp_path)
    assert "absent_module" in refusal("broken.py:f", base=tmp_path)
    assert "does not exist" in refusal("absent.py:f", base=tmp_path)
    assert "only once" in refusal(iter([{"x": np.ones(3, np.float32)}]))
    assert "int" in refusal(3)
    assert "sample 1 is a list" in refusal([{"x": np.ones(3, np.float32)}, [1]])
    assert "sample 0: 'xs' is no input" in refusal([{"xs": np.ones(3)}])
    assert "no array for input x" in refusal([{"y": 1}])
    assert "has shape 2x3, but input x:float32[1,3] needs 1x3" in refusal([{"x": np.ones((2, 3), np.float32)}])
    assert "labels are integers" in refusal([{"x": np.ones(3, np.float32), "y": 0.5}])
    assert "sample 1: 'x' holds NaN" in refusal([{"x": np.ones(3, np.float32)}, {"x": np.full(3, np.nan, np.float32)}])
    some = open_samples([{"x": np.ones(3, np.float32), "y": 1}, {"x": np.ones(3, np.float32)}], [X])
    with pytest.raises(CalibrationError, match="label"):
        _ = some.labels


@pytest.fixture
def tokenizer(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    words = {w: i for i, w in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat", "dog"])}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def token_specs(length, batch=1):
    names = ("input_ids", "attention_mask", "token_type_ids")
    return [InputSpec(n, "int64", (batch, length)) for n in names]


def write(path, *entries):
    path.write_text("\n".join(json.dumps(e) if isinstance(e, dict) else e for e in entries) + "\n\n")
    return path


def test_texts_are_padded_and_cut_to_the_length_of_the_graph(tmp_path, tokenizer):
    path = write(
        tmp_path / "t.jsonl",
        {"text": "the cat", "label": 1},
        {"text": "the cat", "pair": "dog", "label": 0},
        {"text": "the cat sat the dog sat bird", "label": 2, "id": 7},
    )
    source = open_samples(path, token_specs(7), tokenizer=tokenizer)
    ids, mask, types = (
        np.concatenate([s[n] for s in source]).tolist() for n in ("input_ids", "attention_mask", "token_type_ids")
    )
    assert ids == [[2, 4, 5, 3, 0, 0, 0], [2, 4, 5, 3, 7, 3, 0], [2, 4, 5, 6, 4, 7, 3]]
    assert mask == [[1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1, 0], [1] * 7]
    assert types == [[0] * 7, [0, 0, 0, 0, 1, 1, 0], [0] * 7]
    np.testing.assert_array_equal(source.labels, [1, 0, 2])
    assert [s["input_ids"].tolist() for s in source.read(1, 2)] == [[ids[1]]]
    assert source.description() == {
        "kind": "texts",
        "count": 3,
        "preprocessing": {"tokenizer": "tokenizer.json", "length": 7},
    }
    assert source.digest() != open_samples(path, token_specs(9), tokenizer=tokenizer).digest()
    own = list(open_samples(path, token_specs("length", "batch"), tokenizer=tokenizer.parent))
    assert [s["input_ids"].shape for s in own] == [(1, 4), (1, 6), (1, 9)]


def test_texts_fill_a_fixed_batch_and_narrow_or_float_inputs(tmp_path, tokenizer):
    path = write(tmp_path / "t.jsonl", *({"text": t} for t in ("cat", "dog", "sat")))
    specs = [InputSpec("input_ids", "int32", (2, 4)), InputSpec("attention_mask", "float32", (2, 4))]
    source = open_samples(path, specs, tokenizer=tokenizer)
    (sample,) = source
    assert sample["input_ids"].dtype == np.int32
    np.testing.assert_array_equal(sample["input_ids"], [[2, 5, 3, 0], [2, 7, 3, 0]])
    np.testing.assert_array_equal(sample["attention_mask"], np.float32([[1, 1, 1, 0]] * 2))
    assert [f.code for f in source.findings] == ["calibration-remainder"]


def test_texts_that_do_not_fit_are_refused(tmp_path, tokenizer):
    path, specs = tmp_path / "t.jsonl", token_specs(7)
    write(path, {"text": "cat"})
    assert "tokenizer" in refusal(path, specs)
    assert "position_ids" in refusal(path, [*specs, InputSpec("position_ids", "int64", (1, 7))], tokenizer=tokenizer)
    assert "does not exist" in refusal(path, specs, tokenizer=tmp_path / "absent.json")
    (tmp_path / "bad.json").write_text("{}")
    assert "bad.json is no tokenizer" in refusal(path, specs, tokenizer=tmp_path / "bad.json")
    for entries, words in (
        (['{"text": "cat"}', "{text}"], "line 2 is not JSON"),
        ([{"sentence": "cat"}], "line 1 has no text"),
        ([{"text": "cat", "pairs": "dog"}], "did you mean 'pair'"),
        ([{"text": "cat", "pair": 3}], "pair is a int"),
        ([{"text": "cat", "label": "good"}], "label is a str"),
        ([{"text": "cat", "label": 1}, {"text": "cat"}], "1 of 2 lines"),
    ):
        assert words in refusal(write(path, *entries), specs, tokenizer=tokenizer)


def test_a_file_of_samples_may_import_what_stands_beside_it(tmp_path):
    (tmp_path / "beside_the_samples.py").write_text("SIZE = 3\n")
    (tmp_path / "with_import.py").write_text(
        "import numpy as np\n"
        "from beside_the_samples import SIZE\n"
        "def samples():\n"
        "    for i in range(SIZE):\n"
        "        yield {'x': np.full((1, 3), i, np.float32)}\n"
    )
    assert len(open_samples("with_import.py:samples", [X], base=tmp_path)) == 3
