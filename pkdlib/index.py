"""Where a video's packets lie in its file, which pictures they make, and where its GOPs begin.

An index is built once, from the packets alone wherever these leave no doubt, and can be kept in a folder. With it, a
packet is read straight from its place in the file: neither the container nor what lies before it is read again. Only
where a container cuts packets up, as MPEG's transport and program streams do, is it opened and searched.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from pkdlib import h264
from pkdlib.container import (
    RAW_FORMATS,
    DamagedVideo,
    UnreadableVideo,
    UnsupportedVideo,
    VideoError,
    open_stream,
    packets,
    reason,
)
from pkdlib.decoder import Coding, decode
from pkdlib.motion import LARGEST_SIDE

# Decoders that fill in AV_FRAME_DATA_MOTION_VECTORS; hevc, vp8, vp9 and av1 do not.
WITH_VECTORS = frozenset(
    "mpeg4 h264 mpeg1video mpeg2video h263 flv1 msmpeg4v1 msmpeg4v2 msmpeg4v3 wmv1 wmv2".split()  # noqa: SIM905
)
_FORM = 2  # of the kept file; another form is built anew
_NONE = -(2**63)  # an absent time, as libavformat marks it
_LARGEST_HEADER = 64  # bytes that a container may put between a packet's place, as libavformat tells it, and its data
_LARGEST_UNCODED = 19  # bytes; a smaller packet may stand for no picture of its own (libavcodec's MAX_NVOP_SIZE)
_MPEG4_PICTURE = b"\0\0\1\xb6"  # the start code of a VOP
_PROGRESSIVE = (0, 1)  # libavcodec's AV_FIELD_UNKNOWN and AV_FIELD_PROGRESSIVE


@dataclasses.dataclass(frozen=True, eq=False)
class Index:
    """What a video holds, and where.

    Attributes:
        coding: What its decoder must know.
        stream: Number of the stream among the file's video streams.
        container: libavformat's name of the container.
        rate: Frames a second.
        time_base: Seconds of one tick of `packets`' times.
        rotation: Degrees, counterclockwise, by which the pictures are meant to be turned.
        approximate: Whether the vectors leave a doubt which picture they refer to.
        packets: Place in the file (-1: not in one piece there), size, presentation and decoding time, int64 (P, 4).
        order: For each picture in display order the number of its packet, int64 (F,).
        keys: Numbers of the pictures that begin a GOP, int64 (G,).
        types: The pictures' types, a letter each; None before they were decoded.
        damage: Why the video is cut short after the pictures told here; None if it is not known to be.
        resized: Whether that is because the pictures have another size from there on.
    """

    coding: Coding
    stream: int
    container: str
    rate: Fraction
    time_base: Fraction
    rotation: int
    approximate: bool
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
        return UnsupportedVideo(self.damage) if self.resized else DamagedVideo(self.damage, len(self.order))

    @property
    def times(self) -> np.ndarray:
        """When each picture is shown, seconds since the start of the stream's clock, float64 (F,)."""
        times = self.packets[self.order, 2]
        # AVI counts packets, as they are decoded; a raw stream does not tell when a picture is shown.
        untold = self.container in RAW_FORMATS or (self.container == "avi" and self.coding.reorder > 0)
        if untold or (times == _NONE).any():
            return np.arange(len(self.order)) / float(self.rate)
        return times * float(self.time_base)

    def read(self, path: Path, file: int, first: int = 0) -> Iterator[av.Packet]:
        """Read packets from the file.

        Args:
            path: Path of the file.
            file: Descriptor of the open file.
            first: Number of the first packet to read.

        Yields:
            The packets up to the last, each with its number as its pts.

        Raises:
            DamagedVideo: If the file has changed.
        """
        if (self.packets[:, 0] < 0).any():
            yield from self._searched(path, first)
            return
        for number in range(first, len(self.packets)):
            place, size = self.packets[number, :2].tolist()
            packet = av.Packet(size)  # made of bytes, it would lack the padding that decoders read into
            if os.preadv(file, [packet], place) < size:
                raise DamagedVideo(f"{path}: has become shorter since it was opened", 0)
            yield _numbered(packet, number)

    def _searched(self, path: Path, first: int) -> Iterator[av.Packet]:
        wanted = self.packets[first].tolist()
        for start in (wanted[3], None):  # where a seek leads past the packet, the file is read from its beginning
            with open_stream(path, self.stream) as (container, stream):
                if start is not None and first:
                    if start == _NONE:
                        continue
                    with suppress(av.FFmpegError):
                        container.seek(start, stream=stream)
                following = packets(container, stream)
                for packet in following:
                    if _row(packet, None)[1:] == wanted[1:]:
                        number = first
                        yield _numbered(packet, number)
                        for number, packet in enumerate(following, start=first + 1):
                            yield _numbered(packet, number)
                        return
        raise DamagedVideo(f"{path}: has changed since it was opened", 0)

    def surveyed(self, path: Path, file: int) -> "Index":
        """Decode the video once, and tell its pictures as they come.

        Args:
            path: Path of the file.
            file: Descriptor of the open file.

        Returns:
            An index of the sound pictures, up to the first damaged one, with their types.
        """
        order, keys, types, damage, resized = [], [], [], self.damage, False
        try:
            for picture in decode(self.read(path, file), self.coding, path):
                if picture.is_key:
                    keys.append(len(order))
                order.append(picture.packet)
                types.append(picture.type[0])
        except VideoError as error:
            damage, resized = str(error), isinstance(error, UnsupportedVideo)
        return dataclasses.replace(
            self,
            order=_integers(order),
            keys=_integers(keys),
            types="".join(types),
            damage=damage,
            resized=resized,
        )


def build(path: Path, number: int, file: int) -> Index:
    """Index a video file.

    Args:
        path: Path of the file.
        number: Number of the stream among its video streams.
        file: Descriptor of the open file.

    Returns:
        Its index. `damage` says if the file is known to be cut short.

    Raises:
        UnreadableVideo: If the file holds nothing that can be decoded.
        UnsupportedVideo: If its codec exports no motion vectors.
    """
    with open_stream(path, number) as (container, stream):
        context = stream.codec_context
        if context is None or context.codec.canonical_name not in WITH_VECTORS:
            name = "of the video" if context is None else context.codec.canonical_name
            raise UnsupportedVideo(
                f"{path}: the codec {name} exports no motion vectors; re-encode the file as MPEG-4 with "
                "pkdlib.transcode.transcode(source, target)"
            )
        header, listed = context.extradata or b"", len(stream.index_entries)
        context.thread_type, context.thread_count = "SLICE", 1
        found = _Found([], [], [], [])
        try:
            _demux(container, stream, file, found)
            damage = None
        except av.FFmpegError as error:
            damage = f"{path}: damaged: it cannot be read to its end ({reason(error)})"
        if not found.rows:
            raise UnreadableVideo(damage or f"{path}: holds no frame")
        if not (0 < context.width <= LARGEST_SIDE and 0 < context.height <= LARGEST_SIDE):
            raise UnsupportedVideo(f"{path}: pictures of {context.width}x{context.height} cannot be read")
        codec, announced = context.codec.canonical_name, stream.frames
        sequence = h264.sequence(header or found.head[0]) if codec == "h264" else None
        index = Index(
            coding=Coding(
                codec=context.codec.name,
                tag=_tag(context),
                extradata=_header(codec, header, found.head[0]),
                width=context.width,
                height=context.height,
                reorder=context.reorder_depth,
                left=sequence.left if sequence else 0,
                top=sequence.top if sequence else 0,
            ),
            stream=number,
            container=container.format.name,
            rate=stream.guessed_rate or Fraction(25),
            time_base=stream.time_base,
            rotation=round(found.shown[0].rotation) % 360 if found.shown else 0,
            approximate=_is_approximate(codec, context, sequence, found.shown),
            packets=_integers(found.rows),
            order=_integers([]),
            keys=_integers([]),
            damage=damage,
        )
    index = _ordered(index, np.array(found.flags), path, file)
    if damage is None and len(index.packets) < announced and not _skips(index, listed):
        index = index if index.types else index.surveyed(path, file)
        damage = f"{path}: truncated: its header announces {announced} frames, {len(index.order)} are sound"
        index = dataclasses.replace(index, damage=damage)
    if len(index.keys) == 0:
        raise UnreadableVideo(index.damage or f"{path}: no key frame can be decoded")
    return index


class _Found(NamedTuple):
    # What a pass over the packets tells.
    rows: list[list[int]]  # of Index.packets
    flags: list[tuple[bool, bool]]  # whether each is a key frame, and whether something is odd about it
    head: list[bytes]  # the first packet
    shown: list[av.VideoFrame]  # the first frame


def _demux(container, stream, file: int, found: _Found) -> None:
    is_h264, header = stream.codec_context.codec.canonical_name == "h264", stream.codec_context.extradata or b""
    raw = container.format.name in RAW_FORMATS  # nothing but packets, so that each lies behind the one before
    for packet in packets(container, stream):
        if not found.head:
            found.head.append(bytes(packet))
        if not found.shown:
            found.shown.extend(_frames(packet))
        found.rows.append(_row(packet, packet.pos if raw else _place(packet, file)))
        odd = packet.is_discard or packet.is_corrupt
        if is_h264:
            odd = odd or packet.is_keyframe != h264.is_key(bytes(packet), header)
        found.flags.append((packet.is_keyframe, odd))
    if raw and any(before[0] + before[1] != after[0] for before, after in pairwise(found.rows)):
        for row in found.rows:
            row[0] = -1


def _ordered(index: Index, flags: np.ndarray, path: Path, file: int) -> Index:
    # The index with its pictures in order: by the packets' times, unless these leave a doubt.
    keys, odd = flags.T
    if index.container == "m4v" and index.coding.reorder == 0 and index.packets[:, 2].min() != _NONE:
        # A raw stream's times are made up, and begin anew where streams were joined; its order is the pictures'.
        index.packets[:, 2] = np.arange(len(index.packets))
    if index.damage or odd.any() or _in_doubt(index, keys):
        return index.surveyed(path, file)
    order = np.argsort(index.packets[:, 2], kind="stable")
    return dataclasses.replace(index, order=order, keys=np.flatnonzero(keys[order]))


def _skips(index: Index, listed: int) -> bool:
    # An AVI in which pictures were left out announces those too, and counts them in its times; that it is whole, the
    # list of packets at its end shows.
    time = index.packets[:, 3]
    return index.container == "avi" and len(time) == listed and time.max() - time.min() >= listed


def _in_doubt(index: Index, keys: np.ndarray) -> bool:
    # Whether the packets alone do not tell how many pictures they make, and in which order.
    _, size, time, _ = index.packets.T
    return (
        (time == _NONE).any()
        or len(np.unique(time)) < len(time)
        or not keys[np.argmin(time)]
        or keys.all()  # libavformat marks every frame of H.263 so
        or (index.coding.reorder > 0 and (np.diff(time) > 0).all())  # AVI does not know that H.264 is reordered
        or (index.container in RAW_FORMATS and index.coding.reorder > 0)
        or (index.coding.codec == "mpeg4" and size.min() <= _LARGEST_UNCODED)
    )


def _is_approximate(codec: str, context, sequence: h264.Sequence | None, shown: list[av.VideoFrame]) -> bool:
    if codec == "h264":
        return sequence is None or sequence.references > 1 or not sequence.progressive
    return context.field_order not in _PROGRESSIVE or any(frame.interlaced_frame for frame in shown)


def _header(codec: str, header: bytes, packet: bytes) -> bytes:
    # An encoder of MPEG-4 may name itself in the first packet alone, and libavcodec knows by the name how to read it:
    # that DivX packs a B-frame behind the one it follows, for example. What comes before the picture goes to them all.
    return header + packet[: max(packet.find(_MPEG4_PICTURE), 0)] if codec == "mpeg4" else header


def _frames(packet: av.Packet) -> list[av.VideoFrame]:
    # A frame tells what PyAV does not of the container and the codec: the rotation, and whether it is interlaced.
    with suppress(av.FFmpegError, ValueError):
        return packet.decode()
    return []


def _tag(context) -> str:
    try:
        tag = context.codec_tag
    except UnicodeDecodeError:
        return ""
    return tag if tag.strip("\0") else ""


def _row(packet: av.Packet, place: int | None) -> list[int]:
    pts, dts = packet.pts, packet.dts
    return [
        -1 if place is None else place,
        packet.size,
        _NONE if pts is None else pts,
        _NONE if dts is None else dts,
    ]


def _place(packet: av.Packet, file: int) -> int | None:
    # Where the file holds the packet in one piece.
    if packet.pos is None or packet.pos < 0 or packet.has_sidedata("new_extradata"):
        return None
    found = os.pread(file, packet.size + _LARGEST_HEADER, packet.pos).find(packet)
    return None if found < 0 else packet.pos + found


def _numbered(packet: av.Packet, number: int) -> av.Packet:
    packet.pts, packet.dts = number, None
    return packet


def _integers(values) -> np.ndarray:
    return np.array(values, np.int64)


def load(folder: Path, path: Path, number: int) -> Index | None:
    """Read a kept index, if there is one and the file is still the same.

    Args:
        folder: Where indices are kept.
        path: Path of the video file.
        number: Number of the stream among its video streams.

    Returns:
        The index, or None.
    """
    try:
        head, _, body = _kept(folder, path, number).read_bytes().partition(b"\n")
        told = json.loads(head)
        if told.pop("identity") != _identity(path):
            return None
        shapes = told.pop("shapes")
        arrays = np.split(
            np.frombuffer(body, np.int64), np.cumsum([np.prod(shape, dtype=int) for shape in shapes])[:-1]
        )
        packets, order, keys = (array.reshape(shape) for array, shape in zip(arrays, shapes, strict=True))
        coding = told.pop("coding")
        coding[2] = bytes.fromhex(coding[2])
        told["rate"], told["time_base"] = Fraction(told["rate"]), Fraction(told["time_base"])
        return Index(coding=Coding(*coding), packets=packets, order=order, keys=keys, **told)
    except (OSError, ValueError, TypeError, KeyError):
        return None  # absent, or not whole: it is built anew


def keep(index: Index, folder: Path, path: Path) -> None:
    """Keep an index in a folder; it appears there only when it is whole.

    Args:
        index: The index.
        folder: The folder, which is made if need be.
        path: Path of the video file.

    Raises:
        UnreadableVideo: If the folder cannot be written.
    """
    arrays = index.packets, index.order, index.keys
    told = {
        "identity": _identity(path),
        "coding": [part.hex() if isinstance(part, bytes) else part for part in index.coding],
        "shapes": [array.shape for array in arrays],
        "rate": str(index.rate),
        "time_base": str(index.time_base),
    }
    for name in ("stream", "container", "rotation", "approximate", "types", "damage", "resized"):
        told[name] = getattr(index, name)
    target = _kept(folder, path, index.stream)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(json.dumps(told).encode() + b"\n" + b"".join(array.tobytes() for array in arrays))
        os.replace(temporary, target)
    except OSError as error:
        raise UnreadableVideo(f"{path}: its index cannot be kept in {folder}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _kept(folder: Path, path: Path, number: int) -> Path:
    name = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:24]
    return folder / f"{name}-{number}.index"


def _identity(path: Path) -> list:
    status = path.stat()
    return [_FORM, av.__version__, status.st_size, status.st_mtime_ns]
