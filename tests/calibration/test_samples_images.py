"""Samples from image files: the declared preprocessing against the same steps in numpy."""

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from edgeport.calibration import Preprocessing, open_samples, split
from edgeport.errors import CalibrationError, UsageError
from edgeport.sample import InputSpec

SPEC = InputSpec("image", "float32", (1, 3, 8, 8))


def pixels(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def one(path, spec, declared):
    (sample,) = open_samples(path, [spec], preprocessing=declared)
    return sample[spec.name]


def test_scale_mean_std_and_layout_are_those_of_numpy(tmp_path):
    raw = pixels(8, 8)
    Image.fromarray(raw).save(tmp_path / "a.png")
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    found = one(tmp_path, SPEC, Preprocessing(mean=mean, std=std))
    # float32 against float64 arithmetic.
    np.testing.assert_allclose(found[0], ((raw / 255 - mean) / std).transpose(2, 0, 1), rtol=1e-5, atol=1e-6)
    nhwc = InputSpec("image", "float32", ("N", 8, 8, 3))
    found = one(tmp_path / "a.png", nhwc, Preprocessing(layout="NHWC", colour="BGR", scale=2.0))
    np.testing.assert_array_equal(found[0], raw[:, :, ::-1] * np.float32(2))
    raw_input = InputSpec("image", "uint8", (1, 3, 8, 8))
    np.testing.assert_array_equal(one(tmp_path, raw_input, Preprocessing(dtype="uint8"))[0], raw.transpose(2, 0, 1))


def test_grey_follows_itu_r_601(tmp_path):
    raw = pixels(8, 8)
    Image.fromarray(raw).save(tmp_path / "a.png")
    found = one(tmp_path, InputSpec("image", "float32", (1, 1, 8, 8)), Preprocessing(colour="GRAY", scale=1.0))
    # Pillow rounds the weighted sum to whole grey levels.
    np.testing.assert_allclose(found[0, 0], raw @ [0.299, 0.587, 0.114], atol=1)


def test_crop_takes_the_centre_and_resize_the_shorter_side(tmp_path):
    raw = pixels(10, 13)
    Image.fromarray(raw).save(tmp_path / "a.png")
    found = one(tmp_path, SPEC, Preprocessing(crop=(8, 8), scale=1.0))
    np.testing.assert_array_equal(found[0], raw[1:9, 2:10].transpose(2, 0, 1))
    doubled = np.repeat(np.repeat(pixels(8, 12), 2, 0), 2, 1)
    Image.fromarray(doubled).save(tmp_path / "a.png")
    spec = InputSpec("image", "float32", (1, 3, 8, 12))
    found = one(tmp_path, spec, Preprocessing(resize=8, interpolation="nearest", scale=1.0))
    np.testing.assert_array_equal(found[0], pixels(8, 12).transpose(2, 0, 1))
    found = one(tmp_path, spec, Preprocessing(resize=(12, 8), interpolation="box", scale=1.0))
    np.testing.assert_array_equal(found[0], pixels(8, 12).transpose(2, 0, 1))


def test_palette_alpha_and_camera_orientation_are_understood(tmp_path):
    raw = pixels(8, 8)
    Image.fromarray(np.dstack([raw, np.full((8, 8), 9, np.uint8)])).save(tmp_path / "a.png")
    np.testing.assert_array_equal(one(tmp_path, SPEC, Preprocessing(scale=1.0))[0], raw.transpose(2, 0, 1))
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(raw).save(tmp_path / "a.png", exif=turned)
    expected = np.rot90(raw, -1).transpose(2, 0, 1)
    np.testing.assert_array_equal(one(tmp_path, SPEC, Preprocessing(scale=1.0))[0], expected)


def test_class_folders_give_labels_and_every_part_holds_all_classes(tmp_path):
    for c, name in enumerate(("ant", "bee", "cat")):
        (tmp_path / name).mkdir()
        for i in range(8):
            Image.fromarray(np.full((8, 8, 3), 40 * c + i, np.uint8)).save(tmp_path / name / f"{i}.png")
    source = open_samples(tmp_path, [SPEC], preprocessing=Preprocessing(scale=1.0))
    values = np.array([s["image"][0, 0, 0, 0] for s in source]).astype(int)
    np.testing.assert_array_equal(source.labels, values // 40)
    assert sorted(values) == sorted(40 * c + i for c in range(3) for i in range(8))
    calibration, held_out = split(source)
    assert set(held_out.labels) == set(calibration.labels) == {0, 1, 2}
    assert source.description()["count"] == 24


def test_images_without_class_folders_have_no_labels(tmp_path):
    Image.fromarray(pixels(8, 8)).save(tmp_path / "b.png")
    (tmp_path / "sub").mkdir()
    Image.fromarray(pixels(8, 8, 1)).save(tmp_path / "sub" / "a.png")
    assert open_samples(tmp_path, [SPEC], preprocessing=Preprocessing()).labels is None
    (tmp_path / "b.png").unlink()
    assert open_samples(tmp_path, [SPEC], preprocessing=Preprocessing()).labels is None


def test_digest_follows_content_and_preprocessing(tmp_path):
    for folder, name in (("a", "x.png"), ("b", "y.png")):
        (tmp_path / folder).mkdir()
        Image.fromarray(pixels(8, 8)).save(tmp_path / folder / name)
    digests = [open_samples(tmp_path / f, [SPEC], preprocessing=Preprocessing()).digest() for f in "ab"]
    assert digests[0] == digests[1]
    other = open_samples(tmp_path / "a", [SPEC], preprocessing=Preprocessing(mean=(0.1, 0.1, 0.1))).digest()
    assert other != digests[0]


def test_images_that_do_not_fit_are_refused(tmp_path):
    def refusal(spec=SPEC, declared=None, specs=None):
        with pytest.raises(CalibrationError) as caught:
            list(open_samples(tmp_path, specs or [spec], preprocessing=declared))
        return str(caught.value)

    Image.fromarray(pixels(9, 8)).save(tmp_path / "a.png")
    assert "[preprocessing]" in refusal()
    assert "a.png becomes 3x9x8 after preprocessing" in refusal(declared=Preprocessing())
    assert "a.png is 8x9 when it is cropped to 16x16" in refusal(declared=Preprocessing(crop=(16, 16)))
    assert "NHWC" in refusal(declared=Preprocessing(layout="NHWC"))
    assert "float16" in refusal(declared=Preprocessing(dtype="float16"))
    assert "2 (" in refusal(specs=[SPEC, SPEC], declared=Preprocessing())
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "a.png")
    assert "more than 8 bits" in refusal(declared=Preprocessing())
    whole = tmp_path / "b.png"
    Image.fromarray(pixels(8, 8)).save(whole)
    (tmp_path / "a.png").write_bytes(whole.read_bytes()[:-60])
    assert "a.png cannot be read" in refusal(declared=Preprocessing())
    (tmp_path / "a.png").write_text("no image")
    assert "a.png cannot be read" in refusal(declared=Preprocessing())


def test_preprocessing_keys_and_values_are_checked():
    assert Preprocessing.parse({"resize": [8, 9], "std": [1, 2, 3]}).resize == (8, 9)
    for table, words in (
        ({"reszie": 8}, "did you mean 'resize'"),
        ({"colour": "rgb"}, "'colour'"),
        ({"mean": [0.5]}, "mean has 1 values.*3 channel"),
        ({"std": [0, 1, 1]}, "must not be 0"),
        ({"dtype": "uint8", "scale": 0.5}, "leave scale"),
        ({"resize": -1}, "resize"),
    ):
        with pytest.raises(UsageError, match=words) as caught:
            Preprocessing.parse(table)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValidationError):
        Preprocessing().colour = "BGR"
