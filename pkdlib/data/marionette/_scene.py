"""The scenes of Marionette: procedural backgrounds in families, and the camera that sees them.

A family is a kind of place. Every clip draws a scene of its own from a family, so no scene is shared between
actors. Pictures are planar float32 (3, height, width) with values from 0 to 255.
"""

import numpy as np


def draw_scene(family: str, rng: np.random.Generator, *, height: int, width: int, horizon: int) -> np.ndarray:
    """Paint a scene.

    Args:
        family: One of `FAMILIES`.
        rng: Where the chances come from.
        height: Rows.
        width: Columns.
        horizon: The row where the floor begins.

    Returns:
        float32 (3, height, width).
    """
    scene = np.empty((3, height, width), np.float32)
    _PAINTERS[family](scene[:, :horizon], scene[:, horizon:], rng)
    tint = rng.uniform(0.85, 1.1, (3, 1, 1)).astype(np.float32)
    slope = rng.uniform(-0.15, 0.15)
    fall = np.linspace(1 - slope, 1 + slope, width, dtype=np.float32)
    grain = 14 * (_noise(rng, height, width, 3) - 0.5)
    return scene * tint * fall + grain


def view(scene: np.ndarray, x: float, y: float, *, height: int, width: int) -> np.ndarray:
    """Cut the camera's view from a scene, to a fraction of a pixel (bilinear).

    Args:
        scene: float32 (3, rows, columns).
        x: Left edge of the view in the scene, in pixels.
        y: Top edge.
        height: Rows of the view.
        width: Columns of the view.

    Returns:
        float32 (3, height, width), a fresh array.
    """
    left, top = int(x), int(y)
    window = scene[:, top : top + height + 1, left : left + width + 1]
    rows = window[:, :-1] + np.float32(y - top) * (window[:, 1:] - window[:, :-1])
    return rows[:, :, :-1] + np.float32(x - left) * (rows[:, :, 1:] - rows[:, :, :-1])


def _meadow(upper: np.ndarray, lower: np.ndarray, rng: np.random.Generator) -> None:
    rows, columns = upper.shape[1:]
    clouds = _fractal(rng, rows, columns, (90, 40, 16))
    upper[:] = _mix(_near(rng, (120, 165, 215)), _near(rng, (225, 230, 235)), clouds)
    for depth in (0.55, 0.8):
        crest = rows * (depth - 0.35 * _noise(rng, 1, columns, 60)[0])
        leaves = _fractal(rng, rows, columns, (14, 5))
        hill = _mix(_near(rng, (40, 80, 40)), _near(rng, (110, 140, 80)), leaves)
        _paste(upper, hill, np.arange(rows)[:, None] > crest)
    blades = _stretch(rng, *lower.shape[1:], (7, 2))
    lower[:] = _mix(_near(rng, (60, 110, 45)), _near(rng, (140, 170, 85)), blades)


def _bricks(upper: np.ndarray, lower: np.ndarray, rng: np.random.Generator) -> None:
    tall, wide = int(rng.integers(9, 16)), int(rng.integers(22, 38))
    wall = _near(rng, (165, 85, 65), 30)
    _courses(upper, rng, wall, wall * 0.65, _near(rng, (185, 180, 170)), tall=tall, wide=wide)
    slab = _near(rng, (150, 148, 145))
    _courses(lower, rng, slab, slab * 0.85, slab * 0.6, tall=int(rng.integers(14, 22)), wide=wide + 25)


def _pool(upper: np.ndarray, lower: np.ndarray, rng: np.random.Generator) -> None:
    tiles = _near(rng, (205, 220, 225))
    size = int(rng.integers(10, 20))
    _courses(upper, rng, tiles, tiles * 0.92, tiles * 0.72, tall=size, wide=size)
    surface = upper[:, int(upper.shape[1] * rng.uniform(0.6, 0.75)) :]
    ripples = np.abs(_stretch(rng, *surface.shape[1:], (3, 14)) - 0.5) * 2
    surface[:] = _mix(_near(rng, (175, 230, 240)), _near(rng, (25, 120, 180)), np.sqrt(ripples))
    deck = _near(rng, (195, 190, 175))
    _courses(lower, rng, deck, deck * 0.9, deck * 0.75, tall=9, wide=int(rng.integers(18, 30)))


def _gym(upper: np.ndarray, lower: np.ndarray, rng: np.random.Generator) -> None:
    rows, columns = upper.shape[1:]
    plaster = _near(rng, (200, 195, 180))
    upper[:] = _mix(plaster, plaster * 0.8, _fractal(rng, rows, columns, (70, 20, 4)))
    pads = upper[:, int(rows * rng.uniform(0.45, 0.6)) :]
    pad = _near(rng, (70, 90, 150), 50)
    _courses(pads, rng, pad, _near(rng, (160, 70, 60), 50), pad * 0.4, tall=rows, wide=int(rng.integers(30, 60)))
    plank = _near(rng, (190, 140, 85))
    _courses(lower, rng, plank, plank * 0.8, plank * 0.65, tall=7, wide=int(rng.integers(60, 110)))


def _street(upper: np.ndarray, lower: np.ndarray, rng: np.random.Generator) -> None:
    rows, columns = upper.shape[1:]
    upper[:] = _near(rng, (190, 200, 210))[:, None, None]
    left = 0
    while left < columns:
        right = min(left + int(rng.integers(45, 100)), columns)
        house = upper[:, int(rows * rng.uniform(0.0, 0.45)) :, left:right]
        front = rng.uniform(70, 200) * rng.uniform(0.8, 1.1, 3)
        house[:] = front.astype(np.float32)[:, None, None]
        step_y, step_x = int(rng.integers(18, 28)), int(rng.integers(13, 22))
        for top in range(6, house.shape[1] - 12, step_y):
            for start in range(5, house.shape[2] - 9, step_x):
                glass = rng.uniform(20, 110) if rng.random() < 0.8 else 225.0
                house[:, top : top + step_y // 2, start : start + step_x // 2] = glass
        left = right
    road = _near(rng, (95, 95, 100))
    lower[:] = _mix(road * 0.8, road * 1.2, _fractal(rng, *lower.shape[1:], (40, 4, 2)))


def _beach(upper: np.ndarray, lower: np.ndarray, rng: np.random.Generator) -> None:
    rows, columns = upper.shape[1:]
    haze = np.linspace(0, 0.7, rows, dtype=np.float32)[:, None] + 0.3 * _fractal(rng, rows, columns, (80, 25))
    upper[:] = _mix(_near(rng, (95, 150, 215)), _near(rng, (240, 225, 205)), haze)
    sea = upper[:, int(rows * rng.uniform(0.45, 0.65)) :]
    waves = _stretch(rng, *sea.shape[1:], (4, 30)) * 0.7 + _stretch(rng, *sea.shape[1:], (2, 8)) * 0.3
    sea[:] = _mix(_near(rng, (30, 85, 130)), _near(rng, (150, 205, 205)), waves)
    sand = _fractal(rng, *lower.shape[1:], (50, 12, 3))
    lower[:] = _mix(_near(rng, (190, 165, 120)), _near(rng, (235, 215, 175)), sand)


_PAINTERS = {
    "meadow": _meadow,
    "bricks": _bricks,
    "pool": _pool,
    "gym": _gym,
    "street": _street,
    "beach": _beach,
}
FAMILIES = tuple(_PAINTERS)


def _near(rng: np.random.Generator, colour: tuple[float, float, float], spread: float = 16) -> np.ndarray:
    return (np.array(colour) + rng.uniform(-spread, spread, 3)).astype(np.float32)


def _mix(first: np.ndarray, second: np.ndarray, amount: np.ndarray) -> np.ndarray:
    return first[:, None, None] + amount * (second - first)[:, None, None]


def _paste(target: np.ndarray, layer: np.ndarray, mask: np.ndarray) -> None:
    np.copyto(target, layer, where=mask)


def _courses(
    target: np.ndarray,
    rng: np.random.Generator,
    light: np.ndarray,
    dark: np.ndarray,
    joint: np.ndarray,
    *,
    tall: int,
    wide: int,
) -> None:
    # Rows of blocks, each row shifted against the last, every block of its own shade, with joints between.
    rows, columns = target.shape[1:]
    course = np.arange(rows) // tall
    column = np.arange(columns)[None, :] + rng.integers(0, wide, course.max() + 1)[course][:, None]
    shades = rng.random((course.max() + 1, columns // wide + 3), dtype=np.float32)
    block = np.clip(shades[course[:, None], column // wide] + 0.3 * (_noise(rng, rows, columns, 4) - 0.5), 0, 1)
    target[:] = _mix(light, dark, block)
    seam = (np.arange(rows) % tall == 0)[:, None] | (column % wide == 0)
    _paste(target, np.broadcast_to(joint[:, None, None], target.shape), seam)


def _fractal(rng: np.random.Generator, rows: int, columns: int, cells: tuple[int, ...]) -> np.ndarray:
    weights = 0.5 ** np.arange(len(cells))
    layers = zip(weights / weights.sum(), cells, strict=True)
    return sum(np.float32(weight) * _noise(rng, rows, columns, cell) for weight, cell in layers)


def _stretch(rng: np.random.Generator, rows: int, columns: int, cell: tuple[int, int]) -> np.ndarray:
    return _interpolated(rng, rows, columns, *cell)


def _noise(rng: np.random.Generator, rows: int, columns: int, cell: int) -> np.ndarray:
    return _interpolated(rng, rows, columns, cell, cell)


def _interpolated(rng: np.random.Generator, rows: int, columns: int, tall: int, wide: int) -> np.ndarray:
    # Value noise: random values on a grid of cells, interpolated smoothly between.
    grid = rng.random((rows // tall + 2, columns // wide + 2), dtype=np.float32)
    index, share = _grid_position(rows, tall)
    grid = grid[index] + share[:, None] * (grid[index + 1] - grid[index])
    index, share = _grid_position(columns, wide)
    return grid[:, index] + share * (grid[:, index + 1] - grid[:, index])


def _grid_position(length: int, cell: int) -> tuple[np.ndarray, np.ndarray]:
    place = np.arange(length, dtype=np.float32) / np.float32(cell)
    index = place.astype(np.int64)
    share = place - index.astype(np.float32)
    return index, share * share * (3 - 2 * share)
