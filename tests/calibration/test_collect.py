"""The run: what it gathers equals what numpy says of ONNX Runtime's own outputs."""

import importlib

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from small_models import small_cnn, smooth_images

from edgeport.calibration import cached_collect, collect, open_samples
from edgeport.calibration.histogram import SIDE
from edgeport.errors import CalibrationError, ModelError
from edgeport.sample import InputSpec

OBSERVED = ("r", "e", "p", "s", "logits", "image")


@pytest.fixture
def graph():
    return ir.from_proto(onnx.shape_inference.infer_shapes(small_cnn()))


@pytest.fixture
def samples():
    return [{"image": image[None]} for image in smooth_images(12, 3, 16)]


def reference(model, names, samples):
    """Every observed value of every sample, from a session without any graph optimization."""
    model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in ("image", "logits"))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = [n for n in names if n != "image"]
    runs = [dict(zip(wanted, session.run(wanted, s), strict=True)) | s for s in samples]
    return {n: [r[n] for r in runs] for n in names}


def test_statistics_are_those_of_numpy_on_unoptimized_outputs(graph, samples):
    found = collect(graph, samples, dict.fromkeys(OBSERVED, "histogram"))
    expected = reference(small_cnn(), OBSERVED, samples)
    assert found.samples == 12
    for name, arrays in expected.items():
        values, s = np.concatenate([a.ravel() for a in arrays]), found.tensors[name]
        assert s.count == values.size
        # Fused and unfused kernels add up in different orders: a few float32 roundings of sums of up to 27 products.
        assert (s.minimum, s.maximum) == pytest.approx((values.min(), values.max()), rel=1e-5, abs=1e-6)
        edges = np.arange(-SIDE, SIDE + 1) * s.width
        cumulative = np.histogram(values, edges)[0].cumsum() / values.size
        # The histogram holds a part of the elements, 4096 of each array at least: 12 * 4096 draws from a distribution
        # stay within 1.63 / sqrt(n) of it in 99 of 100 cases (Kolmogorov), and neighbours in an image are alike.
        assert np.abs(s.histogram.cumsum() / s.histogram.sum() - cumulative).max() < 0.03


def test_two_runs_merged_equal_one_run_to_the_byte(graph, samples):
    requests = dict.fromkeys(OBSERVED, "histogram")
    whole = collect(graph, samples, requests).to_bytes()
    for cut in (1, 5, 11):
        a, b = collect(graph, samples[:cut], requests), collect(graph, samples[cut:], requests)
        assert a.merge(b).to_bytes() == b.merge(a).to_bytes() == whole
    assert collect(graph, samples[::-1], dict.fromkeys(OBSERVED[::-1], "histogram")).to_bytes() == whole


def test_values_of_large_models_are_held_for_one_sample_at_a_time(graph, samples, monkeypatch):
    requests = dict.fromkeys(OBSERVED, "histogram")
    in_turns = collect(graph, samples, requests, powers={"r": 1}).to_bytes()
    monkeypatch.setattr(importlib.import_module("edgeport.calibration.collect"), "_TWICE_LIMIT", 0)
    assert collect(graph, samples, requests, powers={"r": 1}).to_bytes() == in_turns


def test_extremes_alone_carry_no_histogram_and_the_graph_stays_as_it_was(graph, samples):
    before = ir.to_proto(graph).SerializeToString()
    seen = []
    found = collect(graph, iter(samples), {"r": "minmax", "e": "histogram"}, progress=seen.append)
    assert found.tensors["r"].counts is None
    assert found.tensors["e"].counts is not None
    assert seen == list(range(1, 13))
    assert ir.to_proto(graph).SerializeToString() == before


def test_samples_of_several_shapes_and_outputs_whose_shape_depends_on_the_data():
    model = ir.from_onnx_text(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (float[M] y) {
            zero = Constant<value_float=0.0>()
            keep = Greater(x, zero)
            y = Compress<axis=0>(x, keep)
        }"""
    )
    arrays = [np.array(v, np.float32) for v in ([1, 2, -3], [4, -5, -6], [7, 8, 9], [1, -1], [-1, -2], [10])]
    found = collect(model, [{"x": a} for a in arrays], {"y": "histogram"}).tensors["y"]
    kept = np.concatenate([a[a > 0] for a in arrays])
    assert (found.count, found.minimum, found.maximum) == (kept.size, 1.0, 10.0)
    assert found.mean == pytest.approx(kept.mean(), abs=found.width)


def test_weights_in_other_files_are_found(tmp_path, graph, samples):
    expected = collect(graph, samples, {"s": "histogram"}).to_bytes()
    ir.save(graph, tmp_path / "m.onnx", external_data="m.data", size_threshold_bytes=0)
    loaded = ir.load(tmp_path / "m.onnx")
    assert any(isinstance(v.const_value, ir.ExternalTensor) for v in loaded.graph.initializers.values())
    assert collect(loaded, samples, {"s": "histogram"}).to_bytes() == expected


def test_requests_and_samples_that_do_not_fit_are_refused(graph, samples):
    for requests, words in (({"logit": "minmax"}, "'logit'.*logits"), ({"w1": "minmax"}, "does not compute")):
        with pytest.raises(CalibrationError, match=words):
            collect(graph, samples, requests)
    with pytest.raises(CalibrationError, match="no samples"):
        collect(graph, [], {"r": "minmax"})
    for bad in (
        {"picture": samples[0]["image"]},
        {"image": samples[0]["image"][:, :2]},
        {"image": np.zeros((1, 3, 16, 16))},
    ):
        with pytest.raises(CalibrationError, match="image|fit"):
            collect(graph, [bad], {"r": "minmax"})
    integers = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (int64[1] y) { y = Shape(x) }'
    )
    with pytest.raises(CalibrationError, match="not a float"):
        collect(integers, [{"x": np.zeros(2, np.float32)}], {"y": "minmax"})
    unknown = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) { y = Nope(x) }'
    )
    with pytest.raises(ModelError, match="Nope"):
        collect(unknown, [{"x": np.zeros(2, np.float32)}], {"y": "minmax"})


def test_the_cache_answers_for_the_same_content_only(graph, samples, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEPORT_CACHE", str(tmp_path / "own"))
    spec = InputSpec("image", "float32", ("N", 3, 16, 16))
    source, requests = open_samples(samples, [spec]), {"s": "histogram", "r": "minmax"}
    ran = []
    first = cached_collect(graph, source, requests, progress=ran.append)
    again = cached_collect(graph, source, requests, progress=ran.append)
    assert len(ran) == 12
    assert again.to_bytes() == first.to_bytes() == collect(graph, samples, requests).to_bytes()

    cached_collect(graph, source, requests, progress=ran.append, use_cache=False)
    cached_collect(graph, source, {"s": "histogram"}, progress=ran.append)
    cached_collect(graph, open_samples(samples[:11], [spec]), requests, progress=ran.append)
    weight = graph.graph.initializers["w1"]
    weight.const_value = ir.tensor(weight.const_value.numpy() * 2)
    cached_collect(graph, source, requests, progress=ran.append)
    assert len(ran) == 12 + 12 + 12 + 11 + 12


def test_a_damaged_cache_entry_is_replaced(graph, samples, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEPORT_CACHE", str(tmp_path / "own"))
    source, requests = open_samples(samples, [InputSpec("image", "float32", ("N", 3, 16, 16))]), {"s": "histogram"}
    expected = cached_collect(graph, source, requests).to_bytes()
    (entry,) = (tmp_path / "own" / "statistics").iterdir()
    good = entry.read_bytes()
    for bad in (b"", good[:50], good[:-1] + bytes([good[-1] ^ 1])):
        entry.write_bytes(bad)
        assert cached_collect(graph, source, requests).to_bytes() == expected
        assert entry.read_bytes() == good


def test_scores_of_an_attention_are_observed_before_the_mask():
    model = ir.from_proto(
        onnx.parser.parse_model(
            '<ir_version: 10, opset_import: ["" : 23]> g (float[1,2,5,4] q, float[1,2,6,4] k, float[1,2,6,4] v, '
            "bool[5,6] m) => (float[1,2,5,4] y) { y = Attention<scale = 0.7>(q, k, v, m) }"
        )
    )
    rng = np.random.default_rng(5)
    shapes = {"q": (1, 2, 5, 4), "k": (1, 2, 6, 4), "v": (1, 2, 6, 4)}
    sample = {n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()} | {"m": rng.random((5, 6)) < 0.5}
    before = ir.to_proto(model).SerializeToString()
    found = collect(model, [sample], {"y": "extremes", "y/scores": "histogram"}).tensors["y/scores"]
    scores = 0.7 * np.einsum("bhqd,bhkd->bhqk", sample["q"], sample["k"])
    assert found.count == scores.size
    assert (found.minimum, found.maximum) == pytest.approx((scores.min(), scores.max()), rel=1e-5)  # float32 sums
    assert ir.to_proto(model).SerializeToString() == before
