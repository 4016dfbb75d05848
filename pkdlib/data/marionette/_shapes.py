"""The shapes that Marionette's figures and props are made of, drawn into a picture one over the other.

Each is drawn within its bounding box only, anti-aliased by its signed distance. Pictures are planar float32
(3, height, width) with values from 0 to 255; places and lengths are in pixels.
"""

import numpy as np

_TILE = 64  # side of a weave, a power of two so that coordinates wrap by a mask


def draw_weave(rng: np.random.Generator) -> np.ndarray:
    """Make up a cloth's pattern.

    Args:
        rng: Where the chances come from.

    Returns:
        float32 (64, 64), how much of the second colour shows.
    """
    along, across = np.mgrid[:_TILE, :_TILE]
    stripes = 2 ** rng.integers(1, 4)
    kind = rng.integers(3)
    if kind == 0:
        pattern = np.sin(2 * np.pi * along * stripes / _TILE)
    elif kind == 1:
        pattern = np.sin(2 * np.pi * across * stripes / _TILE) * np.sin(2 * np.pi * along * stripes / _TILE)
    else:
        pattern = np.kron(rng.uniform(-1, 1, (16, 16)), np.ones((4, 4)))
    weave = rng.uniform(-0.25, 0.25, (_TILE, _TILE))
    return np.clip(0.5 + 0.5 * pattern * rng.uniform(0.2, 1.0) + weave, 0, 1).astype(np.float32)


def capsule(
    picture: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    radii: tuple[float, float],
    colour: np.ndarray,
    second: np.ndarray,
    weave: np.ndarray,
    *,
    light: float = -0.1,
) -> None:
    """Draw a limb: a line with round ends that tapers, shaded like a cylinder, woven of two colours.

    Args:
        picture: Changed in place.
        start: x and y of one end.
        end: x and y of the other.
        radii: At the two ends.
        colour: RGB.
        second: The weave's other colour.
        weave: Of `draw_weave`; it moves with the limb, so that a codec finds motion in it.
        light: How much brighter one side is than the other.
    """
    reach = max(radii) + 1
    box = _box(picture, np.minimum(start, end) - reach, np.maximum(start, end) + reach)
    if box is None:
        return
    pixels, x, y = box
    dx, dy = x - np.float32(start[0]), y - np.float32(start[1])
    axis = (end - start).astype(np.float32)
    length = float(np.hypot(*axis))
    if length < 1e-3:  # seen end on, a limb has no direction of its own; any will do
        axis, length = np.array([0, 1e-3], np.float32), 1e-3
    ux, uy = np.float32(axis[0] / length), np.float32(axis[1] / length)
    along = dx * ux + dy * uy
    across = dy * ux - dx * uy
    beyond = along - np.clip(along, 0, np.float32(length))
    radius = np.float32(radii[0]) + (along - beyond) * np.float32((radii[1] - radii[0]) / length)
    coverage = np.clip(radius - np.sqrt(beyond * beyond + across * across) + np.float32(0.5), 0, 1)
    rounded = across / radius
    shade = 1 - np.float32(0.32) * rounded * rounded + np.float32(light) * rounded
    woven = weave[along.astype(np.int32) & (_TILE - 1), across.astype(np.int32) & (_TILE - 1)]
    weight = coverage * shade
    pixels *= 1 - coverage
    pixels += weight * (1 - woven) * colour.astype(np.float32)[:, None, None]
    pixels += weight * woven * second.astype(np.float32)[:, None, None]


def disc(picture: np.ndarray, centre: np.ndarray, radius: float, colour: np.ndarray) -> None:
    """Draw a ball.

    Args:
        picture: Changed in place.
        centre: x and y.
        radius: Of the ball.
        colour: RGB.
    """
    box = _box(picture, centre - radius - 1, centre + radius + 1)
    if box is None:
        return
    pixels, x, y = box
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    squared = dx * dx + dy * dy
    coverage = np.clip(np.float32(radius + 0.5) - np.sqrt(squared), 0, 1)
    shade = 1 - squared * np.float32(0.22 / (radius * radius))
    pixels *= 1 - coverage
    pixels += coverage * shade * colour.astype(np.float32)[:, None, None]


def ring(picture: np.ndarray, centre: np.ndarray, radius: float, thickness: float, colour: np.ndarray) -> None:
    """Draw a ring seen from the front.

    Args:
        picture: Changed in place.
        centre: x and y.
        radius: To the middle of its tube.
        thickness: The tube's radius.
        colour: RGB.
    """
    reach = radius + thickness + 1
    box = _box(picture, centre - reach, centre + reach)
    if box is None:
        return
    pixels, x, y = box
    off = np.abs(np.hypot(x - np.float32(centre[0]), y - np.float32(centre[1])) - np.float32(radius))
    coverage = np.clip(np.float32(thickness + 0.5) - off, 0, 1)
    pixels *= 1 - coverage
    pixels += coverage * colour.astype(np.float32)[:, None, None]


def shadow(picture: np.ndarray, centre: tuple[float, float], half_width: float, half_height: float) -> None:
    """Darken an ellipse, most in its middle.

    Args:
        picture: Changed in place.
        centre: x and y.
        half_width: Half of its width.
        half_height: Half of its height.
    """
    low = np.array([centre[0] - half_width, centre[1] - half_height])
    high = np.array([centre[0] + half_width, centre[1] + half_height])
    box = _box(picture, low, high)
    if box is None:
        return
    pixels, x, y = box
    squared = ((x - np.float32(centre[0])) / np.float32(half_width)) ** 2
    squared = squared + ((y - np.float32(centre[1])) / np.float32(half_height)) ** 2
    pixels *= 1 - np.float32(0.45) * np.clip(1 - squared, 0, 1)


def _box(picture: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple | None:
    rows, columns = picture.shape[1:]
    left, top = max(int(low[0]), 0), max(int(low[1]), 0)
    right, bottom = min(int(high[0]) + 2, columns), min(int(high[1]) + 2, rows)
    if left >= right or top >= bottom:
        return None
    x = np.arange(left, right, dtype=np.float32)[None, :]
    y = np.arange(top, bottom, dtype=np.float32)[:, None]
    return picture[:, top:bottom, left:right], x, y
