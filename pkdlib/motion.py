"""From a codec's vectors to where each pixel comes from, back to the I-frame, and motion compensation.

A frame is predicted by copying blocks of its reference, and that is all this module does: what is known of the
reference's pixels (where they came from, and the colour that they had there) is copied along with them. The rules are
those of CoViAR's loader (Wu et al., Compressed Video Action Recognition, CVPR 2018), which this module equals bit for
bit: whole pixels (the fraction of a vector is dropped), and a pixel moves only if it and its source lie inside the
picture.

A P-frame refers to the last I- or P-frame before it. A B-frame may refer to the next one too. Its motion is taken
against the past one all the same, so that one picture explains it: a pixel with a vector to the past follows that; a
pixel with a vector to the future alone follows it to the next P-frame, and from there that frame's own vectors to the
past one. Where the next I- or P-frame begins another GOP, vectors to it are left out. No frame is traced through a
B-frame.
"""

import functools
from collections.abc import Container, Iterable, Iterator
from typing import NamedTuple

import numpy as np

LARGEST_SIDE = 32767  # pixels; libavcodec exports coordinates as int16
_PLACE = np.dtype("<i4")  # one pixel's (x, y), two int16, as one number with x in the low half: both move at once
_COORDINATE = np.dtype("<i2")
# A block and the one that predicts it, as libavcodec's AVMotionVector without its flags, which mean nothing.
VECTOR = np.dtype(
    [
        ("source", np.int32),  # where the reference is in time: negative before, positive after
        ("w", np.uint8),  # pixels
        ("h", np.uint8),
        ("src_x", np.int16),  # middle of the block in the reference, whole pixels; may lie outside the picture
        ("src_y", np.int16),
        ("dst_x", np.int16),  # middle of the block in the frame
        ("dst_y", np.int16),
        ("motion_x", np.int32),  # reference minus current, in parts of a pixel: src = dst + motion / motion_scale,
        ("motion_y", np.int32),  # without what is behind the point
        ("motion_scale", np.uint16),  # parts of a pixel: 2 or 4
    ]
)
_SMALLEST = 3  # 2**3 pixels: libavcodec tells of no smaller blocks
_KEY = np.array([1, 2**16, 2**32, 2**40])  # a block's place and size as one number
MOST_WAITING = 32  # B-frames in a row; no encoder writes more than 16, and a damaged stream's must not pile up


class Runs(NamedTuple):
    """Rows of blocks to copy: horizontal runs of pixels, all of one width.

    Attributes:
        width: Pixels of each run.
        source: Flat index, row * picture width + column, of each run's first pixel in the reference, intp.
        target: The same in the frame that is predicted, intp of the same shape.
    """

    width: int
    source: np.ndarray
    target: np.ndarray


class Traced(NamedTuple):
    """One picture of a GOP, and what motion tells of it; the arrays are valid until the next one is taken.

    Attributes:
        position: Its place in the GOP.
        picture: The picture.
        places: Where each of its pixels comes from, as `displacement` reads it, int32 (H, W).
        prediction: The colours there, uint8 (H, W, 3); None at position 0, and where no colours were asked for.
    """

    position: int
    picture: object
    places: np.ndarray
    prediction: np.ndarray | None


@functools.lru_cache(maxsize=8)
def still(height: int, width: int) -> np.ndarray:
    """Return the places of a picture without motion: each pixel's own.

    Args:
        height: Height of the picture, pixels, at most 32767.
        width: Width of the picture, pixels, at most 32767.

    Returns:
        x in the low and y in the high 16 bits, int32 (H, W), read-only.
    """
    places = np.arange(height, dtype=_PLACE)[:, None] << 16 | np.arange(width, dtype=_PLACE)
    places.flags.writeable = False
    return places


def displacement(places: np.ndarray, rows: slice = slice(None), columns: slice = slice(None)) -> np.ndarray:
    """Turn places into motion.

    Args:
        places: Where each pixel comes from, int32 (H, W).
        rows: The rows to give.
        columns: The columns to give.

    Returns:
        For each pixel its own place minus where it comes from, (x, y) in whole pixels, int16 (rows, columns, 2).
    """
    own, places = still(*places.shape)[rows, columns], places[rows, columns]
    motion = np.subtract(_coordinates(own), _coordinates(places))
    return motion.reshape(*places.shape, 2)


def _coordinates(places: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(places).view(_COORDINATE)


def listed(vectors: np.ndarray | None) -> np.ndarray:
    """Copy a frame's block vectors out of the decoder's memory.

    Args:
        vectors: Structured array with the fields of `VECTOR`, as PyAV exports it, or None.

    Returns:
        `VECTOR` (N,), in the order of the export.
    """
    copies = np.empty(0 if vectors is None else len(vectors), VECTOR)
    if vectors is not None:
        for name in VECTOR.names:  # by itself, a field is copied faster than all of them at once
            copies[name] = vectors[name]
    return copies


def runs(vectors: np.ndarray, height: int, width: int) -> list[Runs]:
    """Tell which pixels a frame's block vectors copy, and from where.

    A block covers the w x h pixels centred on (dst_x, dst_y), and comes from as many centred on (src_x, src_y). It is
    cut to the pixels that lie inside the picture and come from inside it.

    Args:
        vectors: Structured array with the fields w, h, src_x, src_y, dst_x and dst_y, as PyAV exports it.
        height: Height of the picture, pixels.
        width: Width of the picture, pixels.

    Returns:
        The blocks' rows, by their width. The order of the blocks is not kept: a codec's do not overlap.
    """
    return _runs(_blocks(vectors), height, width)


def _blocks(vectors: np.ndarray) -> np.ndarray:
    # Of each block first pixel, size and motion, (x, y) each, intp (3, 2, N).
    blocks = np.empty((3, 2, len(vectors)), np.intp)
    for into, (x, y) in zip(blocks, (("dst_x", "dst_y"), ("w", "h"), ("src_x", "src_y")), strict=True):
        into[0], into[1] = vectors[x], vectors[y]
    middle, size, motion = blocks
    np.subtract(middle, motion, out=motion)
    middle -= size >> 1
    return blocks


def _runs(blocks: np.ndarray, height: int, width: int) -> list[Runs]:
    low, size, motion = blocks
    limit = np.array([[width], [height]])
    high = np.minimum(low + size, limit)
    np.minimum(high, limit + motion, out=high)
    low = np.maximum(low, 0)
    np.maximum(low, motion, out=low)
    wide, tall = high - low
    line = np.array([1, width])
    first, back = line @ low, line @ motion
    found = []
    for wanted in set(wide.tolist()):
        chosen = (wide == wanted).nonzero()[0]
        rows = tall.take(chosen)
        heights = rows.tolist()
        most = max(heights)
        if wanted <= 0 or most <= 0:
            continue
        target = first.take(chosen)[:, None] + np.arange(0, most * width, width)
        source = target - back.take(chosen)[:, None]
        if min(heights) < most:  # some are cut above or below
            inside = np.arange(most) < rows[:, None]
            source, target = source[inside], target[inside]
        found.append(Runs(wanted, source, target))
    return found


def move(plane: np.ndarray, reference: np.ndarray, blocks: list[Runs]) -> None:
    """Copy runs of pixels from a reference into a plane.

    Args:
        plane: What is written into, (H, W) or (H, W, 3), C-contiguous.
        reference: What is read, of the same shape and dtype. It may be the plane itself: all is read before anything
            is written.
        blocks: The runs.
    """
    taken = [_as_runs(reference, width)[source] for width, source, _ in blocks]
    for (width, _, target), values in zip(blocks, taken, strict=True):
        _as_runs(plane, width)[target] = values


def _as_runs(plane: np.ndarray, width: int) -> np.ndarray:
    # Element i is the run of pixels that begins at pixel i, so that one index copies a whole run.
    pixels, size = plane.shape[0] * plane.shape[1], plane.strides[1]
    return np.ndarray((pixels - width + 1,), _bytes(width * size), plane, strides=(size,))


@functools.cache
def _bytes(count: int) -> np.dtype:
    return np.dtype((np.void, count))


def trace(
    pictures: Iterable,
    height: int,
    width: int,
    *,
    accumulate: bool = True,
    colours: bool = True,
    wanted: Container[int] | None = None,
) -> Iterator[Traced]:
    """Trace the pixels of a GOP's pictures back to the I-frame, or to each picture's reference.

    Args:
        pictures: The GOP's pictures in display order, the key picture first. Each has `type` ("I", "P", "B"),
            `vectors` (as PyAV exports them, or None) and, if colours are asked for, `image`, uint8 (H, W, 3).
        height: Height of the pictures, pixels.
        width: Width of the pictures, pixels.
        accumulate: Places and colours in the I-frame, not in the last I- or P-picture before.
        colours: Predict colours, too.
        wanted: The positions to give; None gives all.

    Yields:
        The wanted pictures, in display order. No picture after the last one needed is taken.
    """
    pictures = enumerate(pictures)
    _, reference = next(pictures)
    own = still(height, width)
    if wanted is None or 0 in wanted:
        yield Traced(0, reference, own, None)

    def leading_to(picture) -> list[np.ndarray]:
        return [own.copy(), picture.image.copy(order="C")] if colours else [own.copy()]

    def between(before: list[np.ndarray], after: list[np.ndarray] | None) -> Iterator[Traced]:
        for position, picture in waiting:
            yield _traced(position, picture, _bidirectional(picture.vectors, before, after))
        waiting.clear()

    planes, waiting = leading_to(reference) if accumulate else None, []
    for position, picture in pictures:
        is_wanted = wanted is None or position in wanted
        if not accumulate and is_wanted and not waiting:
            planes = leading_to(reference)
        if picture.type == "B":
            if len(waiting) == MOST_WAITING:
                yield from between(planes, None)
            if is_wanted:
                waiting.append((position, picture))
            continue
        if accumulate or is_wanted or waiting:
            before = [plane.copy() for plane in planes] if waiting else None
            blocks = _moving(picture.vectors, height, width)
            for plane in planes:
                move(plane, plane, blocks)
            yield from between(before, planes)
            if is_wanted:
                yield _traced(position, picture, planes)
        reference = picture
    yield from between(planes, None)


def _traced(position: int, picture, planes: list[np.ndarray]) -> Traced:
    return Traced(position, picture, planes[0], planes[1] if len(planes) > 1 else None)


def _moving(vectors: np.ndarray | None, height: int, width: int) -> list[Runs]:
    # A block that does not move copies each pixel to its own place, and can be left out.
    if vectors is None:
        return []
    moving = (vectors["dst_x"] != vectors["src_x"]) | (vectors["dst_y"] != vectors["src_y"])
    return runs(vectors.take(moving.nonzero()[0]), height, width)


def _bidirectional(vectors, before: list[np.ndarray], after: list[np.ndarray] | None) -> list[np.ndarray]:
    planes = [plane.copy() for plane in before]
    if vectors is None:
        return planes
    height, width = before[0].shape
    blocks, source = _blocks(vectors), vectors["source"]
    past, future = (blocks.compress(side, axis=2) for side in (source < 0, (source > 0) & (after is not None)))
    # The future first, and then the past, so that it has the last word: what it covers need not be copied before.
    future = future.compress(~_covered(future, past, height, width), axis=2)
    # A block of the past that does not move changes nothing, but where the future was written.
    past = past.compress(past[2].any(axis=0) | _near(past, future, height, width), axis=2)
    future, past = _runs(future, height, width), _runs(past, height, width)
    for plane, old, new in zip(planes, before, after or before, strict=True):
        move(plane, new, future)
        move(plane, old, past)
    return planes


def _covered(blocks: np.ndarray, others: np.ndarray, height: int, width: int) -> np.ndarray:
    # Which blocks lie exactly where one of the others does that is not cut for where it comes from, bool (N,).
    low, size, motion = others
    start = low - motion
    whole = (start >= 0) & (start + size <= np.array([[width], [height]])) | (motion == 0).all(axis=0)
    others = others.compress(whole.all(axis=0), axis=2)
    found, wanted = (_KEY @ each[:2].reshape(4, -1) for each in (blocks, others))
    # A block is looked up where it begins; one whose place there others took is copied in vain.
    keys = np.zeros(_squares_of(height, width, _SMALLEST), np.int64)
    keys[_square(*others[0], _SMALLEST, width, len(keys))] = wanted
    return keys[_square(*blocks[0], _SMALLEST, width, len(keys))] == found


def _near(blocks: np.ndarray, others: np.ndarray, height: int, width: int) -> np.ndarray:
    # Which blocks may overlap one of the others, bool (N,): those with a corner in a square where one of the others has
    # a corner, too. No block is wider than a square.
    if not others.size:
        return np.zeros(blocks.shape[2], bool)
    side = int(max(blocks[1].max(initial=1), others[1].max()) - 1).bit_length()
    marks = np.zeros(_squares_of(height, width, side), bool)

    def corners(low: np.ndarray, size: np.ndarray, motion: np.ndarray) -> np.ndarray:
        (left, top), (right, bottom) = low, low + (size - 1)
        return _square(np.stack([left, right]), np.stack([top, bottom])[:, None], side, width, len(marks))

    marks[corners(*others)] = True
    return marks[corners(*blocks)].any(axis=(0, 1))


# A grid of squares, of 2**side pixels a side, is laid over the picture. Squares far from each other may share a number.


def _squares_of(height: int, width: int, side: int) -> int:
    return 1 << ((height >> side) * (width >> side)).bit_length()


def _square(x: np.ndarray, y: np.ndarray, side: int, width: int, count: int) -> np.ndarray:
    return ((y >> side) * ((width >> side) + 1) + (x >> side)) & (count - 1)


def residual(
    image: np.ndarray, prediction: np.ndarray, rows: slice = slice(None), columns: slice = slice(None)
) -> np.ndarray:
    """Subtract a prediction from a decoded picture.

    This is CoViAR's residual, of decoded RGB pictures; it is not the codec's own.

    Args:
        image: The decoded picture, uint8 (H, W, 3).
        prediction: The colours of where its pixels come from, uint8 (H, W, 3).
        rows: The rows to give.
        columns: The columns to give.

    Returns:
        The difference, int16 (rows, columns, 3), from -255 to 255.
    """
    difference, prediction = (array[rows, columns].astype(np.int16) for array in (image, prediction))
    difference -= prediction  # of one type, they are subtracted in half the time
    return difference


def reconstruct(reference: np.ndarray, motion: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Put a decoded picture together again from its reference, its motion and its residual.

    Args:
        reference: The I-frame if motion and residual are accumulated, else the last I- or P-frame before the picture,
            uint8 (H, W, 3).
        motion: Displacement (x, y) in whole pixels, current minus reference, int16 (H, W, 2).
        residual: Picture minus compensated reference, int16 (H, W, 3).

    Returns:
        The picture, uint8 (H, W, 3), exactly as it was decoded.

    Raises:
        ValueError: If the shapes do not belong together, or the motion leads outside the picture.
    """
    height, width = reference.shape[:2]
    shapes = (height, width, 3), (height, width, 2), (height, width, 3)
    if (reference.shape, motion.shape, residual.shape) != shapes:
        raise ValueError(
            f"reference {reference.shape}, motion {motion.shape} and residual {residual.shape} do not belong together; "
            "(H, W, 3), (H, W, 2) and (H, W, 3) would"
        )
    y = np.arange(height)[:, None] - motion[..., 1]
    x = np.arange(width) - motion[..., 0]
    if y.min() < 0 or y.max() >= height or x.min() < 0 or x.max() >= width:
        raise ValueError("the motion leads outside the reference picture; it is not this picture's")
    return (reference[y, x] + residual).astype(np.uint8)
