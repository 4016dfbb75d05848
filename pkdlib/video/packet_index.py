"""Where a video's packets lie in its file, which pictures they make, and where its GOPs begin.

An index is built once (`pkdlib.video.indexing`) and can be kept in a folder. With it, a packet is read straight from
its place in the file: neither the container nor what lies before it is read again. Only where a container cuts packets
up, as MPEG's transport and program streams do, is it opened and searched; what is found there is what was indexed, byte
by byte as a checksum tells, or it is not given.
"""

import dataclasses
import hashlib
import json
import zlib
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from functools import cached_property
from itertools import dropwhile, islice
from pathlib import Path

import av
import numpy as np

from pkdlib import _files
from pkdlib.video.container import RAW_FORMATS, DamagedVideo, UnreadableVideo, UnsupportedVideo, VideoError, packets
from pkdlib.video.decoder import Coding, Picture, decode
from pkdlib.video.orientation import Orientation
from pkdlib.video.sources import Source

_FORM = 3  # of the kept file; another form is built anew
NONE = -(2**63)  # an absent time, as libavformat marks it
_NEARBY = 8  # packets that a container may give before the one at whose place it was asked to begin
# What is told of each packet:
PACKET = np.dtype(
    [
        ("place", np.int64),  # in the file; where packets are searched, that of the piece in which it begins, or -1
        ("size", np.int64),  # bytes
        ("pts", np.int64),  # presentation time, ticks, or NONE
        ("dts", np.int64),  # decoding time, ticks, or NONE
        ("checksum", np.int64),
        ("beginning", np.int64),  # where a decoder begins to decode it with the headers that hold for it
        ("hidden", np.int64),  # whether its picture serves as a reference alone, and is not shown
        ("gap", np.int64),  # whether pictures are missing before its own that this may refer to
    ]
)


@dataclasses.dataclass(frozen=True, eq=False)
class Index:
    """What a video holds, and where.

    Attributes:
        coding: What its decoder must know.
        stream: Number of the stream among the file's video streams.
        container: libavformat's name of the container.
        rate: Frames a second.
        time_base: Seconds of one tick of `packets`' times.
        orientation: How the pictures are meant to be turned.
        approximate: Whether the vectors leave a doubt which picture they refer to.
        searched: Whether packets do not lie in the file in one piece, so that the container is to be searched for them.
        packets: The packets, in decoding order, `PACKET` (P,).
        order: For each picture in display order, hidden ones too, the number of its packet, int64 (F,).
        keys: Places in `order` of the pictures that begin a GOP, int64 (G,).
        types: The pictures' types, a letter each; None before they were decoded.
        damage: Why the video is cut short after the pictures told here; None if it is not known to be.
        resized: Whether that is because the pictures have another size from there on.
    """

    coding: Coding
    stream: int
    container: str
    rate: Fraction
    time_base: Fraction
    orientation: Orientation
    approximate: bool
    searched: bool
    packets: np.ndarray
    order: np.ndarray
    keys: np.ndarray
    types: str | None = None
    damage: str | None = None
    resized: bool = False

    def error(self) -> VideoError:
        """Tell the damage as an error.

        Returns:
            The error, not raised.
        """
        if self.resized:
            return UnsupportedVideo(self.damage)
        return DamagedVideo(self.damage, sum(packet not in self.hidden for packet in self.order.tolist()))

    @property
    def times(self) -> np.ndarray:
        """When each picture is shown, seconds since the start of the stream's clock, float64 (F,)."""
        times = self.packets["pts"][self.order]
        # AVI counts packets, as they are decoded; a raw stream does not tell when a picture is shown.
        untold = self.container in RAW_FORMATS or (self.container == "avi" and self.coding.reorder > 0)
        if untold or (times == NONE).any():
            return np.arange(len(self.order)) / float(self.rate)
        return times * float(self.time_base)

    def read(self, source: Source, first: int = 0) -> Iterator[av.Packet]:
        """Read packets from the file.

        Args:
            source: Where the video's bytes are.
            first: Number of the first packet to read.

        Yields:
            The packets up to the last, each with its number as its pts.

        Raises:
            DamagedVideo: If the file has changed.
        """
        if self.searched:
            yield from self._search(source, first)
            return
        places = zip(self.packets["place"][first:].tolist(), self.packets["size"][first:].tolist(), strict=True)
        for number, (place, size) in enumerate(places, start=first):
            packet = av.Packet(size)  # made of bytes, it would lack the padding that decoders read into
            if source.fill(packet, place) < size:
                raise DamagedVideo(f"{source}: has become shorter since it was opened", 0)
            yield _numbered(packet, number)

    def _search(self, source: Source, first: int) -> Iterator[av.Packet]:
        # The container is asked to jump to the first packet's place, or the last one before that is told, and then to
        # its time. Where it does not, or lands elsewhere, or reads on to other packets, they are counted from the
        # beginning. Whatever is given has the bytes that were indexed, so that nothing depends on where it was found.
        number = first
        for jump in (self._by_place, self._by_time, _by_number) if first else (_by_number,):
            with source.open_stream(self.stream) as (container, stream):
                for packet in jump(container, stream, number):
                    if signature(packet, replacement(packet))[1:] != self._bytes[number]:
                        break
                    yield _numbered(packet, number)
                    number += 1
                    if number == len(self._bytes):
                        return
        raise DamagedVideo(f"{source}: has changed since it was opened", 0)

    @cached_property
    def _bytes(self) -> list[tuple[int, int]]:
        return self.packets[["size", "checksum"]].tolist()

    def _by_place(self, container, stream, number: int) -> Iterator[av.Packet]:
        before = (self.packets["place"][: number + 1] >= 0).nonzero()[0]
        if len(before):
            near = int(before[-1])
            with suppress(av.FFmpegError):
                container.seek(int(self.packets["place"][near]), stream=stream, unsupported_byte_offset=True)
                yield from _beginning(packets(container, stream), self._bytes[number], number - near + _NEARBY)

    def _by_time(self, container, stream, number: int) -> Iterator[av.Packet]:
        time = int(self.packets["dts"][number])
        if time != NONE:
            with suppress(av.FFmpegError):
                container.seek(time, stream=stream)
                yield from _beginning(packets(container, stream), self._bytes[number])

    def surveyed(self, source: Source) -> "Index":
        """Decode the video once, and tell its pictures as they come.

        Args:
            source: Where the video's bytes are.

        Returns:
            An index of the sound pictures, up to the first damaged one, with their types.
        """
        order, keys, types, damage, resized = [], [], [], self.damage, False
        approximate = self.approximate
        try:
            for picture in self.decoded(source):
                if picture.is_key:
                    keys.append(len(order))
                order.append(picture.packet)
                types.append(picture.type[0])
                approximate |= picture.is_interlaced
        except (DamagedVideo, UnsupportedVideo) as error:
            damage, resized = str(error), isinstance(error, UnsupportedVideo)
        return dataclasses.replace(
            self,
            order=integers(order),
            keys=integers(keys),
            types="".join(types),
            approximate=approximate,
            damage=damage,
            resized=resized,
        )

    def decoded(
        self, source: Source, first: int = 0, *, start: int = 0, vectors_alone: bool = False
    ) -> Iterator[Picture]:
        """Decode pictures, hidden ones too.

        Args:
            source: Where the video's bytes are.
            first: Number of the packet to begin at, or before it where headers that hold for it were sent.
            start: Number of that packet's picture among those shown, for messages.
            vectors_alone: Leave out what only the pictures need; their images are not to be used then.

        Returns:
            The pictures in display order, from the first packet's on; a `DamagedVideo` is raised at the first one that
            is not sound, or may refer to one that is missing.
        """
        beginning = int(self.packets["beginning"][first])
        gaps = self.packets["gap"].nonzero()[0]
        pictures = decode(
            self.read(source, beginning),
            self.coding,
            source,
            start=max(0, start - (first - beginning)),
            hidden=self.hidden,
            gap=next((int(gap) for gap in gaps if gap > beginning), None),
            vectors_alone=vectors_alone,
        )
        return dropwhile(lambda picture: first and picture.packet != first, pictures)

    @cached_property
    def hidden(self) -> frozenset[int]:
        """The numbers of the packets whose pictures are not shown."""
        return frozenset(self.packets["hidden"].nonzero()[0].tolist())


def signature(packet: av.Packet, header: bytes | None) -> tuple[int, int, int]:
    """Tell a packet from others.

    Args:
        packet: The packet, as its container gives it.
        header: Its `replacement`.

    Returns:
        The place of the piece in which it begins, or -1, its size, and the CRC-32 of its bytes and of the header that
        comes with it.
    """
    place = -1 if packet.pos is None else packet.pos
    return place, packet.size, zlib.crc32(packet, zlib.crc32(header) if header else 0)


def replacement(packet: av.Packet) -> bytes | None:
    """Tell what a container replaces the stream's global header by, from a packet on.

    Args:
        packet: The packet.

    Returns:
        The new header, or None.
    """
    # Hardly any packet has any, and asking for a certain one is slow.
    return next((bytes(data) for data in packet.iter_sidedata() if data.data_type == "new_extradata"), None)


def _by_number(container, stream, number: int) -> Iterator[av.Packet]:
    yield from islice(packets(container, stream), number, None)


def _beginning(following: Iterator[av.Packet], wanted: tuple[int, int], within: int | None = None) -> Iterator:
    for packet in islice(following, within):
        if signature(packet, replacement(packet))[1:] == wanted:
            yield packet
            yield from following


def _numbered(packet: av.Packet, number: int) -> av.Packet:
    packet.pts, packet.dts = number, None
    return packet


def integers(values) -> np.ndarray:
    """Make an index's array.

    Args:
        values: Whole numbers.

    Returns:
        int64.
    """
    return np.array(values, np.int64)


def load(folder: Path, source: Source, number: int) -> Index | None:
    """Read a kept index, if there is one and the file is still the same.

    Args:
        folder: Where indices are kept.
        source: Where the video's bytes are.
        number: Number of the stream among its video streams.

    Returns:
        The index, or None.
    """
    try:
        head, _, body = _kept(folder, source, number).read_bytes().partition(b"\n")
        told = json.loads(head)
        if told.pop("identity") != _identity(source):
            return None
        shapes = told.pop("shapes")
        arrays = np.split(
            np.frombuffer(body, np.int64), np.cumsum([np.prod(shape, dtype=int) for shape in shapes])[:-1]
        )
        packets, order, keys = (array.reshape(shape) for array, shape in zip(arrays, shapes, strict=True))
        packets = packets.view(PACKET)[:, 0]
        coding = told.pop("coding")
        coding[2] = bytes.fromhex(coding[2])
        told["rate"], told["time_base"] = Fraction(told["rate"]), Fraction(told["time_base"])
        told["orientation"] = Orientation(*told["orientation"])
        return Index(coding=Coding(*coding), packets=packets, order=order, keys=keys, **told)
    except (OSError, ValueError, TypeError, KeyError):
        return None  # absent, or not whole: it is built anew


def keep(index: Index, folder: Path, source: Source) -> None:
    """Keep an index in a folder; it appears there only when it is whole.

    Args:
        index: The index.
        folder: The folder, which is made if need be.
        source: Where the video's bytes are.

    Raises:
        UnreadableVideo: If the folder cannot be written.
    """
    arrays = index.packets.view(np.int64).reshape(-1, len(PACKET)), index.order, index.keys
    told = {
        "identity": _identity(source),
        "coding": [part.hex() if isinstance(part, bytes) else part for part in index.coding],
        "shapes": [array.shape for array in arrays],
        "rate": str(index.rate),
        "time_base": str(index.time_base),
    }
    for name in ("stream", "container", "orientation", "approximate", "searched", "types", "damage", "resized"):
        told[name] = getattr(index, name)
    target = _kept(folder, source, index.stream)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _files.appearing(target) as temporary:
            temporary.write_bytes(json.dumps(told).encode() + b"\n" + b"".join(array.tobytes() for array in arrays))
    except OSError as error:
        raise UnreadableVideo(f"{source}: its index cannot be kept in {folder}: {error.strerror or error}") from error


def _kept(folder: Path, source: Source, number: int) -> Path:
    name = hashlib.sha256(source.identity()[0]).hexdigest()[:24]
    return folder / f"{name}-{number}.index"


def _identity(source: Source) -> list:
    return [_FORM, av.__version__, *source.identity()[1]]
