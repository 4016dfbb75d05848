import av
import numpy as np
import pytest

from pkdlib import pictures, transcode


def test_the_wheel_of_directions():
    motion = np.array([[[0, 0], [10, 0], [5, 0], [-10, 0], [100, 0]]], np.int16)
    drawn = pictures.colour_wheel(motion, full=10)
    assert drawn.dtype == np.uint8
    assert drawn[0].tolist() == [[255, 255, 255], [255, 0, 0], [255, 128, 128], [0, 255, 255], [255, 0, 0]]


def test_the_wheel_is_hsv():
    import colorsys

    rng = np.random.default_rng(0)
    motion = rng.integers(-12, 13, (9, 9, 2)).astype(np.int16)
    for (x, y), colour in zip(motion.reshape(-1, 2), pictures.colour_wheel(motion).reshape(-1, 3), strict=True):
        hue = np.arctan2(y, x) / (2 * np.pi) % 1
        expected = colorsys.hsv_to_rgb(hue, min(np.hypot(x, y) / 20, 1), 1)
        assert np.abs(np.array(expected) * 255 - colour).max() <= 0.51


def test_signed_is_relief_on_grey():
    residual = np.array([[[0, 10, -10], [200, -200, 1]]], np.int16)
    assert pictures.signed(residual).tolist() == [[[128, 138, 118], [255, 0, 129]]]
    assert pictures.signed(residual, gain=2).tolist() == [[[128, 148, 108], [255, 0, 130]]]


@pytest.mark.parametrize("shape", [(5, 7, 3), (48, 340, 3)])
def test_png_gives_the_picture_back(tmp_path, shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    pictures.write_png(picture, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == pictures.png_bytes(picture)
    with av.open(str(tmp_path / "a.png")) as container:
        np.testing.assert_array_equal(next(container.decode(video=0)).to_ndarray(format="rgb24"), picture)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def moving(count, height, width):
    texture = np.random.default_rng(0).integers(0, 255, (height, width + 3 * count, 3), np.uint8)
    texture = np.repeat(np.repeat(texture[::4, ::4], 4, axis=0), 4, axis=1)
    for index in range(count):
        yield texture[:height, 3 * index : 3 * index + width]


def test_contact_sheet_shows_what_it_says(tmp_path):
    path = tmp_path / "clip.mp4"
    transcode.encode(moving(12, 48, 64), path)
    sheet = pictures.contact_sheet(path)
    assert sheet.shape == (3 * (48 + 6) + 6, 4 * (64 + 6) + 6, 3)
    assert (sheet[:6] == 255).all() and (sheet[54:60] == 255).all() and (sheet[:, 70:76] == 255).all()
    images, motions, residuals = (sheet[6 + 54 * row : 54 + 54 * row] for row in range(3))
    np.testing.assert_array_equal(residuals[:, 6:70], 128)
    assert np.abs(images[:, 6:70].astype(int) - next(moving(12, 48, 64))).mean() < 25
    # The texture moves to the left, so that the middle of the last motion is cyan: no red in it.
    middle = motions[20:28, 6 + 3 * 70 + 20 : 6 + 3 * 70 + 44].reshape(-1, 3).mean(axis=0)
    assert middle[0] < 100 < 200 < middle[1:].min()


def test_contact_sheet_shrinks_large_pictures_and_bears_a_lone_key_frame(tmp_path):
    path = tmp_path / "clip.mp4"
    transcode.encode(moving(2, 64, 680), path, gop=1)
    assert pictures.contact_sheet(path, -1).shape == (3 * (32 + 6) + 6, 340 + 12, 3)
