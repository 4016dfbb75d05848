"""What is read of a video: its GOPs, samples of the three modalities, and whole frames."""

from typing import NamedTuple

import numpy as np


class Gop(NamedTuple):
    """A group of pictures: its first frame's index in display order, and its number of frames.

    The first is its key frame, unless the container hides that (a video trimmed without encoding it anew): then it is
    still what `iframe` gives, and what motion and residual refer to.
    """

    start: int
    length: int


class Sample(NamedTuple):
    """The three modalities at one position of a GOP, or at several, stacked.

    Attributes:
        iframe: The GOP's I-frame, uint8 (H, W, 3) RGB.
        motion: Displacement (x, y) in whole pixels, current minus reference, int16 (H, W, 2).
        residual: Picture minus compensated reference, int16 (H, W, 3) RGB.
    """

    iframe: np.ndarray
    motion: np.ndarray
    residual: np.ndarray


class Frame(NamedTuple):
    """One frame of a pass over a video.

    Attributes:
        index: Number of the frame in display order, from 0.
        gop: Number of its GOP, from 0.
        position: Its place in the GOP; 0 is the key frame, or the first frame after it where the container hides that.
        type: "I", "P", "B" or another of libavcodec's picture types.
        time: Seconds since the start of the stream's clock.
        image: The decoded picture, uint8 (H, W, 3) RGB, or None if not asked for.
        motion: Displacement (x, y), int16 (H, W, 2), zeros at a key frame; or None if not asked for.
        residual: Difference, int16 (H, W, 3) RGB, zeros at a key frame; or None if not asked for.
        vectors: The codec's own list of blocks, `pkdlib.video.blocks.VECTOR` (N,), empty at a key frame; or None if not
            asked for. Of a B-frame there are blocks with `source` < 0 from the frame before, and with `source` > 0 from
            the one after.
    """

    index: int
    gop: int
    position: int
    type: str
    time: float
    image: np.ndarray | None
    motion: np.ndarray | None
    residual: np.ndarray | None
    vectors: np.ndarray | None
