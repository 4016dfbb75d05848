"""A codec's block vectors, and the pixels that they say are copied.

A frame is predicted by copying blocks of its reference. Here the vectors that libavcodec exports become rectangles of
whole pixels, cut to the picture; what is known of the reference's pixels is copied by them.
"""

import functools
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

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
    ],
    align=True,  # else numpy reads each number byte by byte
)
_SMALLEST = 3  # 2**3 pixels: libavcodec tells of no smaller blocks
_KEY = np.array([1, 2**17, 2**34, 2**42, 2**50])  # a block's place, size and frame as one number


class Rectangles(NamedTuple):
    """Rectangles of pixels to copy, all of one size.

    Attributes:
        width: Pixels across.
        height: Pixels down.
        source: Flat index, row * picture width + column, of each one's first pixel in the reference, intp (N,).
        target: The same in the frame that is predicted, intp (N,).
    """

    width: int
    height: int
    source: np.ndarray
    target: np.ndarray


class Plan(NamedTuple):
    """What a frame copies from its references.

    Attributes:
        future: From the one after it, first.
        past: From the one before it.
    """

    future: list[Rectangles]
    past: list[Rectangles]


def listed(vectors: np.ndarray | None) -> np.ndarray:
    """Copy a frame's block vectors out of the decoder's memory.

    Args:
        vectors: Structured array with the fields of `VECTOR`, as PyAV exports it, or None.

    Returns:
        `VECTOR` (N,), in the order of the export.
    """
    copies = np.zeros(0 if vectors is None else len(vectors), VECTOR)  # what is between fields, too
    if vectors is not None:
        for name in VECTOR.names:  # by itself, a field is copied faster than all of them at once
            copies[name] = vectors[name]
    return copies


def plans(frames: Sequence[tuple[np.ndarray | None, str]], height: int, width: int) -> list[Plan]:
    """Tell which pixels frames copy by their block vectors, and from where.

    A block covers the w x h pixels centred on (dst_x, dst_y), and comes from as many centred on (src_x, src_y). It is
    cut to the pixels that lie inside the picture and come from inside it. What is known to change nothing is left out:
    blocks that do not move, and blocks from the future where others are copied over them.

    Args:
        frames: Of each frame its vectors, a structured array with the fields of `VECTOR`, as PyAV exports it, or None;
            and its references: "past", where it has no other, "both", or "half" where the one after it is not known, so
            that vectors to it are left out.
        height: Height of the pictures, pixels.
        width: Width of the pictures, pixels.

    Returns:
        A plan for each frame. The order of the blocks is not kept: a codec's do not overlap.
    """
    found = [Plan([], []) for _ in frames]
    vectors, frame = _joined([vectors for vectors, _ in frames])
    if all(references == "past" for _, references in frames):
        moving = (vectors["dst_x"] != vectors["src_x"]) | (vectors["dst_y"] != vectors["src_y"])
        past = _blocks(vectors.take(moving.nonzero()[0]), frame.compress(moving))
    else:
        blocks, source = _blocks(vectors, frame), vectors["source"]
        alone, both = (np.array([asked == kind for _, asked in frames])[frame] for kind in ("past", "both"))
        future, past = (blocks.compress(side, axis=1) for side in ((source > 0) & both, (source < 0) | alone))
        # The future is copied first, so that the past has the last word: what it covers need not be copied before.
        future = future.compress(~_covered(future, past, height, width), axis=1)
        # A block of the past that does not move changes nothing, but where the future was written.
        past = past.compress(past[_MOTION].any(axis=0) | _near(past, future, height, width), axis=1)
        for frame, rectangles in _rectangles(future, height, width):
            found[frame].future.append(rectangles)
    for frame, rectangles in _rectangles(past, height, width):
        found[frame].past.append(rectangles)
    return found


def _joined(frames: list[np.ndarray | None]) -> tuple[np.ndarray, np.ndarray]:
    # The vectors of all frames, and the number of each one's frame.
    lists = [vectors for vectors in frames if vectors is not None]
    kind = lists[0].dtype if lists else VECTOR
    plain = np.dtype((np.void, kind.itemsize))  # as such they are joined in a tenth of the time
    vectors = np.concatenate([np.empty(0, plain), *(vectors.view(plain) for vectors in lists)]).view(kind)
    return vectors, np.arange(len(frames)).repeat([0 if each is None else len(each) for each in frames])


# Of several frames' blocks, intp (7, N): first pixel, size and motion, (x, y) each, and the frame's number.
_FIRST, _SIZE, _MOTION, _FRAME = slice(0, 2), slice(2, 4), slice(4, 6), 6


def _blocks(vectors: np.ndarray, frame: np.ndarray) -> np.ndarray:
    blocks = np.empty((7, len(vectors)), np.intp)
    for row, name in enumerate(("dst_x", "dst_y", "w", "h", "src_x", "src_y")):
        blocks[row] = vectors[name]
    np.subtract(blocks[_FIRST], blocks[_MOTION], out=blocks[_MOTION])
    blocks[_FIRST] -= blocks[_SIZE] >> 1
    blocks[_FRAME] = frame
    return blocks


def _rectangles(blocks: np.ndarray, height: int, width: int) -> Iterator[tuple[int, Rectangles]]:
    # Whole blocks by their frame and size, and what is left of those that are cut, pixel by pixel.
    first, size, motion, line = blocks[_FIRST], blocks[_SIZE], blocks[_MOTION], np.array([1, width])
    start, limit = first - motion, np.array([[width], [height]])
    whole = ((np.minimum(first, start) >= 0) & (np.maximum(first, start) + size <= limit)).all(axis=0)
    if not whole.all():
        yield from _pixels(blocks.compress(~whole, axis=1), height, width)
        blocks = blocks.compress(whole, axis=1)
    target, back = line @ blocks[_FIRST], line @ blocks[_MOTION]
    kind = np.array([1, 1 << 8, 1 << 16]) @ blocks[[2, 3, _FRAME]]
    order = kind.argsort(kind="stable")
    kind, target, source = kind[order], target[order], (target - back)[order]
    for begin, end in _equal(kind):
        frame, size = divmod(int(kind[begin]), 1 << 16)
        high, wide = divmod(size, 1 << 8)
        if high and wide:
            yield frame, Rectangles(wide, high, source[begin:end], target[begin:end])


def _pixels(blocks: np.ndarray, height: int, width: int) -> Iterator[tuple[int, Rectangles]]:
    motion, limit = blocks[_MOTION], np.array([[width], [height]])
    low = np.maximum(np.maximum(blocks[_FIRST], motion), 0)
    high = np.minimum(np.minimum(blocks[_FIRST] + blocks[_SIZE], limit), limit + motion)
    most = np.arange(max((high - low).max(), 0))
    (x, y), (inside_x, inside_y) = (low[..., None] + most, low[..., None] + most < high[..., None])
    blocks_of, rows, columns = (inside_y[:, :, None] & inside_x[:, None]).nonzero()
    target = y[blocks_of, rows] * width + x[blocks_of, columns]
    source, frame = target - (np.array([1, width]) @ motion)[blocks_of], blocks[_FRAME, blocks_of]
    for begin, end in _equal(frame):
        yield int(frame[begin]), Rectangles(1, 1, source[begin:end], target[begin:end])


def _equal(numbers: np.ndarray) -> Iterator[tuple[int, int]]:
    # Where equal numbers begin and end, of numbers that are in order.
    if len(numbers):
        bounds = (numbers[1:] != numbers[:-1]).nonzero()[0] + 1
        yield from pairwise([0, *bounds.tolist(), len(numbers)])


def _covered(blocks: np.ndarray, others: np.ndarray, height: int, width: int) -> np.ndarray:
    # Which blocks lie exactly where one of the others of their frame does that is not cut for where it comes from,
    # bool (N,).
    start, size, motion = others[_FIRST] - others[_MOTION], others[_SIZE], others[_MOTION]
    whole = (start >= 0) & (start + size <= np.array([[width], [height]])) | (motion == 0)
    others = others.compress(whole.all(axis=0), axis=1)
    found, wanted = (_KEY @ each[[0, 1, 2, 3, _FRAME]] for each in (blocks, others))
    # A block is looked up where it begins; one whose place there others took is copied in vain.
    squares = _Squares(blocks, others, height, width, _SMALLEST)
    keys = np.zeros(squares.count, np.int64)
    keys[squares.of(*others[_FIRST], others[_FRAME])] = wanted
    return keys[squares.of(*blocks[_FIRST], blocks[_FRAME])] == found


def _near(blocks: np.ndarray, others: np.ndarray, height: int, width: int) -> np.ndarray:
    # Which blocks may overlap one of the others of their frame, bool (N,): those with a corner in a square where one of
    # the others has a corner, too. No block is wider than a square.
    if not others.size:
        return np.zeros(blocks.shape[1], bool)
    side = int(max(blocks[_SIZE].max(initial=1), others[_SIZE].max()) - 1).bit_length()
    squares = _Squares(blocks, others, height, width, side)
    marks = np.zeros(squares.count, bool)

    def corners(of: np.ndarray) -> np.ndarray:
        (left, top), (right, bottom) = of[_FIRST], of[_FIRST] + (of[_SIZE] - 1)
        return squares.of(np.stack([left, right]), np.stack([top, bottom])[:, None], of[_FRAME])

    marks[corners(others)] = True
    return marks[corners(blocks)].any(axis=(0, 1))


class _Squares:
    # A grid of squares, of 2**side pixels a side, over each frame. Squares far from each other may share a number.

    def __init__(self, blocks: np.ndarray, others: np.ndarray, height: int, width: int, side: int):
        self._side, self._down, self._across = side, (height >> side) + 1, (width >> side) + 1
        frames = 1 + max(each[_FRAME].max(initial=0) for each in (blocks, others))
        self.count = 1 << (int(frames) * self._down * self._across).bit_length()

    def of(self, x: np.ndarray, y: np.ndarray, frame: np.ndarray) -> np.ndarray:
        row = frame * self._down + (y >> self._side)
        return (row * self._across + (x >> self._side)) & (self.count - 1)


def move(plane: np.ndarray, reference: np.ndarray, rectangles: list[Rectangles]) -> None:
    """Copy pixels from a reference into a plane.

    Args:
        plane: What is written into, (H, W) or (H, W, 3), C-contiguous.
        reference: What is read, of the same shape and dtype. It may be the plane itself: all is read before anything
            is written.
        rectangles: Which.
    """
    taken = [_as_rectangles(reference, each)[each.source] for each in rectangles]
    for each, values in zip(rectangles, taken, strict=True):
        _as_rectangles(plane, each)[each.target] = values


def _as_rectangles(plane: np.ndarray, like: Rectangles) -> np.ndarray:
    # Element i is the rectangle whose first pixel is pixel i, row by row, so that one index copies a whole one.
    line, size = plane.strides[:2]
    count = plane.shape[0] * plane.shape[1] - (like.height - 1) * plane.shape[1] - like.width + 1
    shape, strides = ((count,), (size,)) if like.height == 1 else ((count, like.height), (size, line))
    return np.ndarray(shape, _bytes(like.width * size), plane, strides=strides)


@functools.cache
def _bytes(count: int) -> np.dtype:
    return np.dtype((np.void, count))
