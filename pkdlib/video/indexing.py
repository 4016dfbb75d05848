"""Index a video file: from its packets alone wherever these leave no doubt, else by decoding it once."""

import dataclasses
from contextlib import suppress
from fractions import Fraction

import av
import numpy as np

from pkdlib.video import orientation
from pkdlib.video.bitstream import h264, h264_gaps, mpeg
from pkdlib.video.bitstream.headers import Headers, gaps
from pkdlib.video.container import (
    RAW_FORMATS,
    UnreadableVideo,
    UnsupportedVideo,
    VideoError,
    packets,
    reason,
    truncated,
)
from pkdlib.video.decoder import Coding
from pkdlib.video.motion import LARGEST_SIDE
from pkdlib.video.orientation import Orientation
from pkdlib.video.packet_index import NONE, PACKET, Index, integers, replacement, signature
from pkdlib.video.sources import Cursor, Source

# Decoders that fill in AV_FRAME_DATA_MOTION_VECTORS; hevc, vp8, vp9 and av1 do not.
WITH_VECTORS = frozenset(
    "mpeg4 h264 mpeg1video mpeg2video h263 flv1 msmpeg4v1 msmpeg4v2 msmpeg4v3 wmv1 wmv2".split()  # noqa: SIM905
)
_LARGEST_HEADER = 64  # bytes that a container may put between a packet's place, as libavformat tells it, and its data
_LARGEST_UNCODED = 19  # bytes; a smaller packet may stand for no picture of its own (libavcodec's MAX_NVOP_SIZE)
_MPEG4_PICTURE = b"\0\0\1\xb6"  # the start code of a VOP
_PROGRESSIVE = (0, 1)  # libavcodec's AV_FIELD_UNKNOWN and AV_FIELD_PROGRESSIVE


def build(source: Source, number: int) -> Index:
    """Index a video file.

    Args:
        source: Where the video's bytes are.
        number: Number of the stream among its video streams.

    Returns:
        Its index. `damage` says if the file is known to be cut short.

    Raises:
        UnreadableVideo: If the file holds nothing that can be decoded.
        UnsupportedVideo: If its codec exports no motion vectors.
    """
    with source.open_stream(number) as (container, stream):
        context = stream.codec_context
        if context is None or context.codec.canonical_name not in WITH_VECTORS:
            name = "of the video" if context is None else context.codec.canonical_name
            raise UnsupportedVideo(
                f"{source}: the codec {name} exports no motion vectors; re-encode the file as MPEG-4 with "
                "pkdlib.video.transcode.transcode(source, target)"
            )
        listed = len(stream.index_entries)
        context.thread_type, context.thread_count = "SLICE", 1
        found = _Found(context.codec.canonical_name, container.format.name, context.extradata or b"")
        try:
            for packet in packets(container, stream):
                found.add(packet, source)
            damage = None
        except av.FFmpegError as error:
            damage = f"{source}: damaged: it cannot be read to its end ({reason(error)})"
        if not found.rows:
            raise UnreadableVideo(damage or f"{source}: holds no frame")
        if not (0 < context.width <= LARGEST_SIDE and 0 < context.height <= LARGEST_SIDE):
            raise UnsupportedVideo(f"{source}: pictures of {context.width}x{context.height} cannot be read")
        announced = stream.frames
        is_truncated = truncated(Cursor(source), container, stream, listed=listed, found=len(found.rows))
        sequence = h264.sequence(context.extradata or found.head) if found.codec == "h264" else None
        index = Index(
            coding=Coding(
                codec=context.codec.name,
                tag=_tag(context),
                extradata=found.header,
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
            orientation=orientation.of(found.shown[0]) if found.shown else Orientation(),
            approximate=_is_approximate(context, found),
            searched=found.searched,
            packets=found.packets(),
            order=integers([]),
            keys=integers([]),
            damage=damage,
        )
    index = _ordered(index, found, source)
    if damage is None and is_truncated:
        index = index if index.types else index.surveyed(source)
        damage = f"{source}: truncated: its header announces {announced} frames, {len(index.order)} are sound"
        index = dataclasses.replace(index, damage=damage)
    if len(index.keys) == 0:
        raise UnreadableVideo(index.damage) if index.damage else _without_key(source, found)
    return index


class _Found:
    # What a pass over the packets tells.

    def __init__(self, codec: str, container: str, header: bytes):
        self.codec, self.header = codec, header
        self.head = b""  # the first packet
        self.shown: list[av.VideoFrame] = []  # the first frame
        self.rows: list[tuple] = []  # of Index.packets
        self.keys: list[bool] = []  # whether each packet's picture is one
        self.is_odd = False  # whether the order of the pictures cannot be told from the packets
        self.refreshed = False  # whether pictures are called keys that are whole only many pictures later
        self.interlaced = False
        self.vary = False  # whether headers change on the way
        self._begun = False
        self._missing: list[int] = []
        self.gaps: h264_gaps.Gaps | mpeg.Gaps | None = None
        self._places: list[int | None] = []  # of the packets that the file holds in one piece
        self._raw = container in RAW_FORMATS  # nothing but packets, so that each lies behind the one before

    def add(self, packet: av.Packet, source: Source) -> None:
        data, number, header = bytes(packet), len(self.rows), replacement(packet)
        if number == 0:
            self.head, self.header = data, _header(self.codec, self.header, data)
            self._headers = Headers(self.codec, self.header)
            self.gaps = gaps(self.codec, self.header)
        if not self.shown:
            self.shown.extend(_frames(packet))
        self._places.append(packet.pos if self._raw else _place(packet, header, source))
        beginning = self._headers.beginning(number, data, header)
        self._look(number, data)
        place, size, checksum = signature(packet, header)
        shown, decoded = packet.pts, packet.dts
        shown, decoded = NONE if shown is None else shown, NONE if decoded is None else decoded
        self.rows.append((place, size, shown, decoded, checksum, beginning, packet.is_discard, False))
        self.keys.append(packet.is_keyframe)
        self.interlaced = self.interlaced or (self.codec == "mpeg2video" and mpeg.is_interlaced(data))
        is_key = h264.is_key(data, self.header) if self.codec == "h264" else packet.is_keyframe
        self._begun = self._begun or is_key
        self.refreshed = self.refreshed or (packet.is_keyframe and not is_key)
        self.is_odd = self.is_odd or packet.is_corrupt or packet.is_keyframe != is_key
        self.vary = self._headers.vary

    def _look(self, number: int, data: bytes | None) -> None:
        gap = self.gaps and self.gaps.before(number, data)
        if gap is not None and self._begun:  # what is missing before the first key frame does not matter
            self._missing.append(gap)

    @property
    def searched(self) -> bool:
        if None in self._places:
            return True
        ends = (place + row[1] for place, row in zip(self._places, self.rows, strict=True))
        return self._raw and any(end != start for end, start in zip(ends, self._places[1:], strict=False))

    def packets(self) -> np.ndarray:
        self._look(len(self.rows), None)
        packets = np.array(self.rows, PACKET)
        packets["gap"][self._missing] = True
        if not self.searched:
            packets["place"] = self._places
        return packets


def _ordered(index: Index, found: _Found, source: Source) -> Index:
    # The index with its pictures in order: by the packets' times, unless these leave a doubt.
    keys = np.array(found.keys)
    if index.container == "m4v" and index.coding.reorder == 0 and index.packets["pts"].min() != NONE:
        # A raw stream's times are made up, and begin anew where streams were joined; its order is the pictures'.
        index.packets["pts"] = index.packets["dts"] = np.arange(len(index.packets))
    if index.damage or found.is_odd or _in_doubt(index, keys):
        return index.surveyed(source)
    if found.vary:
        surveyed = index.surveyed(source)
        if not surveyed.damage:  # which is told where it is met
            return surveyed
        index = dataclasses.replace(index, approximate=surveyed.approximate)
    order = np.argsort(index.packets["pts"], kind="stable")
    return dataclasses.replace(index, order=order, keys=np.flatnonzero(keys[order]))


def _in_doubt(index: Index, keys: np.ndarray) -> bool:
    # Whether the packets alone do not tell how many pictures they make, and in which order.
    time, decoded = index.packets["pts"], index.packets["dts"]
    order, reorder = np.argsort(time, kind="stable"), index.coding.reorder
    return (
        (time == NONE).any()
        or len(np.unique(time)) < len(time)
        or (np.diff(decoded[decoded != NONE]) <= 0).any()  # streams were joined
        or (order - np.arange(len(order))).max() > reorder
        or not keys[order[0]]
        or keys.all()  # libavformat marks every frame of H.263 so
        or (reorder > 0 and (np.diff(time) > 0).all())  # AVI does not know that H.264 is reordered
        or (index.container in RAW_FORMATS and reorder > 0)
        or (index.coding.codec == "mpeg4" and index.packets["size"].min() <= _LARGEST_UNCODED)
    )


def _is_approximate(context, found: _Found) -> bool:
    if found.codec == "h264":
        sequences = found.gaps.met
        cuts = {(each.left, each.top) for each in sequences}
        return len(cuts) != 1 or any(each.references > 1 or not each.progressive for each in sequences)
    frames = any(frame.interlaced_frame for frame in found.shown)
    return context.field_order not in _PROGRESSIVE or frames or found.interlaced


def _without_key(source: Source, found: _Found) -> VideoError:
    if not found.refreshed:
        return UnreadableVideo(f"{source}: no key frame can be decoded")
    return UnsupportedVideo(
        f"{source}: holds no key frame: its pictures are refreshed bit by bit (intra refresh), and the file begins in "
        "the middle of the stream; re-encode it as MPEG-4 with pkdlib.video.transcode.transcode(source, target)"
    )


def _header(codec: str, header: bytes, packet: bytes) -> bytes:
    # An encoder of MPEG-4 may name itself in the first packet alone, and libavcodec knows by the name how to read it:
    # that DivX packs a B-frame behind the one it follows, for example. What comes before the picture goes to them all.
    # Of several headers of one kind libavcodec takes the first.
    return packet[: max(packet.find(_MPEG4_PICTURE), 0)] + header if codec == "mpeg4" else header


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


def _place(packet: av.Packet, header: bytes | None, source: Source) -> int | None:
    # Where the file holds the packet in one piece.
    if packet.pos is None or packet.pos < 0 or header is not None:
        return None
    found = source.read(packet.size + _LARGEST_HEADER, packet.pos).find(packet)
    return None if found < 0 else packet.pos + found
