"""Read a compressed video's I-frames, motion vectors and residuals, all in one pass or any one by itself.

The semantics are those of CoViAR's loader (Wu et al., Compressed Video Action Recognition, CVPR 2018), and equal to
it bit for bit where it is defined. They differ, on purpose, in four things: the last frame is not lost; a P-frame
without vectors keeps the accumulated motion (the stream says that all is still); any GOP length, container and
codec whose vectors libavcodec exports will do; and what cannot be read raises one `VideoError`.

Motion is taken against the picture that a frame is predicted from, the last I- or P-frame before it; for B-frames too
(`pkdlib.video.motion` says how). Some streams leave a doubt which picture a vector refers to, for libavcodec's export
does not tell: H.264 that allows more than one reference frame, and interlaced video. They are read as if it were always
the last one, and `CompressedVideo.approximate` says so.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Literal

import numpy as np

from pkdlib.video import indexing, sources
from pkdlib.video import packet_index as indices
from pkdlib.video.blocks import listed
from pkdlib.video.container import BadRequest, UnreadableVideo, VideoError
from pkdlib.video.decoder import Picture
from pkdlib.video.frames import Frame, Gop, Sample
from pkdlib.video.gops import Gops
from pkdlib.video.motion import Traced, displacement, residual, trace
from pkdlib.video.transforms import WHOLE, View

__all__ = ["CompressedVideo", "Frame", "Gop", "Sample", "VideoError", "View"]

_WITHOUT_PICTURES = frozenset({"motion", "vectors"})  # what can be read without any picture
_WITHOUT_TRACE = frozenset({"image", "vectors"})


class CompressedVideo:
    """A compressed video whose GOPs can be read in any order.

    Opening it reads the file once, to index its packets and key frames, or reads an index kept before. A sample then
    costs the decoding from its key frame on. Each read has a decoder of its own: one object can serve several threads,
    processes forked after it was opened, and, being picklable, spawned ones; but one that reads a file object serves
    the threads of one process alone. Close it or use it in a `with` statement. All that fails raises `VideoError`.

    Wherever a position in a GOP is asked for, a slice gives several, stacked along a new first axis.

    Args:
        source: Path of a video file; or its bytes, as `bytes` or another buffer in one piece, which is not copied and
            must not change; or a binary file object that can be sought in, whose position is moved, and which stays
            open.
        stream: Number of the stream among the file's video streams; attached pictures do not count.
        on_error: What to do with a truncated or damaged file. "raise" raises `DamagedVideo` where the damage is met,
            and `UnsupportedVideo` where the pictures' size changes; the frames before it can be read, unless the file
            had to be decoded to index it, and is refused at once. "keep" decodes the file once and then shows the
            frames before the damage as if there were no more; `damage` says why.
        cache: A folder to keep the index in, or None. A kept index is used if the file's size and time stamp are
            still the same; without a path, if the content is, by its SHA-256, for which all of it is read.

    Attributes:
        path: The path, or None.
        codec: Name of the codec, such as "mpeg4" or "h264".
        width: Width of the pictures, pixels, as stored (`mirrored` and `rotation` are not followed).
        height: Height of the pictures, pixels.
        mirrored: Whether left and right of the pictures are meant to be swapped for display.
        rotation: Degrees, counterclockwise, by which they are meant to be turned then.
        num_frames: Number of frames that are shown. A file that was trimmed without encoding it anew may hold more,
            hidden ones, which serve as references alone.
        frame_rate: Frames a second, a Fraction.
        times: When each frame is shown, seconds since the start of the stream's clock, float64 (num_frames,).
        gops: The groups of pictures, in display order, of any length.
        approximate: Whether the vectors leave a doubt which picture they refer to (see the module's text).
        damage: With on_error="keep", why there are no more frames; None if all are there.

    Example:
        Two GOPs of a picture that moves to the right by two pixels a frame: by six from the I-frame to frame 3.

        >>> import numpy as np
        >>> from pkdlib import CompressedVideo
        >>> from pkdlib.video.transcode import encode
        >>> picture = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8).repeat(16, 0).repeat(16, 1)
        >>> encode((np.roll(picture, 2 * time, axis=1) for time in range(24)), "moving.avi")
        >>> with CompressedVideo("moving.avi") as video:
        ...     image, motion, residual = video.iframe(0), video.motion(0, 3), video.residual(0, 3)
        >>> image.shape, image.dtype, len(video.gops)
        ((128, 128, 3), dtype('uint8'), 2)
        >>> np.median(motion, axis=(0, 1)).tolist()  # x and y
        [6.0, 0.0]
    """

    def __init__(self, source, *, stream: int = 0, on_error: Literal["raise", "keep"] = "raise", cache=None):
        """Open the source and index it.

        Raises:
            BadRequest: If an argument makes no sense.
            UnreadableVideo: If there is nothing to read.
        """
        self._source, self._cache = sources.of(source), None if cache is None else Path(cache)
        try:
            if on_error not in ("raise", "keep"):
                raise BadRequest(f"{self._source}: on_error={on_error!r}: must be 'raise' or 'keep'")
            self._index = self._found(stream, surveyed=on_error == "keep")
            if on_error == "raise" and self._index.damage:
                raise self._index.error()
            self._describe()
            if not self.gops:
                raise UnreadableVideo(f"{self._source}: its container hides all of its frames")
        except BaseException:
            self.close()
            raise

    def _found(self, stream: int, surveyed: bool) -> indices.Index:
        kept = indices.load(self._cache, self._source, stream) if self._cache else None
        index = kept or indexing.build(self._source, stream)
        if surveyed and index.types is None:
            index = index.surveyed(self._source)
            if len(index.keys) == 0:
                raise UnreadableVideo(index.damage or f"{self._source}: no key frame can be decoded")
        if self._cache and index is not kept:
            indices.keep(index, self._cache, self._source)
        return index

    def _describe(self) -> None:
        self.path = self._source.path
        coding = self._index.coding
        self.codec, self.width, self.height = coding.codec, coding.width, coding.height
        self.mirrored, self.rotation = self._index.orientation
        self.frame_rate, self.approximate, self.damage = self._index.rate, self._index.approximate, self._index.damage
        self._gops = Gops(self._source, self._index)
        self.gops, self.num_frames = self._gops.spans, len(self._gops.shown)
        self.times = self._index.times[self._gops.shown]

    def close(self) -> None:
        """Close the file, or let go of the bytes or the file object; doing so twice does no harm."""
        self._source.close()

    def __enter__(self):
        """Return the video itself."""
        return self

    def __exit__(self, *exception):
        """Close the video."""
        self.close()

    def __getstate__(self) -> dict:
        """Leave out what the index tells.

        Returns:
            The source, which is a path or a copy of the bytes, and the index.
        """
        return {"_source": self._source, "_cache": self._cache, "_index": self._index}

    def __setstate__(self, state: dict) -> None:
        """Open the source again, with the index as it was."""
        self.__dict__.update(state)
        self._describe()

    def __len__(self) -> int:
        """Return the number of frames."""
        return self.num_frames

    @cached_property
    def frame_types(self) -> str:
        """Picture type of each frame, in display order, a letter each; the first time decodes the video once."""
        if self._index.types is None:
            index = self._index.surveyed(self._source)
            if index.damage:
                raise index.error()
            if self._cache:
                indices.keep(index, self._cache, self._source)
            self._index = index
        return "".join(self._index.types[picture] for picture in self._gops.shown)

    def locate(self, frame: int) -> tuple[int, int]:
        """Tell in which GOP a frame is, and where.

        Args:
            frame: Number of the frame in display order; negative numbers count from the end.

        Returns:
            The GOP's number and the position in it.
        """
        return self._gops.locate(frame)

    def iframe(self, gop: int | slice, *, view: View = WHOLE) -> np.ndarray:
        """Decode the key frame of a GOP; no other frame is decoded.

        Args:
            gop: Number of the GOP; negative numbers count from the end. A slice gives several, stacked.
            view: What to show of it.

        Returns:
            The picture, uint8 (H, W, 3) RGB.
        """
        rows, columns = self._window(view)
        numbers = self._gops.numbers(gop)
        images = [view.image(self._gops.key(number).image[rows, columns]) for number in numbers or [0]]
        return np.stack(images)[: len(numbers)] if isinstance(gop, slice) else images[0]

    def image(self, gop: int, position: int | slice, *, view: View = WHOLE) -> np.ndarray:
        """Decode the picture at a position of a GOP.

        Args:
            gop: Number of the GOP; negative numbers count from the end.
            position: Place in the GOP; negative numbers count from its end. A slice gives several.
            view: What to show of it.

        Returns:
            The picture, uint8 (H, W, 3) RGB.
        """
        return self._one("image", gop, position, True, view)

    def motion(self, gop: int, position: int | slice, accumulate: bool = True, *, view: View = WHOLE) -> np.ndarray:
        """Read the motion at a position of a GOP; no picture is converted.

        Args:
            gop: Number of the GOP; negative numbers count from the end.
            position: Place in the GOP; negative numbers count from its end. A slice gives several.
            accumulate: Since the I-frame, not since the reference frame alone.
            view: What to show of it.

        Returns:
            Displacement (x, y) in whole pixels, current minus reference, int16 (H, W, 2); zeros at a key frame.
        """
        return self._one("motion", gop, position, accumulate, view)

    def residual(self, gop: int, position: int | slice, accumulate: bool = True, *, view: View = WHOLE) -> np.ndarray:
        """Compute the residual at a position of a GOP.

        Args:
            gop: Number of the GOP; negative numbers count from the end.
            position: Place in the GOP; negative numbers count from its end. A slice gives several.
            accumulate: Against the I-frame, not against the reference frame.
            view: What to show of it.

        Returns:
            Picture minus compensated reference, int16 (H, W, 3) RGB; zeros at a key frame.
        """
        return self._one("residual", gop, position, accumulate, view)

    def vectors(self, gop: int, position: int | slice) -> np.ndarray | list[np.ndarray]:
        """Read the codec's own list of blocks at a position of a GOP, as it is; no picture is converted.

        Args:
            gop: Number of the GOP; negative numbers count from the end.
            position: Place in the GOP; negative numbers count from its end. A slice gives a list of arrays.

        Returns:
            Source, size, places and displacement of each block, `pkdlib.video.blocks.VECTOR` (N,); empty at a key
            frame, and where a frame is all of intra blocks or does not change.
        """
        arrays = self._read("vectors", gop, position)
        return arrays if isinstance(position, slice) else arrays[0]

    def sample(self, gop: int, position: int | slice, accumulate: bool = True, *, view: View = WHOLE) -> Sample:
        """Read the three modalities at a position of a GOP, decoding it once.

        Args:
            gop: Number of the GOP; negative numbers count from the end.
            position: Place in the GOP; negative numbers count from its end. A slice gives several.
            accumulate: Since the I-frame, not since the reference frame alone.
            view: What to show of them.

        Returns:
            The I-frame, the motion and the residual.
        """
        gop, positions = self._gops.positions(gop, position)
        samples = self.samples([(gop, number) for number in positions or [0]], accumulate, view=view)
        return Sample(*(array[: len(positions)] if isinstance(position, slice) else array[0] for array in samples))

    def samples(self, places: Iterable[tuple[int, int]], accumulate: bool = True, *, view: View = WHOLE) -> Sample:
        """Read the three modalities at several positions, decoding each GOP once, and no further than is needed.

        Args:
            places: A GOP and a position in it for each sample, in any order; negative numbers count from the end.
            accumulate: Since the I-frame, not since the reference frame alone.
            view: What to show of them.

        Returns:
            The I-frames, motions and residuals in the order asked for, stacked along a new first axis.

        Raises:
            BadRequest: If no place is asked for.
        """
        asked = [self._gops.place(*place) for place in places]
        if not asked:
            raise BadRequest(f"{self._source}: places: there must be at least one")
        rows, columns = self._window(view)
        iframes, frames = {}, {}
        for gop in sorted({gop for gop, _ in asked}):
            wanted = {position for other, position in asked if other == gop}
            pictures = self._gops.pictures(gop)
            key = next(pictures)
            for frame in self._frames(gop, chain([key], pictures), accumulate, {"motion", "residual"}, view, wanted):
                frames[gop, frame.position] = frame
            iframes[gop] = view.image(key.image[rows, columns])
        return Sample(
            np.stack([iframes[gop] for gop, _ in asked]),
            np.stack([frames[place].motion for place in asked]),
            np.stack([frames[place].residual for place in asked]),
        )

    def frames(
        self,
        accumulate: bool = True,
        *,
        gops: int | slice | None = None,
        image: bool = True,
        motion: bool = True,
        residual: bool = True,
        vectors: bool = False,
        view: View = WHOLE,
    ) -> Iterator[Frame]:
        """Decode all frames in display order, in one pass that does the work once.

        The arrays serve the pass for later frames too: copy one before writing into it.

        Args:
            accumulate: Motion and residual since the I-frame, not since the reference frame alone.
            gops: Number of the one GOP to give, or a slice of GOPs; None gives all.
            image: Give the decoded pictures.
            motion: Give the motion.
            residual: Give the residuals; without them and the pictures, no RGB is computed.
            vectors: Give the codec's own lists of blocks.
            view: What to show of pictures, motion and residuals.

        Yields:
            One `Frame` after the other.
        """
        asked = {"image": image, "motion": motion, "residual": residual, "vectors": vectors}
        what = {name for name, wanted in asked.items() if wanted}
        if gops is None:
            for number, pictures in self._gops.in_one_pass(vectors_alone=what <= _WITHOUT_PICTURES):
                yield from self._frames(number, pictures, accumulate, what, view)
        else:
            for number in self._gops.numbers(gops):
                pictures = self._gops.pictures(number, vectors_alone=what <= _WITHOUT_PICTURES)
                yield from self._frames(number, pictures, accumulate, what, view)

    def _one(self, what: str, gop: int, position: int | slice, accumulate: bool, view: View) -> np.ndarray:
        arrays = self._read(what, gop, position, accumulate, view)
        if not isinstance(position, slice):
            return arrays[0]
        return np.stack(arrays) if arrays else self._one(what, gop, 0, accumulate, view)[None][:0]

    def _read(
        self, what: str, gop: int, position: int | slice, accumulate: bool = True, view: View = WHOLE
    ) -> list[np.ndarray]:
        gop, positions = self._gops.positions(gop, position)
        pictures = self._gops.pictures(gop, vectors_alone=what in _WITHOUT_PICTURES)
        frames = self._frames(gop, pictures, accumulate, {what}, view, set(positions))
        arrays = {frame.position: getattr(frame, what) for frame in frames}
        return [arrays[number] for number in positions]

    def _frames(
        self,
        gop: int,
        pictures: Iterator[Picture],
        accumulate: bool,
        what: set,
        view: View,
        wanted: set | None = None,
    ) -> Iterator[Frame]:
        # A GOP's frames, or those at the wanted positions, after which no picture is decoded any more.
        rows, columns = self._window(view)
        start, shown = self.gops[gop].start, enumerate(self._gops.places(gop))
        positions = {place: position for position, place in shown if wanted is None or position in wanted}
        if what <= _WITHOUT_TRACE:
            traced = (
                Traced(place, picture, None, None) for place, picture in enumerate(pictures) if place in positions
            )
        else:
            traced = trace(
                pictures,
                self.height,
                self.width,
                accumulate=accumulate,
                colours="residual" in what,
                wanted=positions,
            )
        for place, picture, places, prediction in islice(traced, len(positions)):
            image = moved = difference = vectors = None
            if "image" in what:
                image = view.image(picture.image[rows, columns])
            if "motion" in what:
                moved = view.motion(displacement(places, rows, columns))
            if "residual" in what:
                shown = picture.image if prediction is None else prediction
                difference = view.residual(residual(picture.image, shown, rows, columns))
            if "vectors" in what:
                vectors = listed(picture.vectors)
            position = positions[place]
            index, time = start + position, float(self.times[start + position])
            yield Frame(index, gop, position, picture.type, time, image, moved, difference, vectors)

    def _window(self, view: View) -> tuple[slice, slice]:
        try:
            return view.window(self.height, self.width)
        except BadRequest as error:
            raise BadRequest(f"{self._source}: {error}") from None
