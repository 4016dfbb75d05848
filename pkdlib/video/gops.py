"""A video's pictures by groups of pictures (GOPs), each decoded from its own key frame on."""

import operator
from collections.abc import Iterator
from itertools import islice, pairwise

import numpy as np

from pkdlib.video.container import BadRequest, DamagedVideo, NoSuchFrame
from pkdlib.video.decoder import Picture, decode
from pkdlib.video.frames import Gop
from pkdlib.video.packet_index import Index
from pkdlib.video.sources import Source


class Gops:
    """The GOPs of a video. Each read has a decoder of its own, and gives hidden pictures, too.

    Args:
        source: Where the video's bytes are.
        index: Its index.

    Attributes:
        spans: The GOPs that have a frame, in display order.
        shown: For each frame, its number among the decoded pictures, int64 (frames,).
    """

    def __init__(self, source: Source, index: Index):
        """Tell GOPs apart; nothing is decoded."""
        self._source, self._index = source, index
        self.shown = np.flatnonzero(~np.isin(index.order, list(index.hidden)))
        # A stream may begin with pictures that refer to a key frame that is not there; they are no GOP's.
        starts = np.searchsorted(self.shown, index.keys).tolist()
        ends = [*starts[1:], len(self.shown)]
        spans = [Gop(start, end - start) for start, end in zip(starts, ends, strict=True)]
        self._keys = [int(key) for key, span in zip(index.keys, spans, strict=True) if span.length]
        self.spans = tuple(span for span in spans if span.length)

    def locate(self, frame: int) -> tuple[int, int]:
        """Tell in which GOP a frame is, and where.

        Args:
            frame: Number of the frame in display order; negative numbers count from the end.

        Returns:
            The GOP's number and the position in it.
        """
        frame = self._checked(frame, len(self.shown), "frame")
        gop = int(np.searchsorted([span.start for span in self.spans], frame, side="right")) - 1
        return gop, frame - self.spans[gop].start

    def numbers(self, asked: int | slice) -> list[int]:
        """Tell which GOPs are asked for.

        Args:
            asked: A number, negative ones from the end; or a slice.

        Returns:
            Their numbers, from 0.
        """
        return self._numbers(asked, len(self.spans), "GOP")

    def place(self, gop: int, position: int) -> tuple[int, int]:
        """Check a place that is asked for.

        Args:
            gop: A GOP's number; negative ones count from the end.
            position: In the GOP; negative ones count from its end.

        Returns:
            Both, from 0.
        """
        gop = self._checked(gop, len(self.spans), "GOP")
        return gop, self._checked(position, self.spans[gop].length, f"position in GOP {gop}")

    def positions(self, gop: int, asked: int | slice) -> tuple[int, list[int]]:
        """Tell which positions of a GOP are asked for.

        Args:
            gop: Its number; negative ones count from the end.
            asked: A position, negative ones from the GOP's end; or a slice.

        Returns:
            The GOP's number, and the positions, from 0 each.
        """
        gop = self._checked(gop, len(self.spans), "GOP")
        return gop, self._numbers(asked, self.spans[gop].length, f"position in GOP {gop}")

    def _numbers(self, asked: int | slice, count: int, what: str) -> list[int]:
        if isinstance(asked, slice):
            return list(range(*asked.indices(count)))
        return [self._checked(asked, count, what)]

    def _checked(self, number: int, count: int, what: str) -> int:
        try:
            number = operator.index(number)
        except TypeError:
            raise BadRequest(f"{self._source}: {what} {number!r}: must be a whole number") from None
        if not -count <= number < count:
            raise NoSuchFrame(f"{self._source}: no {what} {number}: there are {count}")
        return number % count

    def places(self, gop: int) -> list[int]:
        """Tell which of a GOP's pictures are shown.

        Args:
            gop: Its number.

        Returns:
            The place of each of its frames among its pictures, counted from the key frame on.
        """
        start, length = self.spans[gop]
        return (self.shown[start : start + length] - self._keys[gop]).tolist()

    def key(self, gop: int) -> Picture:
        """Decode a GOP's key frame, and no other picture where that can be.

        Args:
            gop: Its number.

        Returns:
            The picture.
        """
        number = int(self._index.order[self._keys[gop]])
        if self._index.packets["beginning"][number] == number:
            packets = islice(self._index.read(self._source, first=number), 1)
            picture = next(decode(packets, self._index.coding, self._source, start=self.spans[gop].start), None)
            if picture is not None and not picture.is_interlaced:  # else one packet may not be all of it, but a field
                return picture
        return next(self.pictures(gop))

    def pictures(self, gop: int, *, vectors_alone: bool = False) -> Iterator[Picture]:
        """Decode a GOP.

        Args:
            gop: Its number.
            vectors_alone: Leave out what only the pictures need; their images are not to be used then.

        Yields:
            Its pictures, the key frame first. A `DamagedVideo` is raised at the first one that is not sound.
        """
        # Pictures that come before the key frame refer to the GOP before, which this decoder has not seen.
        index, key = self._index, self._keys[gop]
        after = self._keys[gop + 1] if gop + 1 < len(self._keys) else len(index.order)
        first, start = int(index.order[key]), self.spans[gop].start
        pictures = index.decoded(self._source, first, start=start, vectors_alone=vectors_alone)
        yield from self._matched(pictures, key, after)

    def in_one_pass(self, *, vectors_alone: bool = False) -> Iterator[tuple[int, Iterator[Picture]]]:
        """Decode all GOPs, one after the other.

        Args:
            vectors_alone: As for `pictures`.

        Yields:
            A GOP's number, and its pictures as `pictures` gives them, which are gone when the next one is taken.
        """
        decoded = self._index.decoded(self._source, vectors_alone=vectors_alone)
        count = len(self._index.order)
        pictures = islice(self._matched(decoded, 0, count), self._keys[0], None)
        for number, (key, after) in enumerate(pairwise([*self._keys, count])):
            own = islice(pictures, after - key)
            yield number, own
            for _ in own:  # pictures that are hidden
                pass

    def _matched(self, pictures: Iterator[Picture], first: int, after: int) -> Iterator[Picture]:
        # The pictures, as long as they are those that the index tells.
        numbers, keys, found = self._index.order[first:after].tolist(), set(self._index.keys.tolist()), first
        # The number first, so that no picture is decoded beyond the last.
        for number, picture in zip(numbers, pictures, strict=False):
            if picture.packet != number or (found in keys and not picture.is_key):
                raise self._mismatch(first, found, "frame {} is not what the container says")
            yield picture
            found += 1
        if found < after:
            raise self._mismatch(first, found, "the stream ends before frame {}")

    def _mismatch(self, first: int, found: int, what: str) -> DamagedVideo:
        start, frame = np.searchsorted(self.shown, [first, found]).tolist()
        since, count = f" since frame {start}" if start else "", frame - start
        return DamagedVideo(
            f"{self._source}: damaged: {what.format(frame)}; {count} sound frames precede it{since}", count
        )
