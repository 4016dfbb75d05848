"""Pictures of the three modalities: motion as colours and as arrows, residuals as grey relief, and sheets of them."""

from collections.abc import Iterable
from fractions import Fraction

import av
import numpy as np

from pkdlib.video.reader import CompressedVideo

_WIDEST_TILE = 340  # pixels
_GUTTER = 6  # pixels
_RESIDUAL_GAIN = 2.0  # residuals are faint; doubled, they can be seen
_SMALLEST_SCALE = 4.0  # pixels; below, the noise of a still scene would look like motion
_ARROWS_ACROSS = 14  # on a tile of a sheet, which is often shown at half its size
_OUTLINE = 1.0  # pixels


def colour_wheel(motion: np.ndarray, *, full: float = 20.0) -> np.ndarray:
    """Draw motion as colours: the hue is its direction, the saturation its length, white is no motion.

    To the right is red, downwards yellow-green, to the left cyan, upwards violet.

    Args:
        motion: Displacement (x, y) in pixels, (H, W, 2).
        full: Length in pixels from which on a colour is fully saturated.

    Returns:
        The picture, uint8 (H, W, 3) RGB.
    """
    x, y = motion[..., 0].astype(np.float32), motion[..., 1].astype(np.float32)
    hue = np.arctan2(y, x) / (2 * np.pi) % 1.0
    saturation = np.minimum(np.hypot(x, y) / full, 1.0)
    # HSV to RGB at value 1: each channel falls linearly with its hue's distance, on a circle of six sixths.
    sixths = (hue[..., None] * 6 + np.array([0.0, 4.0, 2.0], np.float32)) % 6
    pure = np.clip(np.abs(sixths - 3) - 1, 0, 1)
    return np.rint(255 * (1 - saturation[..., None] * (1 - pure))).astype(np.uint8)


def dimmed(image: np.ndarray) -> np.ndarray:
    """Draw a picture as a ground for arrows: its mean of red, green and blue, from dark grey (30) to light grey (157).

    Args:
        image: The picture, uint8 (H, W, 3) RGB.

    Returns:
        The picture, uint8 (H, W, 3) RGB.
    """
    grey = 30 + 0.5 * image.mean(axis=-1, keepdims=True)
    return np.repeat(np.rint(grey).astype(np.uint8), 3, axis=-1)


def arrows(image: np.ndarray, motion: np.ndarray, *, spacing: int = 16, scale: float = 1.0) -> np.ndarray:
    """Draw motion as arrows over the picture, which is dimmed: from where the content was to where it is now.

    The picture is cut into equal cells. An arrow ends at the pixel in the middle of its cell and is the motion of that
    pixel alone, since a mean or a median may be the motion of none; where that pixel has not moved, there is no arrow.
    Lengths are true, so that what comes from outside the picture is cut off at its edge. Hues are `colour_wheel`'s.

    Args:
        image: The picture, uint8 (H, W, 3) RGB.
        motion: Displacement (x, y) in pixels, current minus reference, (H, W, 2).
        spacing: Width and height of a cell, pixels, as nearly as whole cells fill the picture; strokes and heads grow
            with it.
        scale: Factor by which the picture is enlarged, its arrows with it.

    Returns:
        The picture, uint8 (scale * H, scale * W, 3) RGB.
    """
    y, x = np.meshgrid(*(_middles(size, spacing) for size in motion.shape[:2]), indexing="ij")
    moved = motion[y, x].any(axis=-1)
    tips, steps = np.stack([x, y], axis=-1)[moved], motion[y, x][moved].astype(float)
    colours = colour_wheel(steps / np.hypot(*steps.T)[:, None], full=1.4)  # paler than full: blue shows on grey too
    ground = dimmed(resized(image, scale)).astype(np.float32)
    for arrow in np.argsort(-np.hypot(*steps.T), kind="stable"):  # the short ones on top of the long
        # Enlarging moves the middle of a pixel, not its corner, to the middle of what it becomes.
        tip, step = (tips[arrow] + 0.5) * scale - 0.5, steps[arrow] * scale
        _draw_arrow(ground, tip - step, tip, colours[arrow], cell=spacing * scale)
    return np.rint(ground).astype(np.uint8)


def signed(residual: np.ndarray, *, gain: float = 1.0) -> np.ndarray:
    """Draw a residual as relief on mid-grey: brighter where the picture is brighter than predicted.

    Args:
        residual: Difference, int16 (H, W, 3).
        gain: Factor by which differences are enlarged.

    Returns:
        The picture, uint8 (H, W, 3) RGB.
    """
    return np.clip(np.rint(128 + gain * residual.astype(np.float32)), 0, 255).astype(np.uint8)


def wheel(size: int, *, background: int = 255) -> np.ndarray:
    """Draw the legend of `colour_wheel`: a disc in which each point has the colour of the motion towards it.

    Args:
        size: Width and height, pixels.
        background: Grey value around the disc.

    Returns:
        The picture, uint8 (size, size, 3) RGB.
    """
    axis = np.linspace(-1, 1, size)
    x, y = np.meshgrid(axis, axis)
    picture = colour_wheel(np.stack([x, y], axis=-1), full=1.0)
    picture[np.hypot(x, y) > 1] = background
    return picture


def contact_sheet(path, gop: int = 0, *, columns: int = 4, accumulate: bool = True) -> np.ndarray:
    """Draw the three modalities over one GOP.

    The columns are positions of the GOP, evenly spread from the I-frame to its last frame. The rows are the decoded
    picture, the motion as arrows over it, the motion as colours (at the I-frame, which has none, their legend), and the
    residual, doubled. All colours share one scale: they are full from the length that one pixel in fifty exceeds.

    Args:
        path: Path of a compressed video.
        gop: Number of the GOP; negative numbers count from the end.
        columns: Number of positions at most.
        accumulate: Motion and residual since the I-frame, not since the reference frame alone.

    Returns:
        The picture, uint8 (height, width, 3) RGB, with white gutters.
    """
    with CompressedVideo(path) as video:
        last = video.gops[gop].length - 1
        positions = set(np.rint(np.linspace(0, last, columns)).astype(int).tolist())
        frames = [frame for frame in video.frames(accumulate, gops=gop) if frame.position in positions]
    scale = min(1.0, _WIDEST_TILE / frames[0].image.shape[1])
    full = _full_colour(frame.motion for frame in frames)
    spacing = _spacing(frames[0].image)
    images = [resized(frame.image, scale) for frame in frames]
    arrowed = [arrows(frame.image, frame.motion, spacing=spacing, scale=scale) for frame in frames]
    motions = [resized(colour_wheel(frame.motion, full=full), scale) for frame in frames]
    residuals = [resized(signed(frame.residual, gain=_RESIDUAL_GAIN), scale) for frame in frames]
    _put_in_the_middle(motions[0], wheel(int(0.7 * min(motions[0].shape[:2]))))
    return _grid([images, arrowed, motions, residuals])


def motion_sheet(path, gop: int = 0, position: int = -1) -> np.ndarray:
    """Draw the motion since the I-frame twice: as arrows over the decoded picture, and beside it as colours.

    Args:
        path: Path of a compressed video.
        gop: Number of the GOP; negative numbers count from the end.
        position: Place in the GOP; negative numbers count from its end.

    Returns:
        The picture, uint8 (height, width, 3) RGB, with white gutters.
    """
    with CompressedVideo(path) as video:
        image, motion = video.image(gop, position), video.motion(gop, position)
    scale = 2 * _WIDEST_TILE / image.shape[1]
    arrowed = arrows(image, motion, spacing=_spacing(image), scale=scale)
    return _grid([[arrowed, resized(colour_wheel(motion, full=_full_colour([motion])), scale)]])


def resized(image: np.ndarray, scale: float) -> np.ndarray:
    """Enlarge or shrink a picture.

    Args:
        image: The picture, uint8 (H, W, 3) RGB.
        scale: Factor of its height and of its width, which are rounded to whole pixels.

    Returns:
        The picture, uint8 (scale * H, scale * W, 3) RGB.
    """
    height, width = (max(1, round(scale * size)) for size in image.shape[:2])
    if (height, width) == image.shape[:2]:
        return image
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    return frame.reformat(width, height, interpolation="AREA").to_ndarray(format="rgb24")


def png_bytes(array: np.ndarray) -> bytes:
    """Encode a picture as PNG.

    Args:
        array: The picture, uint8 (H, W, 3) RGB.

    Returns:
        The bytes of a PNG file.
    """
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "rgb24"
    encoder.time_base, encoder.thread_count = Fraction(1), 1
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def jpeg_bytes(array: np.ndarray) -> bytes:
    """Encode a picture as JPEG, for pages: a tenth of a PNG file's bytes, and hardly seen.

    Args:
        array: The picture, uint8 (H, W, 3) RGB.

    Returns:
        The bytes of a JPEG file.
    """
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24").reformat(format="yuvj444p")
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "yuvj444p"
    encoder.time_base, encoder.thread_count = Fraction(1), 1
    encoder.options = {"qmin": "5", "qmax": "5"}
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def _full_colour(motions: Iterable[np.ndarray]) -> float:
    longest = [np.quantile(np.hypot(*motion.T.astype(np.float32)), 0.98) for motion in motions]
    return max(_SMALLEST_SCALE, *longest)


def _spacing(image: np.ndarray) -> int:
    return max(1, image.shape[1] // _ARROWS_ACROSS)


def _middles(size: int, spacing: int) -> np.ndarray:
    count = max(1, round(size / spacing))
    return ((np.arange(count) + 0.5) * size / count).astype(int)


def _draw_arrow(picture: np.ndarray, tail: np.ndarray, tip: np.ndarray, colour: np.ndarray, cell: float) -> None:
    # Into a float picture: a shaft and two barbs, each a stroke that widens towards the tip, with a black outline.
    length = np.hypot(*(tip - tail))
    back = (tail - tip) / length * np.clip(0.6 * length, 0.12 * cell, 0.3 * cell)
    side = 0.65 * back[::-1] * [-1, 1]
    radius = cell / 24
    points = np.array([tail, tip + back + side, tip + back - side, tip])
    reach = radius + _OUTLINE + 0.5  # half a pixel more for the soft edge
    corners = np.array([np.floor(points.min(axis=0) - reach), np.ceil(points.max(axis=0) + reach) + 1])
    (left, top), (right, bottom) = corners.clip(0, picture.shape[1::-1]).astype(int)
    pixels = np.stack(np.meshgrid(np.arange(left, right), np.arange(top, bottom)), axis=-1)
    outside = np.min([_distance_to_stroke(pixels, start, tip, radius) for start in points[:-1]], axis=0)[..., None]
    window = picture[top:bottom, left:right]
    window *= 1 - np.clip(_OUTLINE + 0.5 - outside, 0, 1)
    window += np.clip(0.5 - outside, 0, 1) * (colour - window)


def _distance_to_stroke(pixels: np.ndarray, start: np.ndarray, end: np.ndarray, radius: float) -> np.ndarray:
    # Negative inside; the stroke has the radius at its end, and less than half of it at its start.
    along = end - start
    share = np.clip((pixels - start) @ along / (along @ along), 0, 1)
    offset = pixels - start - share[..., None] * along
    return np.hypot(offset[..., 0], offset[..., 1]) - radius * (0.4 + 0.6 * share)


def _put_in_the_middle(tile: np.ndarray, picture: np.ndarray) -> None:
    top, left = ((np.array(tile.shape) - picture.shape) // 2)[:2]
    tile[top : top + picture.shape[0], left : left + picture.shape[1]] = picture


def _grid(rows: list[list[np.ndarray]]) -> np.ndarray:
    height, width, _ = rows[0][0].shape
    down, across = height + _GUTTER, width + _GUTTER
    sheet = np.full((len(rows) * down + _GUTTER, len(rows[0]) * across + _GUTTER, 3), 255, np.uint8)
    for row, tiles in enumerate(rows):
        for column, tile in enumerate(tiles):
            top, left = _GUTTER + row * down, _GUTTER + column * across
            sheet[top : top + height, left : left + width] = tile
    return sheet
