"""From a codec's vectors to where each pixel comes from, back to the I-frame, and motion compensation.

A source map is intp (H, W): for each pixel the flat index, row * W + column, of the pixel of the reference that it
comes from. Maps stay inside the picture: a pixel whose source would lie outside comes from its own place. The rules
are those of CoViAR's loader (Wu et al., Compressed Video Action Recognition, CVPR 2018), which this module equals bit
for bit.
"""

import numpy as np
from numpy.lib.stride_tricks import as_strided

_PAIR = np.dtype("<i4")  # one pixel's (x, y), two int16, as one number with x in the low half: both move at once
_WORD = np.dtype("<u4")  # one pixel's RGB and the byte after it, for the same reason


class Tracer:
    """Motion arithmetic for pictures of one size.

    It owns scratch memory, since fresh memory for each frame costs more than the arithmetic: use one tracer in one
    thread at a time. What its methods return is the caller's.

    Args:
        height: Height of the pictures, pixels.
        width: Width of the pictures, pixels.

    Attributes:
        still: The map of a picture without motion; not to be written into.
    """

    def __init__(self, height: int, width: int):
        """Reserve the scratch memory."""
        self.height, self.width = height, width
        self.still = np.arange(height * width).reshape(height, width)
        y, x = np.divmod(self.still.astype(_PAIR), np.int32(width))
        self._place = (y << 16) | x
        self._taken = np.empty((height, width), _WORD)
        self._bytes = np.zeros(height * width * 3 + 1, np.uint8)

    def source(self, vectors: np.ndarray | None, out: np.ndarray | None = None) -> np.ndarray:
        """Tell where each pixel of a frame comes from by the frame's block vectors.

        Each block covers the w x h pixels centred on (dst_x, dst_y). Its displacement is dst - src, which is the
        codec's vector with the fraction dropped. Later blocks overwrite earlier ones, blocks without motion change
        nothing, and a pixel moves only if it and its source lie inside the picture. Only vectors to the past
        (source < 0) count: what a B-frame takes from the future alone has no motion here.

        Args:
            vectors: Structured array with the fields source, w, h, src_x, src_y, dst_x and dst_y, as PyAV exports
                it; or None for a frame without vectors.
            out: Memory for the result, intp (H, W), if at hand.

        Returns:
            The source map, intp (H, W): `out` or new memory, or `still` if nothing moves.
        """
        if vectors is None:
            return self.still
        motion = np.stack([vectors["dst_x"] - vectors["src_x"], vectors["dst_y"] - vectors["src_y"]], axis=1)
        moving = (vectors["source"] < 0) & motion.any(axis=1)
        if not moving.any():
            return self.still
        cells, size = self._paint(vectors[moving], motion[moving].astype(np.int16))
        return self._expand(cells, size, np.empty_like(self.still) if out is None else out)

    def follow(self, total: np.ndarray, source: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Follow a frame's pixels further back, through what is known of their reference.

        Args:
            total: The reference frame's map back to the I-frame, intp (H, W); `still` at the I-frame itself.
            source: The current frame's map to that reference, intp (H, W).
            out: Memory for the result, intp (H, W), if at hand; neither of the others.

        Returns:
            The current frame's map back to the I-frame, total[source], intp (H, W).
        """
        return np.take(total, source, out=out, mode="wrap")  # never wraps; the default mode copies `out`

    def motion(self, source: np.ndarray) -> np.ndarray:
        """Turn a source map into displacements.

        Args:
            source: The map, intp (H, W).

        Returns:
            For each pixel its place minus its source's, (x, y) in whole pixels, int16 (H, W, 2).
        """
        if source is self.still:
            return np.zeros((self.height, self.width, 2), np.int16)
        places = np.take(self._place, source, mode="wrap").view(np.int16)
        np.subtract(self._place.view(np.int16), places, out=places)
        return places.reshape(self.height, self.width, 2)

    def words(self, image: np.ndarray) -> np.ndarray:
        """Prepare a reference picture for `residual` and `compensate`, each of which reads it at any pixel.

        Gathering 4 bytes at once is three times as fast as gathering 3, so that each word holds a pixel's RGB and the
        next pixel's red.

        Args:
            image: The picture, uint8 (H, W, 3).

        Returns:
            One word a pixel, uint32 (H, W).
        """
        self._bytes[:-1] = image.reshape(-1)
        return self._overlapping().copy().reshape(self.height, self.width)

    def compensate(self, words: np.ndarray, source: np.ndarray) -> np.ndarray:
        """Predict a picture from its reference: each pixel is taken from where the map says that it was.

        Args:
            words: The reference picture's `words`.
            source: The map of the picture to predict, intp (H, W).

        Returns:
            The prediction, uint8 (H, W, 3).
        """
        return self._predicted(words, source).copy()

    def residual(self, image: np.ndarray, words: np.ndarray, source: np.ndarray) -> np.ndarray:
        """Subtract the motion-compensated reference from a decoded picture.

        This is CoViAR's residual, of decoded RGB pictures; it is not the codec's own.

        Args:
            image: The decoded picture, uint8 (H, W, 3).
            words: The reference picture's `words`: the I-frame's for a map back to it.
            source: The picture's map, intp (H, W).

        Returns:
            The difference, int16 (H, W, 3), from -255 to 255.
        """
        difference = image.astype(np.int16)
        difference -= self._predicted(words, source)
        return difference

    def _predicted(self, words: np.ndarray, source: np.ndarray) -> np.ndarray:
        np.take(words, source, out=self._taken, mode="wrap")
        # Written back in order, each word's fourth byte is overwritten by the pixel that owns it.
        self._overlapping()[...] = self._taken.reshape(-1)
        return self._bytes[:-1].reshape(self.height, self.width, 3)

    def _overlapping(self) -> np.ndarray:
        return as_strided(self._bytes[:4].view(_WORD), (self.height * self.width,), (3,))

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

    def _expand(self, cells: np.ndarray, size: int, out: np.ndarray) -> np.ndarray:
        # Columns first, where there is one line of pixels a row of cells; then each line is repeated downwards.
        height, width = self.height, self.width
        x, y = (np.repeat(cells[..., axis], size, axis=1)[:, :width].astype(np.intp) for axis in (0, 1))
        source_x = np.arange(width) - x
        offset = np.where((source_x < 0) | (source_x >= width), 0, y * width + x)
        whole = height // size * size
        for rows, lines in ((slice(whole), offset[: whole // size, None]), (slice(whole, None), offset[-1, None])):
            shape = (*lines.shape[:-2], -1, width)
            np.subtract(self.still[rows].reshape(shape), lines, out=out[rows].reshape(shape))

        source_y = np.arange(height)[:, None] - np.repeat(cells[..., 1], size, axis=0)[:height]
        outside = (source_y < 0) | (source_y >= height)
        y = np.flatnonzero(outside.any(axis=1))
        out[y] = np.where(np.repeat(outside[y], size, axis=1)[:, :width], self.still[y], out[y])
        return out


class Trace:
    """Sources along the pictures of one GOP, one after the other in display order.

    A picture is anything with `vectors` (for `Tracer.source`) and `type` ("I", "P", "B"). B-pictures are traced to the
    last other picture before them, and none is traced through a B-picture.

    Args:
        tracer: The tracer of the pictures' size.
        accumulate: Sources in the key picture, not in the reference picture alone.

    Attributes:
        key: The GOP's key picture.
    """

    def __init__(self, tracer: Tracer, accumulate: bool):
        """Wait for a key picture."""
        self._tracer, self._accumulate = tracer, accumulate
        self._step, *self._totals = (np.empty_like(tracer.still) for _ in range(3))

    def start(self, picture) -> tuple:
        """Begin at a key picture.

        Args:
            picture: The key picture.

        Returns:
            Its source map, without motion, and itself as its own reference.
        """
        self.key = self._reference = picture
        self._total = self._tracer.still
        return self._total, picture

    def step(self, picture) -> tuple:
        """Go on by one picture.

        Args:
            picture: The next one in display order.

        Returns:
            Its source map, valid until the next step, and the picture that the map leads to: the key picture if
            accumulated.
        """
        source, reference = self._tracer.source(picture.vectors, out=self._step), self._reference
        if self._accumulate:
            spare = self._totals[self._total is self._totals[0]]
            source = self._tracer.follow(self._total, source, out=spare)
            reference = self.key
        if picture.type != "B":
            self._total, self._reference = source, picture
        return source, reference
