"""Pictures of the three modalities: motion as a colour wheel, residuals as grey relief, and a sheet of a GOP."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from pkdlib.bitstream import CompressedVideo

_WIDEST_TILE = 340  # pixels
_GUTTER = 6  # pixels
_RESIDUAL_GAIN = 2.0  # residuals are faint; doubled, they can be seen
_SMALLEST_SCALE = 4.0  # pixels; below, the noise of a still scene would look like motion


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
    picture, the motion (at the I-frame, which has none, the colours' legend), and the residual, doubled. All motion
    shares one scale: the colours are full from the length that one pixel in fifty exceeds.

    Args:
        path: Path of a compressed video.
        gop: Number of the GOP; negative numbers count from the end.
        columns: Number of positions at most.
        accumulate: Motion and residual since the I-frame, not since the reference frame alone.

    Returns:
        The picture, uint8 (height, width, 3) RGB, with white gutters.
    """
    with CompressedVideo(path) as video:
        images = [video.iframe(gop)]
        last = video.gops[gop].length - 1
        positions = np.unique(np.rint(np.linspace(0, last, columns)).astype(int))
        samples = [video.sample(gop, position, accumulate) for position in positions]
        images += [video.image(gop, position) for position in positions[1:]]
    longest = [np.quantile(np.hypot(*sample.motion.T.astype(np.float32)), 0.98) for sample in samples]
    full = max(_SMALLEST_SCALE, *longest)
    motions = [_shrunk(colour_wheel(sample.motion, full=full)) for sample in samples]
    residuals = [_shrunk(signed(sample.residual, gain=_RESIDUAL_GAIN)) for sample in samples]
    _put_in_the_middle(motions[0], wheel(int(0.7 * min(motions[0].shape[:2]))))
    return _grid([[_shrunk(image) for image in images], motions, residuals])


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


def write_png(array: np.ndarray, path) -> None:
    """Write a picture as a PNG file, which appears only when it is whole.

    Args:
        array: The picture, uint8 (H, W, 3) RGB.
        path: Path of the file.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(png_bytes(array))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _shrunk(image: np.ndarray) -> np.ndarray:
    height, width, _ = image.shape
    if width <= _WIDEST_TILE:
        return image
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    size = _WIDEST_TILE, max(1, round(height * _WIDEST_TILE / width))
    return frame.reformat(*size, interpolation="AREA").to_ndarray(format="rgb24")


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
