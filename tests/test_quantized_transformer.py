"""QuantizedTransformer: from a torch module to a quantized file in three calls, with training in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import edgeport  # noqa: E402
from edgeport.errors import CalibrationError, EdgeportError, UsageError  # noqa: E402
from edgeport.quantized_transformer import QuantizedTransformer  # noqa: E402

nn = torch.nn
LENGTH, WIDTH = 12, 32


@pytest.fixture(autouse=True)
def _quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


class Encoder(nn.Module):  # type: ignore[misc, name-defined]
    """torch's own layers, which take a fused path in eval mode."""

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 64, dropout, activation="gelu", batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(WIDTH, 5)

    def forward(self, x: Any, padding: Any = None) -> Any:
        return self.head(self.layers(x, src_key_padding_mask=padding)[:, 0])


class Bert(nn.Module):  # type: ignore[misc, name-defined]
    """Written out by hand: ids, an additive mask made of zeros and ones, a buffer of positions, a mapping returned."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(50, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.register_buffer("scale", torch.linspace(0.5, 1.5, WIDTH))
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 64), nn.Linear(64, WIDTH)
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 7)

    def forward(self, input_ids: Any, attention_mask: Any = None, labels: Any = None) -> dict[str, Any]:
        n, length = input_ids.shape
        x = (self.words(input_ids) + self.places(torch.arange(length, device=input_ids.device))) * self.scale
        q, k, v = (p.view(n, length, 4, -1).transpose(1, 2) for p in self.qkv(x).chunk(3, -1))
        scores = q @ k.transpose(-1, -2) / (WIDTH / 4) ** 0.5
        if attention_mask is not None:
            scores = scores + (1.0 - attention_mask[:, None, None].float()) * -10000.0
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(n, length, WIDTH)
        x = self.first(x + self.out(mixed))
        x = self.second(x + self.down(nn.functional.gelu(self.up(x))))
        return {"logits": self.head(x), "pooled": x[:, 0]}


def _vectors(count: int, seed: int = 0) -> Any:
    """Sequences that look alike: a few directions, mixed, with a drift along the sequence."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.randn(6, WIDTH, generator=torch.Generator().manual_seed(9))
    steps = torch.linspace(0, 1, LENGTH)[None, :, None]
    return torch.randn(count, LENGTH, 6, generator=generator) @ basis * 0.4 + steps * basis[0]


def _ids(count: int) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 50, (count, 1, LENGTH), generator=generator)
    kept = torch.randint(4, LENGTH + 1, (count, 1, 1), generator=generator)
    mask = (torch.arange(LENGTH) < kept).long()
    return [{"input_ids": i, "attention_mask": m} for i, m in zip(ids, mask, strict=True)]


@pytest.fixture
def encoder() -> Any:
    torch.manual_seed(0)
    made = Encoder().eval()
    for name, parameter in made.named_parameters():
        if name.endswith("bias"):  # torch begins some with zeros, which passes take out
            nn.init.normal_(parameter, std=0.05)
    return made


def test_three_calls_make_a_file_for_qnnpack(encoder: Any, tmp_path: Path) -> None:
    """The default target, from batches; the module simulates the file, and its drift is that of the ladder."""
    q = edgeport.QuantizedTransformer(encoder, bits=8)
    fused = q.fuse_model(_vectors(1))
    assert fused == {"Attention": 2, "LayerNormalization": 4, "Gelu": 2, "MatMul + bias": 9}
    samples = torch.cat([_vectors(20), _vectors(12, seed=1)])
    q.prepare_quantization([samples[:20], samples[20:]])
    result = q.convert_quantization(tmp_path / "out")
    assert result.artifact.suffix == ".ptl"
    assert result.artifact.stat().st_size == result.size
    assert result.float_size is not None
    assert result.size < 0.75 * result.float_size  # of so small a model, most is its code
    held_out = samples[28:]
    with torch.no_grad():
        want, got = encoder(held_out), q(held_out)
    measured = 10 * float(torch.log10(want.square().sum() / (want - got).square().sum()))
    # The same integers but for a rounding here and there: phones multiply by the reciprocal of a scale.
    assert measured == pytest.approx(result.sqnr, abs=1)
    assert measured > 20
    labelled = q.convert_quantization(tmp_path / "out", data=held_out, labels=[0, 1, 2, 3])
    assert set(labelled.metrics) == {"top1"}
    text = str(labelled)
    assert "encoder.ptl for qnnpack" in text
    assert "total" in text
    assert not list(q.parameters())


def test_padding_masks_of_torch_encoders(encoder: Any) -> None:
    """The graph is that of the layers as they are trained; torch's fused path is as it was afterwards."""
    padding = torch.arange(LENGTH)[None] >= 8
    samples = [(x[None], padding if i % 2 else padding.roll(2)) for i, x in enumerate(_vectors(16))]
    q = QuantizedTransformer(encoder, example=samples[0])
    assert q.fuse_model()["Attention"] == 2
    assert torch.backends.mha.get_fastpath_enabled()
    q.prepare_quantization(samples)
    with torch.no_grad():
        got = q(*samples[1])
        torch.backends.mha.set_fastpath_enabled(False)
        want = encoder(*samples[1])
        torch.backends.mha.set_fastpath_enabled(True)
    assert float((got - want).square().mean() / want.square().mean()) < 0.01


def test_ids_masks_and_mappings(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, samples = Bert().eval(), _ids(40)
    q = QuantizedTransformer(model)
    q.fuse_model(samples[0])
    q.prepare_quantization(samples, fine_tune=True)
    batch = {name: torch.cat([s[name] for s in samples[:3]]) for name in samples[0]}
    with torch.no_grad():
        want, got = model(**batch), q(batch["input_ids"], attention_mask=batch["attention_mask"])
        single = q(**samples[1])
    assert {name: y.shape for name, y in got.items()} == {name: y.shape for name, y in want.items()}
    for name, y in want.items():
        assert float((got[name] - y).square().mean() / y.square().mean()) < 0.01
        # Sums in another order may tip a rounding of an activation, by a hundredth of these outputs.
        torch.testing.assert_close(got[name].view(3, 1, *y.shape[1:])[1], single[name], rtol=0.05, atol=0.05)
    trained = list(q.parameters())
    assert trained
    assert not any(p.shape == model.scale.shape and torch.equal(p, model.scale) for p in trained)
    result = q.convert_quantization(tmp_path / "out")
    assert result.sqnr is not None
    assert result.sqnr > 20


def test_a_loop_of_ones_own(encoder: Any, tmp_path: Path) -> None:
    """Labels, cross entropy, any optimizer: the file has the weights that were trained."""
    x = _vectors(48)
    labels = (x[:, 0] @ torch.randn(WIDTH, 5, generator=torch.Generator().manual_seed(1))).argmax(-1)
    q = QuantizedTransformer(encoder, example=x[:1])
    q.fuse_model()
    q.prepare_quantization(x, fine_tune=True)
    optimizer = torch.optim.Adam(q.parameters(), 1e-3)
    losses = []
    for _ in range(25):
        loss = nn.functional.cross_entropy(q(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2
    result = q.convert_quantization(tmp_path / "out", data=x, labels=labels)
    top1 = result.metrics["top1"]
    assert top1["artifact"] > top1["source"] + 0.3
    assert top1["artifact"] >= float((q(x).argmax(-1) == labels).float().mean()) - 0.05
    assert [f.code for f in result.findings].count("fine-tuned") == 1


def test_four_bits_are_fine_tuned_without_labels(encoder: Any, tmp_path: Path) -> None:
    """The same seed gives the same bytes; the drift is from the module as it was given."""
    pytest.importorskip("ai_edge_litert")
    q = QuantizedTransformer(encoder, bits=4, target="tflite")
    q.fuse_model(_vectors(1))
    q.prepare_quantization(_vectors(64))
    plain = q.convert_quantization(tmp_path / "plain", data=_vectors(16, seed=3))
    runs = []
    for name in ("a", "b"):
        q.prepare_quantization(_vectors(64), fine_tune=True)
        losses = q.fine_tune(40, learning_rate=5e-4)
        runs.append((losses, q.convert_quantization(tmp_path / name, data=_vectors(16, seed=3))))
    (losses, tuned), (again, twin) = runs
    assert losses == again
    assert tuned.artifact.read_bytes() == twin.artifact.read_bytes() != plain.artifact.read_bytes()
    assert losses[-1] < losses[0] / 3
    assert tuned.sqnr is not None
    assert plain.sqnr is not None
    assert tuned.sqnr > plain.sqnr + 2
    capture = tuned.report["targets"][0]["ladder"]["rungs"][0]["outputs"][0]
    assert capture["sqnr_db"] > 100
    assert tuned.report["source"]["sha256"] != plain.report["source"]["sha256"]


class Tagger(nn.Module):  # type: ignore[misc, name-defined]
    """Batch normalization, a recurrent layer that torch.vmap does not take, several outputs of several types."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(4, 8, 3, padding=1), nn.BatchNorm1d(8)
        self.rnn, self.head = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 5)

    def forward(self, x: Any, scaled: bool = False) -> Any:
        y = torch.relu(self.norm(self.conv(x))).transpose(1, 2)
        scores = self.head(self.rnn(y)[0]) * (2.0 if scaled else 1.0)
        return scores, scores.argmax(-1), scores.mean()


def test_batch_norm_recurrence_and_several_outputs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = Tagger().eval(), torch.randn(24, 4, 10).cumsum(2) * 0.4
    q = QuantizedTransformer(model, example={"x": x[:2], "scaled": True})
    assert q.fuse_model() == {"MatMul + bias": 1, "BatchNormalization (folded)": 1}
    samples = [{"x": x[i : i + 4], "scaled": True} for i in range(0, 24, 4)]
    q.prepare_quantization(samples, fine_tune=True)
    scores, tags, mean = q(x[:6], scaled=True)
    assert (scores.shape, tags.shape, tags.dtype, mean.shape) == ((6, 10, 5), (6, 10), torch.int64, (3,))
    with torch.no_grad():
        wanted = model(x[:6], scaled=True)[0]
    assert float((scores.detach() - wanted).square().mean() / wanted.square().mean()) < 0.01
    losses = q.fine_tune(8, learning_rate=1e-4, batch=4, loss=lambda got, want: (got[0] - want[0]).abs().mean())
    assert len(losses) == 8
    text = str(q.convert_quantization(tmp_path / "out"))
    assert " dB" in text.splitlines()[-1]  # not `identical`, which the tags are


X = _vectors(1)


@pytest.mark.parametrize(
    ("step", "error", "message"),
    [
        (lambda q: q.prepare_quantization([X]), UsageError, "fuse_model first"),
        (lambda q: q.convert_quantization("out"), UsageError, "fuse_model first"),
        (lambda q: q.fuse_model(), UsageError, "needs an example"),
        (lambda q: q.fuse_model("text"), CalibrationError, "the example is a str"),
        (lambda q: q.fuse_model((X, None, X)), CalibrationError, r"takes \(x, padding\)"),
    ],
)
def test_before_the_module_is_fused(encoder: Any, step: Any, error: type[EdgeportError], message: str) -> None:
    _refused(step, QuantizedTransformer(encoder), error, message)


@pytest.fixture(scope="module")
def fused() -> Any:
    q = QuantizedTransformer(Encoder().eval(), example=X)
    q.fuse_model()
    return q


@pytest.mark.parametrize(
    ("step", "error", "message"),
    [
        (lambda q: q.convert_quantization("out"), UsageError, "prepare_quantization first"),
        (lambda q: q(X), UsageError, "prepare_quantization first"),
        (lambda q: q.prepare_quantization([]), CalibrationError, "no samples"),
        (lambda q: q.prepare_quantization(3), CalibrationError, "samples are a int"),
        (lambda q: q.prepare_quantization([X[:, :5]]), CalibrationError, r"shape \[1,5,32\]"),
        (lambda q: q.prepare_quantization([X.long()]), CalibrationError, "int64, the input is"),
        (lambda q: q.prepare_quantization([(X, 3)]), CalibrationError, "other arguments"),
        (lambda q: (q.prepare_quantization(_vectors(9)), q(X[:, :5])), CalibrationError, r"the call: .*\[1,5,32\]"),
        (lambda q: (q.prepare_quantization(_vectors(9)), q.fine_tune(1)), UsageError, "fine_tune="),
        (lambda q: q.convert_quantization("out", labels=[1]), UsageError, "give both"),
        (lambda q: q.convert_quantization("out", data=X, labels=[1, 2]), CalibrationError, "2 labels for 1 samples"),
    ],
)
def test_after_the_module_is_fused(
    fused: Any, step: Any, error: type[EdgeportError], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _refused(step, fused, error, message)
    assert not (tmp_path / "out").exists()


def _refused(step: Any, q: QuantizedTransformer, error: type[EdgeportError], message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        step(q)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"bits": 6}, "takes 8"), ({"bits": 4}, "takes 8"), ({"target": "qnnpak"}, "no such target")],
)
def test_what_a_target_lacks(encoder: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        QuantizedTransformer(encoder, **arguments)


def test_modules_in_training_mode_are_refused(encoder: Any) -> None:
    with pytest.raises(UsageError, match="takes a torch.nn.Module"):
        QuantizedTransformer("model.onnx")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"layers.layers.0.self_attn: MultiheadAttention.*\.eval\(\)"):
        QuantizedTransformer(encoder.train()).fuse_model(X)
    q = QuantizedTransformer(Encoder(dropout=0.0).train())  # nothing in it differs from eval mode
    assert q.fuse_model(X)["Attention"] == 2


def test_labels_in_mappings(encoder: Any) -> None:
    """As a Hugging Face data set gives them: they are no arguments, unless forward takes them."""
    from edgeport.sample import InputSpec
    from edgeport.torch_view.call_data import read_calls
    from edgeport.torch_view.calls import call_form

    form = call_form(encoder, {"x": X}, [InputSpec("x", "float32", (1, LENGTH, WIDTH))])
    samples = read_calls(form, [{"x": _vectors(3), "labels": torch.tensor([4, 0, 2])}, {"x": X, "labels": 1}])
    assert [int(np.asarray(s["label"])) for s in samples] == [4, 0, 2, 1]
    assert all(s["x"].shape == (1, LENGTH, WIDTH) for s in samples)
