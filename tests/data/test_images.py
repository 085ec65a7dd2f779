"""`fn.data.image_folder` with images of all formats, some of them damaged, and `fn.data.resize`."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fastnn as fn
from fastnn.data import DatasetError, DatasetNotFoundError, image_folder, resize
from tests.systems import needs_pipes


def gradient(height=12, width=8):
    """An image that is darker at the left and at the top, so that a rotation is visible."""
    return (np.arange(height)[:, None] * 10 + np.arange(width) * 12).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


def save(path, picture=None, **options):
    """Save a picture, by default the gradient, below folders that are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (Image.fromarray(gradient()) if picture is None else picture).save(path, **options)


def test_classes_are_the_sorted_sub_folders(folder):
    for name, suffix in (("s10", "png"), ("s2", "pgm"), ("s1", "bmp")):
        save(folder / name / f"a.{suffix}", Image.fromarray(gradient() + int(name[1:])))
    save(folder / "s1" / "b10.png")
    save(folder / "s1" / "b9.png", Image.fromarray(gradient() + 50))
    (folder / "README").write_text("no picture")
    (folder / "s1" / "Thumbs.db").write_text("no picture")
    x, y, names = image_folder(folder, size=(12, 8), grey=True, progress=False)
    assert names == ["s1", "s2", "s10"]
    assert y.tolist() == [0, 0, 0, 1, 2]
    assert x.dtype == np.uint8
    for image, more in zip(x, (1, 50, 0, 2, 10), strict=True):
        assert np.array_equal(image, gradient() + more)


def test_image_formats_and_modes(folder):
    grey = gradient()
    kinds = {
        "rgb.png": Image.fromarray(np.stack([grey, grey // 2, 0 * grey], axis=2)),
        "16.png": Image.fromarray(grey.astype(np.uint16) * 257),
        "palette.gif": Image.fromarray(grey).convert("P"),
        "alpha.png": Image.fromarray(
            np.stack([grey, grey, grey, np.where(grey > 60, 255, 0)], axis=2).astype(np.uint8)
        ),
        "bits.png": Image.fromarray(grey > 60),
    }
    for name, picture in kinds.items():
        save(folder / "s1" / name, picture)
    x, y, _ = image_folder(folder, size=(12, 8), progress=False)
    assert x.shape == (5, 12, 8, 3)
    found = dict(zip(sorted(kinds, key=lambda n: (not n[0].isdigit(), n)), x, strict=True))
    assert np.array_equal(found["16.png"][..., 0], grey)
    assert np.array_equal(found["rgb.png"][..., 1], grey // 2)
    assert np.array_equal(found["palette.gif"][..., 2], grey)
    assert np.array_equal(found["alpha.png"][..., 0], np.where(grey > 60, grey, 255))
    assert np.array_equal(found["bits.png"][..., 0], np.where(grey > 60, 255, 0))
    assert y.tolist() == [0] * 5


def test_images_are_rotated_as_their_exif_data_say(folder):
    picture, exif = Image.fromarray(gradient()), Image.Exif()
    exif[0x0112] = 6  # viewers rotate the image by 90 degrees clockwise
    save(folder / "s1" / "a.png", picture, exif=exif)
    x, _, _ = image_folder(folder, size=(8, 12), grey=True, progress=False)
    assert np.array_equal(x[0], np.rot90(gradient(), -1))


def test_damaged_images_raise_or_are_skipped(folder):
    for name in ("s1/cut.png", "s2/good.png", "s10/empty.jpg"):
        save(folder / name)
    content = (folder / "s2" / "good.png").read_bytes()
    (folder / "s1" / "cut.png").write_bytes(content[:-30])
    (folder / "s10" / "empty.jpg").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"cut.png cannot be read: .*on_error=\"skip\""):
        image_folder(folder, size=(4, 4), progress=False)
    with pytest.warns(UserWarning, match="skipped") as warned:
        x, y, names = image_folder(folder, size=(4, 4), on_error="skip", progress=False)
    assert len(warned) == 2
    assert x.shape == (1, 4, 4, 3)
    assert y.tolist() == [1]
    assert len(names) == 3
    (folder / "s2" / "good.png").unlink()
    with (
        pytest.raises(DatasetError, match="none of the 2 images"),
        pytest.warns(UserWarning, match=r"skipped|1 folders without pictures \(s2\)"),
    ):
        image_folder(folder, size=(4, 4), on_error="skip", progress=False)


@pytest.mark.parametrize("error", [Image.DecompressionBombError("179478970 pixels"), struct.error("4 bytes")])
def test_errors_of_pillow_are_reported_with_the_file(folder, monkeypatch, error):
    def broken(file, formats):
        raise error

    save(folder / "s2" / "bomb.png")
    monkeypatch.setattr(Image, "open", broken)
    with pytest.raises(DatasetError, match=r"bomb.png cannot be read: (179478970 pixels|4 bytes)"):
        image_folder(folder, size=(4, 4), progress=False)


def test_empty_and_missing_folders_and_invalid_arguments_are_rejected(folder, tmp_path):
    (folder / "s1").mkdir(parents=True)
    with pytest.raises(DatasetNotFoundError, match=r"no images .*: 1 folders without pictures \(s1\)"):
        image_folder(folder, size=(4, 4))
    save(folder / "s1" / "deeper" / "a.png")
    with pytest.raises(DatasetNotFoundError, match=r"1 pictures in deeper folders \(s1/deeper/a.png\)"):
        image_folder(folder, size=(4, 4))
    for classes in ("s1", [], ["s1", "s1"], [1]):
        with pytest.raises(ValueError, match="classes must be the names of the sub-folders, each once, not"):
            image_folder(folder, size=(4, 4), classes=classes)
    with pytest.raises(DatasetNotFoundError, match="is not a folder"):
        image_folder(tmp_path / "nowhere", size=(4, 4))
    with pytest.raises(ValueError, match="on_error"):
        image_folder(folder, size=(4, 4), on_error="ignore")
    for size in ((0, 4), (4,), (4.0, 4.0), 5):
        with pytest.raises(ValueError, match="size must be"):
            image_folder(folder, size=size)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_the_depth_of_a_picture_is_that_of_its_file(folder, suffix):
    """16 bits are divided by 257, even if no value of a picture exceeds 255."""
    for value in (0, 255, 256, 257, 32896, 65535):
        save(folder / "a" / f"{value}.{suffix}", Image.fromarray(np.full((4, 4), value, np.uint16)))
    x, _, _ = image_folder(folder, size=(4, 4), grey=True, progress=False)
    assert x[:, 0, 0].tolist() == [0, 1, 1, 1, 128, 255]
    assert (x == x[:, :1, :1]).all()


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pixels_without_a_known_range_are_rejected(folder, dtype):
    save(folder / "a" / "a.tif", Image.fromarray(np.full((4, 4), 1, dtype)))
    with pytest.raises(DatasetError, match=r"a.tif cannot be read: pixels of mode [IF] have no known range"):
        image_folder(folder, size=(4, 4), progress=False)


def test_transparent_colours_become_white(folder):
    for mode in ("L", "RGB"):
        save(
            folder / "a" / f"{mode}.png",
            Image.new(mode, (4, 4)),
            transparency=0 if mode == "L" else (0, 0, 0),
        )
    x, _, _ = image_folder(folder, size=(4, 4), progress=False)
    assert (x == 255).all()


def test_transparent_grey_of_16_bits_becomes_white(folder):
    image = Image.fromarray(np.array([[25700, 514]], np.uint16))
    save(folder / "a" / "x.png", image, transparency=25700)
    x, _, _ = image_folder(folder, size=(1, 2), grey=True, progress=False)
    assert x[0].tolist() == [[255, 2]]


@needs_pipes
def test_broken_links_and_special_files_are_reported_as_such(folder):
    save(folder / "a" / "1.png")
    (folder / "a" / "2.png").symlink_to("nowhere")
    os.mkfifo(folder / "a" / "3.png")
    with pytest.warns(UserWarning, match=r"2 broken links and special files \(a/2.png, a/3.png\)$"):
        assert len(image_folder(folder, size=(1, 1), progress=False)[0]) == 1


def test_of_an_animation_the_first_frame_is_read(folder):
    frames = [Image.new("RGB", (4, 4), (shade, shade, shade)) for shade in (10, 200)]
    for name in ("x.gif", "x.webp", "x.tif", "x.png"):
        save(folder / "a" / name, frames[0], save_all=True, append_images=frames[1:])
    x, _, _ = image_folder(folder, size=(4, 4), progress=False)
    assert np.abs(x.astype(int) - 10).max() <= 2


def test_what_is_not_read_is_reported(folder):
    for name in ("a/1.png", "b/1.png", "alone.png", "a/more/2.png", "a/more/still/3.png", ".git/1.png"):
        save(folder / name)
    save(folder / "a" / "._1.png")
    (folder / ".DS_Store").touch()
    (folder / "a" / ".DS_Store").touch()
    for number in range(5):
        (folder / "b" / f"{number}.heic").touch()
    (folder / "c").mkdir()
    with pytest.warns(UserWarning, match="not read from") as warned:
        x, y, names = image_folder(folder, size=(4, 4), progress=False)
    assert len(x) == 2
    assert y.tolist() == [0, 1]
    assert names == ["a", "b"]
    (warning,) = warned
    for part in (
        "1 pictures beside the class folders (alone.png)",
        "2 pictures in deeper folders (a/more/2.png, a/more/still/3.png)",
        "1 hidden folders (.git)",
        "1 hidden files (a/._1.png)",
        "1 folders without pictures (c)",
        "5 files with other suffixes (b/0.heic, b/1.heic, b/2.heic, ...)",
    ):
        assert part in str(warning.message)
    assert "DS_Store" not in str(warning.message)
    assert warning.filename == __file__


def test_classes_fix_the_labels_of_a_folder_that_lacks_or_adds_some(folder):
    for name in ("ant", "cat", "dog"):
        save(folder / name / "1.png")
    names = ["dog", "bee", "cat"]
    with pytest.warns(UserWarning, match="not read") as warned:
        x, y, found = image_folder(folder, size=(4, 4), classes=names, progress=False)
    assert y.tolist() == [0, 2]
    assert found == names
    assert len(x) == 2
    (warning,) = warned
    assert "1 folders that are not in classes= (ant); 1 classes without a folder (bee)" in str(
        warning.message
    )


def test_pictures_of_too_many_pixels_are_rejected_before_they_are_unpacked(folder, monkeypatch):
    save(folder / "a" / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 95)
    monkeypatch.setattr(Image.Image, "load", None)
    warns = pytest.warns(Image.DecompressionBombWarning)
    with warns, pytest.raises(DatasetError, match="8 x 12 pixels are more than 95"):
        image_folder(folder, size=(4, 4), progress=False)


def test_files_in_other_formats_are_rejected_whatever_their_names(folder):
    """Pillow would start Ghostscript for PostScript."""
    save(folder / "a" / "a.png", Image.fromarray(gradient()), format="EPS")
    with pytest.raises(DatasetError, match=r"a.png cannot be read: cannot identify image file"):
        image_folder(folder, size=(4, 4), progress=False)


@pytest.mark.parametrize("shape", [(5, 6, 8), (5, 6, 8, 1), (5, 6, 8, 3)], ids=str)
def test_resize_interpolates_bilinearly(shape):
    x = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    assert np.array_equal(resize(x, (6, 8)), x)
    larger, smaller = resize(x, (12, 24)), resize(x, (3, 4))
    assert larger.shape == (5, 12, 24, *shape[3:])
    means = x.reshape(5, 3, 2, 4, 2, -1).mean((2, 4)).reshape(smaller.shape)
    assert np.abs(smaller - means).mean() < 40  # smoothed, not subsampled
    assert np.array_equal(resize(np.full(shape, 7, np.uint8), (3, 9)), np.full((5, 3, 9, *shape[3:]), 7))


def test_resize_rejects_other_dtypes_and_shapes():
    with pytest.raises(TypeError, match="float64"):
        resize(np.zeros((2, 3, 3)), (4, 4))
    with pytest.raises(ValueError, match=r"\(2, 3, 3, 2\)"):
        resize(np.zeros((2, 3, 3, 2), np.uint8), (4, 4))


def test_a_network_learns_faces():
    """Forty people, ten images each; two thirds of the images are the training set."""
    if "FASTNN_DATA" not in os.environ or not Path(os.environ["FASTNN_DATA"], "att_faces").is_dir():
        pytest.skip("the faces are looked for in $FASTNN_DATA/att_faces only")
    x, y, names = image_folder(
        Path(os.environ["FASTNN_DATA"], "att_faces"), size=(28, 23), grey=True, progress=False
    )
    assert x.shape == (400, 28, 23)
    assert names[:3] == ["s1", "s2", "s3"]
    assert np.bincount(y).tolist() == [10] * 40
    train = np.arange(400) % 10 < 7
    fn.manual_seed(0)
    model = fn.Sequential(
        fn.Conv2d(1, 16, 3, padding=1),
        fn.BatchNorm2d(16),
        fn.ReLU(),
        fn.MaxPool2d(2),
        fn.Flatten(),
        fn.Linear(14 * 11 * 16, 40),
    )
    fn.fit(
        model, (x[train], y[train]), optimizer=fn.Adam(0.003), batch_size=20, epochs=8, seed=0, progress=False
    )
    assert fn.evaluate(model, (x[~train], y[~train]))["accuracy"] > 0.8
