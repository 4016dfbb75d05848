import io
import math

import av
import numpy as np
import pytest

from pkdlib.video import pictures, transcode


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


def distance_to_segment(point, start, end):
    """Shortest distance from a point to a segment, both by their (x, y), in plain arithmetic."""
    (px, py), (ax, ay), (bx, by) = point, start, end
    share = ((px - ax) * (bx - ax) + (py - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2)
    share = min(max(share, 0), 1)
    return math.hypot(px - ax - share * (bx - ax), py - ay - share * (by - ay))


def touched(drawn, ground):
    """The pixels (x, y) that differ from the ground."""
    return {(x, y) for y, x in np.argwhere((drawn != ground).any(axis=-1)).tolist()}


@pytest.mark.parametrize("step", [(20, 0), (-20, 0), (0, 15), (0, -15), (12, 9), (-7, 13), (3, -2), (1, 0), (-9, -9)])
@pytest.mark.parametrize("scale", [1, 3])
def test_an_arrow_leads_from_where_the_content_was_to_where_it_is(step, scale):
    motion = np.zeros((48, 80, 2), np.int16)
    motion[24, 40] = step  # the middle of one of five times three cells
    image = np.full((48, 80, 3), 120, np.uint8)
    drawn = pictures.arrows(image, motion, scale=scale)
    changed = touched(drawn, pictures.dimmed(pictures.resized(image, scale)))
    assert drawn.shape == (48 * scale, 80 * scale, 3)

    tip = [scale * (at + 0.5) - 0.5 for at in (40, 24)]
    tail = [scale * (at - moved + 0.5) - 0.5 for at, moved in zip((40, 24), step, strict=True)]
    for share in np.linspace(0, 1, 50):
        assert tuple(round(a + share * (b - a)) for a, b in zip(tail, tip, strict=True)) in changed
    assert all(distance_to_segment(pixel, tail, tip) < 4 * scale + 2 for pixel in changed)
    # What is too far from the segment to be its shaft is the head, and that is at the tip.
    head = [pixel for pixel in changed if distance_to_segment(pixel, tail, tip) > scale + 1.5]
    if math.hypot(*step) > 5:
        assert head and all(math.dist(pixel, tip) < 7 * scale + 2 for pixel in head)

    hue = pictures.colour_wheel(np.array([step]), full=0.1)[0]
    shown = drawn[round(tip[1]), round(tip[0])]
    assert shown.max() > 200 and hue[shown.argmax()] == 255 and hue[shown.argmin()] == 0


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_an_arrow_is_the_same_on_both_sides_of_its_line(scale):
    motion = np.zeros((49, 80, 2), np.int16)
    motion[24, 40] = (20, 0)  # row 24 is the middle of 49
    drawn = pictures.arrows(np.zeros((49, 80, 3), np.uint8), motion, scale=scale)
    assert touched(drawn, 30)
    np.testing.assert_array_equal(drawn, drawn[::-1])


def test_every_cell_that_moved_has_its_arrow_and_no_other():
    motion = np.zeros((50, 83, 2), np.int16)
    motion[:, 40:] = (3, 0)
    image = np.random.default_rng(0).integers(0, 256, (50, 83, 3), np.uint8)
    drawn = pictures.arrows(image, motion, spacing=16)
    changed = touched(drawn, pictures.dimmed(image))
    middles = [(int((i + 0.5) * 83 / 5), int((j + 0.5) * 50 / 3)) for i in range(5) for j in range(3)]
    assert {middle for middle in middles if middle in changed} == {(x, y) for x, y in middles if x >= 40}
    assert min(x for x, _ in changed) >= 41 - 3 - 4
    assert all(min(distance_to_segment(pixel, (x - 3, y), (x, y)) for x, y in middles) < 6 for pixel in changed)


@pytest.mark.parametrize("shape", [(1, 1), (3, 70), (33, 47), (48, 64)])
@pytest.mark.parametrize("spacing", [1, 7, 16, 100])
def test_still_content_has_no_arrow(shape, spacing):
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    drawn = pictures.arrows(image, np.zeros((*shape, 2), np.int16), spacing=spacing)
    expected = [[[round(30 + 0.5 * sum(map(int, pixel)) / 3)] * 3 for pixel in row] for row in image]
    assert drawn.dtype == np.uint8
    assert np.abs(drawn - np.array(expected)).max() == 0


@pytest.mark.parametrize("shape", [(1, 1), (3, 70), (33, 47)])
@pytest.mark.parametrize("far", [(-32768, -32768), (32767, 0), (0, -32768), (500, -3)])
def test_arrows_from_outside_are_cut_off_at_the_edge(shape, far):
    image = np.full((*shape, 3), 255, np.uint8)
    motion = np.zeros((*shape, 2), np.int16)
    y, x = shape[0] // 2, shape[1] // 2
    motion[y, x] = far
    drawn = pictures.arrows(image, motion, spacing=100)
    changed = touched(drawn, pictures.dimmed(image))
    assert drawn.shape == image.shape and (x, y) in changed
    # Wherever the segment crosses the picture, it is drawn.
    for pixels in range(100):
        at = tuple(round(here - pixels * there / max(map(abs, far))) for here, there in zip((x, y), far, strict=True))
        inside = 0 <= at[0] < shape[1] and 0 <= at[1] < shape[0]
        assert (at in changed) == inside


def test_short_arrows_lie_on_top_of_long_ones():
    motion = np.zeros((32, 64, 2), np.int16)
    motion[16, 48], motion[16, 16] = (60, 0), (0, 5)
    drawn = pictures.arrows(np.zeros((32, 64, 3), np.uint8), motion, spacing=32)
    red, green, _ = drawn[15, 16].astype(int)
    assert green > red + 50
    assert drawn[16, 32].argmax() == 0


def test_resized():
    image = np.zeros((30, 41, 3), np.uint8)
    image[:, 20:] = (250, 100, 50)
    assert pictures.resized(image, 1.0) is image
    for scale, shape in ((2, (60, 82, 3)), (0.5, (15, 20, 3)), (0.01, (1, 1, 3))):
        assert pictures.resized(image, scale).shape == shape
    large = pictures.resized(image, 2).astype(int)
    assert np.abs(large[:, :36]).max() <= 2 and np.abs(large[:, 46:] - (250, 100, 50)).max() <= 2


def test_signed_is_relief_on_grey():
    residual = np.array([[[0, 10, -10], [200, -200, 1]]], np.int16)
    assert pictures.signed(residual).tolist() == [[[128, 138, 118], [255, 0, 129]]]
    assert pictures.signed(residual, gain=2).tolist() == [[[128, 148, 108], [255, 0, 130]]]


@pytest.mark.parametrize("shape", [(5, 7, 3), (48, 340, 3)])
def test_png_gives_the_picture_back(tmp_path, shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    (tmp_path / "a.png").write_bytes(pictures.png_bytes(picture))
    with av.open(str(tmp_path / "a.png")) as container:
        np.testing.assert_array_equal(next(container.decode(video=0)).to_ndarray(format="rgb24"), picture)


def moving(count, height, width):
    texture = np.random.default_rng(0).integers(0, 255, (height, width + 3 * count, 3), np.uint8)
    texture = np.repeat(np.repeat(texture[::4, ::4], 4, axis=0), 4, axis=1)
    for index in range(count):
        yield texture[:height, 3 * index : 3 * index + width]


def test_contact_sheet_shows_what_it_says(tmp_path):
    path = tmp_path / "clip.mp4"
    transcode.encode(moving(12, 48, 64), path)
    sheet = pictures.contact_sheet(path)
    assert sheet.shape == (4 * (48 + 6) + 6, 4 * (64 + 6) + 6, 3)
    assert (sheet[:6] == 255).all() and (sheet[54:60] == 255).all() and (sheet[:, 70:76] == 255).all()
    images, arrowed, motions, residuals = (sheet[6 + 54 * row : 54 + 54 * row] for row in range(4))
    np.testing.assert_array_equal(residuals[:, 6:70], 128)
    assert np.abs(images[:, 6:70].astype(int) - next(moving(12, 48, 64))).mean() < 25
    np.testing.assert_array_equal(arrowed[:, 6:70], pictures.dimmed(images[:, 6:70]))
    # The texture moves to the left, so that the middle of the last motion is cyan: no red in it.
    middle = motions[20:28, 6 + 3 * 70 + 20 : 6 + 3 * 70 + 44].reshape(-1, 3).mean(axis=0)
    assert middle[0] < 100 < 200 < middle[1:].min()


def test_contact_sheet_shrinks_large_pictures_and_bears_a_lone_key_frame(tmp_path):
    path = tmp_path / "clip.mp4"
    transcode.encode(moving(2, 64, 680), path, gop=1)
    assert pictures.contact_sheet(path, -1).shape == (4 * (32 + 6) + 6, 340 + 12, 3)


def test_motion_sheet_shows_the_motion_twice(tmp_path):
    path = tmp_path / "clip.mp4"
    transcode.encode(moving(12, 48, 64), path)
    sheet = pictures.motion_sheet(path)
    assert sheet.shape == (510 + 12, 2 * (680 + 6) + 6, 3)
    arrowed, coloured = sheet[6:516, 6:686], sheet[6:516, 692:1372]
    # To the left: cyan in both; the arrows are the only colour on their ground.
    middle = coloured[200:300, 300:400].reshape(-1, 3).mean(axis=0)
    assert middle[0] < 100 < 200 < middle[1:].min()
    vivid = arrowed[np.ptp(arrowed.astype(int), axis=-1) > 100]
    assert 0.01 < len(vivid) / (510 * 680) < 0.5
    assert (np.median(vivid, axis=0)[1:] > 200).all()


def test_a_jpeg_is_nearly_the_picture_in_fewer_bytes():
    rows, columns = np.mgrid[0:48, 0:64]
    grain = np.random.default_rng(0).integers(0, 8, (48, 64, 3))
    image = (np.stack([3 * columns, 5 * rows, 2 * (rows + columns)], axis=-1) + grain).astype(np.uint8)
    encoded = pictures.jpeg_bytes(image)
    with av.open(io.BytesIO(encoded)) as container:
        again = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.abs(again.astype(int) - image).mean() < 4
    assert len(encoded) < len(pictures.png_bytes(image)) / 2
