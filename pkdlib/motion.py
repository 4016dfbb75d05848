"""Dense motion fields from a codec's vectors, their accumulation back to the I-frame, and motion compensation.

A field is int16 (H, W, 2): for each pixel the displacement (x, y) in whole pixels, current minus reference, so that
the pixel at (x, y) comes from (x - field[y, x, 0], y - field[y, x, 1]) of the reference. Every field made here stays
inside the picture: a pixel whose source lies outside has no motion. The rules are those of CoViAR's loader (Wu et
al., Compressed Video Action Recognition, CVPR 2018), which this module equals bit for bit.
"""

import numpy as np
from numpy.lib.stride_tricks import as_strided

_PAIR = np.dtype("<i4")  # one pixel's (x, y) as one number, x in the low half, so that both move at once
_WORD = np.dtype("<u4")  # one pixel's RGB and the byte after it, for the same reason


class Tracer:
    """Motion arithmetic for pictures of one size.

    It owns the scratch memory of its methods, since fresh memory for each frame costs more than the arithmetic: use
    one tracer in one thread at a time. What the methods return is the caller's.

    Args:
        height: Height of the pictures, pixels.
        width: Width of the pictures, pixels.
    """

    def __init__(self, height: int, width: int):
        """Reserve the scratch memory."""
        self.height, self.width = height, width
        self._own_index = np.arange(height * width, dtype=np.int32).reshape(height, width)
        self._x, self._y = np.empty_like(self._own_index), np.empty_like(self._own_index)
        self._index = np.empty((height, width), np.intp)
        self._words = np.empty(height * width, _WORD)
        self._taken = np.empty((height, width), _WORD)
        self._bytes = np.zeros(height * width * 3 + 1, np.uint8)

    def field(self, vectors: np.ndarray | None) -> np.ndarray:
        """Spread a frame's block vectors over its pixels.

        Each block covers the w x h pixels centred on (dst_x, dst_y). Its displacement is dst - src, which is the
        codec's vector with the fraction dropped. Later blocks overwrite earlier ones, blocks without motion change
        nothing, and a pixel moves only if it and its source lie inside the picture. Only vectors to the past
        (source < 0) count: what a B-frame takes from the future alone has no motion here.

        Args:
            vectors: Structured array with the fields source, w, h, src_x, src_y, dst_x and dst_y, as PyAV exports
                it; or None for a frame without vectors.

        Returns:
            The field, int16 (H, W, 2).
        """
        if vectors is not None:
            motion = np.stack([vectors["dst_x"] - vectors["src_x"], vectors["dst_y"] - vectors["src_y"]], axis=1)
            moving = (vectors["source"] < 0) & motion.any(axis=1)
            if moving.any():
                return self._expand(*self._paint(vectors[moving], motion[moving].astype(np.int16)))
        return np.zeros((self.height, self.width, 2), np.int16)

    def accumulate(self, total: np.ndarray, field: np.ndarray) -> np.ndarray:
        """Follow a field's pixels further back, through what is known of their reference.

        The result at pixel p is field[p] + total[p - field[p]]: the displacement since the frame where `total` starts.

        Args:
            total: The reference frame's accumulated field, int16 (H, W, 2); zeros at the I-frame.
            field: The current frame's field against that reference, int16 (H, W, 2).

        Returns:
            The current frame's accumulated field, int16 (H, W, 2).
        """
        moved = np.empty((self.height, self.width), _PAIR)
        np.take(total.view(_PAIR), self._source(field), out=moved, mode="wrap")
        moved = moved.view(np.int16).reshape(field.shape)
        moved += field
        return moved

    def compensate(self, image: np.ndarray, field: np.ndarray) -> np.ndarray:
        """Predict a picture from its reference: each pixel is taken from where the field says that it was.

        Args:
            image: The reference picture, uint8 (H, W, 3).
            field: The field of the picture to predict, plain or accumulated, int16 (H, W, 2).

        Returns:
            The prediction, uint8 (H, W, 3).
        """
        return self._predicted(image, field).copy()

    def residual(self, image: np.ndarray, reference: np.ndarray, field: np.ndarray) -> np.ndarray:
        """Subtract the motion-compensated reference from a decoded picture.

        This is CoViAR's residual, of decoded RGB pictures; it is not the codec's own.

        Args:
            image: The decoded picture, uint8 (H, W, 3).
            reference: The decoded reference picture, uint8 (H, W, 3): the I-frame if the field is accumulated.
            field: The picture's field against the reference, int16 (H, W, 2).

        Returns:
            The difference, int16 (H, W, 3), from -255 to 255.
        """
        return np.subtract(image, self._predicted(reference, field), dtype=np.int16)

    def _paint(self, vectors: np.ndarray, motion: np.ndarray) -> tuple[np.ndarray, int]:
        # The grid's square cells are the coarsest that fit all edges: 8 or 16 pixels in MPEG-4.
        wide, high = vectors["w"].astype(int), vectors["h"].astype(int)
        left, top = vectors["dst_x"] - wide // 2, vectors["dst_y"] - high // 2
        edges = int(np.bitwise_or.reduce(wide | high | left | top))
        size = edges & -edges  # the largest power of two that divides every edge
        across = wide // size
        count = across * (high // size)
        block = np.repeat(np.arange(len(count)), count)
        within = np.arange(len(block)) - np.repeat(np.cumsum(count) - count, count)
        row = (top // size)[block] + within // across[block]
        column = (left // size)[block] + within % across[block]
        rows, columns = -(-self.height // size), -(-self.width // size)
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        cells = np.zeros((rows, columns, 2), np.int16)
        # Blocks come in stream order, so that of several on one cell the last stays.
        cells[row[inside], column[inside]] = motion[block[inside]]
        return cells, size

    def _expand(self, cells: np.ndarray, size: int) -> np.ndarray:
        # Cells become pixels; a pixel whose source lies outside the picture gets no motion.
        height, width = self.height, self.width
        lines = np.repeat(cells.view(_PAIR)[..., 0], size, axis=1)[:, :width]
        source_x = np.arange(width, dtype=np.int32) - ((lines << 16) >> 16)
        lines[(source_x < 0) | (source_x >= width)] = 0
        field = np.repeat(lines, size, axis=0)[:height]

        source_y = np.arange(height)[:, None] - np.repeat(cells[..., 1], size, axis=0)[:height]
        outside = (source_y < 0) | (source_y >= height)
        y = np.flatnonzero(outside.any(axis=1))
        field[y] = np.where(np.repeat(outside[y], size, axis=1)[:, :width], 0, field[y])
        return field.view(np.int16).reshape(height, width, 2)

    def _source(self, field: np.ndarray) -> np.ndarray:
        # The flat index of each pixel's source, in scratch memory.
        pairs, x, y = field.view(_PAIR)[..., 0], self._x, self._y
        np.left_shift(pairs, 16, out=x)
        x >>= 16
        np.right_shift(pairs, 16, out=y)
        y *= self.width
        y += x
        np.subtract(self._own_index, y, out=y)
        self._index[...] = y
        return self._index

    def _predicted(self, image: np.ndarray, field: np.ndarray) -> np.ndarray:
        # Gathering 4 bytes at once is three times as fast as gathering 3: each word holds a pixel and the next one's
        # red, and writing the words back in order leaves every red byte to the pixel that owns it.
        self._bytes[:-1] = image.reshape(-1)
        words = as_strided(self._bytes[:4].view(_WORD), self._words.shape, (3,))
        self._words[...] = words
        np.take(self._words, self._source(field), out=self._taken, mode="wrap")
        words[...] = self._taken.reshape(-1)
        return self._bytes[:-1].reshape(image.shape)


class Trace:
    """Motion along the pictures of one GOP, one after the other in display order.

    A picture is anything with `vectors` (for `Tracer.field`) and `type` ("I", "P", "B"). B-pictures are traced to the
    last other picture before them, and none is traced through a B-picture.

    Args:
        tracer: The tracer of the pictures' size.
        accumulate: Motion since the key picture, not since the reference picture alone.

    Attributes:
        key: The GOP's key picture.
    """

    def __init__(self, tracer: Tracer, accumulate: bool):
        """Wait for a key picture."""
        self._tracer, self._accumulate = tracer, accumulate

    def start(self, picture) -> tuple:
        """Begin at a key picture.

        Args:
            picture: The key picture.

        Returns:
            Its motion, all zeros, and itself as its own reference.
        """
        self.key = self._reference = picture
        self._motion = np.zeros((self._tracer.height, self._tracer.width, 2), np.int16)
        return self._motion, picture

    def step(self, picture) -> tuple:
        """Go on by one picture.

        Args:
            picture: The next one in display order.

        Returns:
            Its motion, and the picture against which its residual is: the key picture if accumulated.
        """
        motion, reference = self._tracer.field(picture.vectors), self._reference
        if self._accumulate:
            motion, reference = self._tracer.accumulate(self._motion, motion), self.key
        if picture.type != "B":
            self._motion, self._reference = motion, picture
        return motion, reference
