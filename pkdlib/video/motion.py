"""From a codec's vectors to where each pixel comes from, back to the I-frame, and motion compensation.

A frame is predicted by copying blocks of its reference (`blocks`): what is known of the reference's pixels (where they
came from, and the colour that they had there) is copied along with them. The rules are those of CoViAR's loader (Wu
et al., Compressed Video Action Recognition, CVPR 2018), which this module equals bit for bit: whole pixels (the
fraction of a vector is dropped), and a pixel moves only if it and its source lie inside the picture.

A P-frame refers to the last I- or P-frame before it. A B-frame may refer to the next one too. Its motion is taken
against the past one all the same, so that one picture explains it: a pixel with a vector to the past follows that; a
pixel with a vector to the future alone follows it to the next P-frame, and from there that frame's own vectors to the
past one. Where the next I- or P-frame begins another GOP, vectors to it are left out. No frame is traced through a
B-frame.
"""

import functools
from collections import deque
from collections.abc import Collection, Container, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from pkdlib.video.blocks import Plan, move, plans

LARGEST_SIDE = 32767  # pixels; libavcodec exports coordinates as int16
_PLACE = np.dtype("<i4")  # one pixel's (x, y), two int16, as one number with x in the low half: both move at once
_COORDINATE = np.dtype("<i2")
_TOGETHER = 2**20  # pixels of the frames whose vectors are looked at at once: of small ones, one by one costs more
MOST_WAITING = 32  # B-frames in a row; no encoder writes more than 16, and a damaged stream's must not pile up


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
