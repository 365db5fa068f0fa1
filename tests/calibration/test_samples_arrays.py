"""Samples from .npy and .npz: what is read, and how what does not fit is refused."""

import re
import zipfile

import numpy as np
import pytest

from edgeport.calibration import Preprocessing, open_samples, split
from edgeport.calibration.npy import stored_arrays
from edgeport.errors import CalibrationError
from edgeport.sample import InputSpec

IMAGE = InputSpec("image", "float32", (1, 3, 4, 5))
IDS = InputSpec("input_ids", "int64", ("N", 6))
MASK = InputSpec("attention_mask", "int64", ("N", 6))


def images(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 3, 4, 5)).astype(np.float32)


def read(source, name="image"):
    return np.stack([s[name] for s in source])


def refusal(path, specs, **options):
    with pytest.raises(CalibrationError) as caught:
        for _ in open_samples(path, specs, **options):
            pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "form", ["npz", "compressed", "npy", "fortran", "big-endian", "float64", "whole", "other name"]
)
def test_every_way_to_store_the_same_images_gives_the_same_samples(tmp_path, form):
    data = images(5)
    path = tmp_path / ("x.npy" if form in ("npy", "fortran", "big-endian") else "x.npz")
    if form == "npz":
        np.savez(path, image=data)
    elif form == "compressed":
        np.savez_compressed(path, image=data)
    elif form == "npy":
        np.save(path, data)
    elif form == "fortran":
        np.save(path, np.asfortranarray(data))
    elif form == "big-endian":
        np.save(path, data.astype(">f4"))
    elif form == "float64":
        np.savez(path, image=data.astype(np.float64))
    elif form == "whole":
        np.savez(path, image=data[:, None])
    else:
        np.savez(path, pictures=data)
    source = open_samples(path, [IMAGE])
    assert len(source) == 5
    for _ in range(2):
        found = list(source)
        assert all(s["image"].dtype == np.float32 and s["image"].shape == (1, 3, 4, 5) for s in found)
        np.testing.assert_array_equal(np.concatenate([s["image"] for s in found]), data)
    np.testing.assert_array_equal(read(source.read(2, 4))[:, 0], data[2:4])


def test_a_folder_of_files_is_one_sequence_in_sorted_order(tmp_path):
    data = images(7)
    (tmp_path / "deep").mkdir()
    np.savez(tmp_path / "a.npz", image=data[:2], label=np.arange(2))
    np.savez(tmp_path / "b.npz", image=data[2:3], label=np.array(2))
    np.savez(tmp_path / "deep" / "c.npz", image=data[3:], label=np.arange(3, 7, dtype=np.uint8))
    (tmp_path / ".hidden.npz").write_bytes(b"left out")
    (tmp_path / "readme.txt").write_text("left out")
    source = open_samples(str(tmp_path), [IMAGE])
    np.testing.assert_array_equal(read(source)[:, 0], data)
    np.testing.assert_array_equal(source.labels, np.arange(7))
    for start in range(7):
        np.testing.assert_array_equal(read(source.read(start, 7))[:, 0], data[start:])


def test_several_inputs_from_one_npz_or_one_npy_each(tmp_path):
    ids, mask = np.arange(24).reshape(4, 6).astype(np.int16), np.ones((4, 6), np.int8)
    np.savez(tmp_path / "t.npz", input_ids=ids, attention_mask=mask, y=np.array([3, 1, 2, 0]))
    folder = tmp_path / "folder"
    folder.mkdir()
    np.save(folder / "input_ids.npy", ids)
    np.save(folder / "attention_mask.npy", mask)
    np.save(folder / "labels.npy", np.array([3, 1, 2, 0]))
    for path in (tmp_path / "t.npz", folder):
        source = open_samples(path, [IDS, MASK])
        np.testing.assert_array_equal(read(source, "input_ids")[:, 0], ids)
        assert all(s["attention_mask"].dtype == np.int64 for s in source)
        np.testing.assert_array_equal(source.labels, [3, 1, 2, 0])


def test_a_fixed_batch_takes_consecutive_rows_across_files_and_says_what_is_left(tmp_path):
    data, spec = images(7), InputSpec("image", "float32", (2, 3, 4, 5))
    for i in range(7):
        np.savez(tmp_path / f"{i}.npz", image=data[i : i + 1], y=np.array([i]))
    source = open_samples(tmp_path, [spec])
    np.testing.assert_array_equal(read(source), data[:6].reshape(3, 2, 3, 4, 5))
    np.testing.assert_array_equal(source.labels, [[0, 1], [2, 3], [4, 5]])
    assert [f.code for f in source.findings] == ["calibration-remainder"]
    assert "last 1 rows" in source.findings[0].message
    np.savez(tmp_path / "few.npz", image=data[:1])
    assert "1 rows" in refusal(tmp_path / "few.npz", [spec])


def test_inputs_without_a_batch_axis_and_symbolic_dimensions(tmp_path):
    specs = [InputSpec("tok", "int64", (1,)), InputSpec("t", "float32", ()), InputSpec("wave", "float32", ("N", "T"))]
    np.savez(tmp_path / "x.npz", tok=np.arange(3), t=np.arange(3.0), wave=np.ones((3, 11), np.float32))
    first = next(iter(open_samples(tmp_path / "x.npz", specs)))
    assert {n: a.shape for n, a in first.items()} == {"tok": (1,), "t": (), "wave": (1, 11)}


def test_digest_is_of_the_content_not_of_the_names(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    np.savez(tmp_path / "a" / "1.npz", image=images(3))
    np.savez(tmp_path / "b" / "other.npz", image=images(3))
    np.savez(tmp_path / "c" / "1.npz", image=images(3, seed=1))
    a, b, c = (open_samples(tmp_path / n, [IMAGE]).digest() for n in "abc")
    assert a == b != c


def test_split_holds_the_last_eighth_out(tmp_path):
    np.savez(tmp_path / "x.npz", image=images(20), y=np.arange(20))
    source = open_samples(tmp_path / "x.npz", [IMAGE])
    calibration, held_out = split(source)
    assert (len(calibration), len(held_out)) == (18, 2)
    np.testing.assert_array_equal(np.concatenate([read(calibration), read(held_out)]), read(source))
    np.testing.assert_array_equal(held_out.labels, [18, 19])
    np.testing.assert_array_equal(read(held_out.read(1, 2))[0], read(source)[19])
    assert len({source.digest(), calibration.digest(), held_out.digest()}) == 3
    assert [len(p) for p in split(calibration, 0.5)] == [9, 9]
    np.savez(tmp_path / "two.npz", image=images(2))
    assert [len(p) for p in split(open_samples(tmp_path / "two.npz", [IMAGE]))] == [1, 1]
    np.savez(tmp_path / "one.npz", image=images(1))
    with pytest.raises(CalibrationError, match="held out"):
        split(open_samples(tmp_path / "one.npz", [IMAGE]))


def test_arrays_that_do_not_fit_are_refused_with_file_expected_and_found(tmp_path):
    path = tmp_path / "x.npz"
    bad = images(3)
    bad[1, 0, 0, 0] = np.nan
    cases = [
        ({"image": images(3)[:, :, :, :4]}, "3x3x4x4.*Nx3x4x5"),
        ({"image": np.float32(3)}, "scalar"),
        ({"image": bad}, "sample 1 holds NaN"),
        ({"image": images(3).astype(int)}, "int64.*float32"),
        ({"image": np.zeros((3, 3, 4, 5), np.uint8)}, "uint8.*preprocessing"),
        ({"image": np.zeros((3, 3, 4, 5), complex)}, "complex128, not numbers"),
        ({"image": images(3), "lable": np.arange(3)}, "'lable'"),
        ({"image": images(3), "imag": np.arange(3)}, "'imag'.*did you mean 'image'"),
        ({"image": images(3), "label": np.arange(2)}, "2 labels"),
        ({"image": images(3), "label": np.zeros(3)}, "labels are integers"),
        ({"image": np.array([{}, {}])}, "Python objects"),
        ({}, "no arrays"),
    ]
    for arrays, words in cases:
        np.savez(path, **arrays)
        text = refusal(path, [IMAGE])
        assert "x.npz" in text or "labels" in text

        assert re.search(words, text), text


def test_integers_are_cast_only_where_nothing_is_lost(tmp_path):
    path = tmp_path / "x.npz"
    narrow = InputSpec("input_ids", "int32", ("N", 6))
    np.savez(path, input_ids=np.full((2, 6), 2**31 - 1))
    assert next(iter(open_samples(path, [narrow])))["input_ids"].dtype == np.int32
    np.savez(path, input_ids=np.full((2, 6), 2**31))
    assert "out of range" in refusal(path, [narrow])
    np.savez(path, input_ids=np.ones((2, 6)))
    assert "float64, but input input_ids:int32" in refusal(path, [narrow])
    half = InputSpec("image", "float16", (1, 3, 4, 5))
    np.savez(path, image=images(1) * 1e6)
    assert "NaN or infinite" in refusal(path, [half])


def test_inputs_that_are_missing_or_disagree_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", input_ids=np.ones((2, 6), int))
    assert "no array for input attention_mask:int64[N,6]" in refusal(tmp_path / "x.npz", [IDS, MASK])
    np.savez(tmp_path / "x.npz", input_ids=np.ones((2, 6), int), attention_mask=np.ones((3, 6), int))
    assert "'input_ids' 2, 'attention_mask' 3" in refusal(tmp_path / "x.npz", [IDS, MASK])


def test_damaged_files_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", image=images(3))
    np.save(tmp_path / "x.npy", images(3))
    whole, array = (tmp_path / "x.npz").read_bytes(), (tmp_path / "x.npy").read_bytes()
    flipped = bytearray(whole)
    flipped[300] ^= 255
    for name, content in (
        ("a.npz", whole[: len(whole) // 2]),
        ("b.npz", b""),
        ("c.npz", bytes(flipped)),
        ("a.npy", array[:-4]),
        ("b.npy", array[:20]),
        ("c.npy", b"not numpy at all"),
    ):
        (tmp_path / name).write_bytes(content)
        assert name in refusal(tmp_path / name, [IMAGE])
    (tmp_path / "boast.npy").write_bytes(array.replace(b"(3, 3, 4, 5)", b"(999,3,4,5) "))
    assert "boast.npy is smaller than its shape says" in refusal(tmp_path / "boast.npy", [IMAGE])
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("notes.txt", "hello")
    assert stored_arrays(tmp_path / "text.npz") == {}
    assert "no arrays" in refusal(tmp_path / "text.npz", [IMAGE])


def test_folders_without_one_kind_of_data_are_refused(tmp_path):
    assert "does not exist" in refusal(tmp_path / "absent", [IMAGE])
    assert "nothing usable" in refusal(tmp_path, [IMAGE])
    (tmp_path / "notes.txt").write_text("x")
    assert "nothing usable" in refusal(tmp_path / "notes.txt", [IMAGE])
    np.savez(tmp_path / "x.npz", image=images(1))
    (tmp_path / "t.jsonl").write_text("{}")
    assert "mixes kinds" in refusal(tmp_path, [IMAGE])


def test_stored_8_bit_images_get_the_declared_preprocessing(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), np.uint8)
    np.savez(tmp_path / "x.npz", image=pixels)
    declared = Preprocessing(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    source = open_samples(tmp_path / "x.npz", [IMAGE], preprocessing=declared)
    expected = ((pixels / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4]).transpose(0, 3, 1, 2)
    # float32 against float64 arithmetic.
    np.testing.assert_allclose(read(source)[:, 0], expected, rtol=1e-5, atol=1e-6)
    other = open_samples(tmp_path / "x.npz", [IMAGE], preprocessing=Preprocessing(mean=(0.5, 0.4, 0.3)))
    assert source.digest() != other.digest()
    assert source.description()["preprocessing"]["std"] == [0.2, 0.3, 0.4]


def test_memory_does_not_grow_with_the_rows_of_a_file(tmp_path):
    import tracemalloc

    spec = InputSpec("image", "float32", (1, 3, 64, 64))
    np.savez(tmp_path / "few.npz", image=np.zeros((4, 3, 64, 64), np.float32))
    np.savez(tmp_path / "many.npz", image=np.zeros((200, 3, 64, 64), np.float32))
    peaks = []
    for name in ("few", "many"):
        source = open_samples(tmp_path / f"{name}.npz", [spec])
        tracemalloc.start()
        count = sum(1 for _ in source)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert count == len(source)
    assert peaks[1] < peaks[0] + 3 * 64 * 64 * 4  # less than one more sample; the file holds 196 more
