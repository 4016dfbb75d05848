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
from collections import deque
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from itertools import islice, pairwise
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
    ],
    align=True,  # else numpy reads each number byte by byte
)
_SMALLEST = 3  # 2**3 pixels: libavcodec tells of no smaller blocks
_KEY = np.array([1, 2**17, 2**34, 2**42, 2**50])  # a block's place, size and frame as one number
_TOGETHER = 2**20  # pixels of the frames whose vectors are looked at at once: of small ones, one by one costs more
MOST_WAITING = 32  # B-frames in a row; no encoder writes more than 16, and a damaged stream's must not pile up


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


def trace(
    pictures: Iterable,
    height: int,
    width: int,
    *,
    accumulate: bool = True,
    colours: bool = True,
    wanted: Collection[int] | None = None,
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
    pictures = iter(pictures)
    reference, own = next(pictures), still(height, width)
    if wanted is None or 0 in wanted:
        yield Traced(0, reference, own, None)

    def leading_to(picture) -> list[np.ndarray]:
        return [own.copy(), picture.image.copy(order="C")] if colours else [own.copy()]

    planes = leading_to(reference) if accumulate else []
    last = None if wanted is None else max(wanted)
    for steps in _together(_steps(pictures, accumulate, wanted), max(1, _TOGETHER // (height * width)), last):
        planned = iter(plans([frame for step in steps for frame in step.asked()], height, width))
        while steps:
            step = steps.popleft()
            *plans_between, plan = islice(planned, len(step.between) + 1)
            if not accumulate and (step.between or step.is_wanted):
                planes = leading_to(reference)
            before = [plane.copy() for plane in planes] if step.between else []
            for plane in planes:
                move(plane, plane, plan.past)
            for (position, picture), own_plan in zip(step.between, plans_between, strict=True):
                yield _traced(position, picture, _bidirectional(before, planes, own_plan))
            if step.is_wanted:
                yield _traced(step.position, step.picture, planes)
            reference = step.picture or reference


class _Step(NamedTuple):
    # An I- or P-frame, or None where the video ends before one, and the B-frames before it that are wanted.
    between: list[tuple[int, object]]
    position: int
    picture: object
    is_wanted: bool
    is_traced: bool

    def asked(self) -> list[tuple[np.ndarray | None, str]]:
        references = "both" if self.picture else "half"
        own = self.picture.vectors if self.is_traced else None
        return [*((picture.vectors, references) for _, picture in self.between), (own, "past")]


def _steps(pictures: Iterator, accumulate: bool, wanted: Container[int] | None) -> Iterator[_Step]:
    between, position = [], 0
    for position, picture in enumerate(pictures, start=1):
        is_wanted = wanted is None or position in wanted
        if picture.type != "B":
            yield _Step(between, position, picture, is_wanted, accumulate or is_wanted or bool(between))
            between = []
        elif is_wanted:
            if len(between) == MOST_WAITING:
                yield _Step(between, position - 1, None, False, False)
                between = []
            between.append((position, picture))
    if between:
        yield _Step(between, position, None, False, False)


def _together(steps: Iterator[_Step], most: int, last: int | None) -> Iterator[deque[_Step]]:
    # Steps of so many frames, but none after the last one needed. What cannot be read comes after what can.
    taken, frames = deque(), 0
    try:
        for step in steps:
            taken.append(step)
            frames += len(step.between) + 1
            if frames >= most or (last is not None and step.position >= last):
                yield taken
                taken, frames = deque(), 0
    except Exception:
        yield taken
        raise
    yield taken


def _traced(position: int, picture, planes: list[np.ndarray]) -> Traced:
    return Traced(position, picture, planes[0], planes[1] if len(planes) > 1 else None)


def _bidirectional(before: list[np.ndarray], after: list[np.ndarray], plan: Plan) -> list[np.ndarray]:
    planes = [plane.copy() for plane in before]
    for plane, old, new in zip(planes, before, after, strict=True):
        move(plane, new, plan.future)
        move(plane, old, plan.past)
    return planes


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
