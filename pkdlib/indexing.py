"""Index a video file: from its packets alone wherever these leave no doubt, else by decoding it once."""

import dataclasses
import os
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from pkdlib import h264
from pkdlib.container import RAW_FORMATS, UnreadableVideo, UnsupportedVideo, open_stream, packets, reason
from pkdlib.decoder import Coding
from pkdlib.index import NONE, Index, integers, row_of
from pkdlib.motion import LARGEST_SIDE

# Decoders that fill in AV_FRAME_DATA_MOTION_VECTORS; hevc, vp8, vp9 and av1 do not.
WITH_VECTORS = frozenset(
    "mpeg4 h264 mpeg1video mpeg2video h263 flv1 msmpeg4v1 msmpeg4v2 msmpeg4v3 wmv1 wmv2".split()  # noqa: SIM905
)
_LARGEST_HEADER = 64  # bytes that a container may put between a packet's place, as libavformat tells it, and its data
_LARGEST_UNCODED = 19  # bytes; a smaller packet may stand for no picture of its own (libavcodec's MAX_NVOP_SIZE)
_MPEG4_PICTURE = b"\0\0\1\xb6"  # the start code of a VOP
_PROGRESSIVE = (0, 1)  # libavcodec's AV_FIELD_UNKNOWN and AV_FIELD_PROGRESSIVE


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
            packets=integers(found.rows),
            order=integers([]),
            keys=integers([]),
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
        found.rows.append(row_of(packet, packet.pos if raw else _place(packet, file)))
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
    if index.container == "m4v" and index.coding.reorder == 0 and index.packets[:, 2].min() != NONE:
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
        (time == NONE).any()
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


def _place(packet: av.Packet, file: int) -> int | None:
    # Where the file holds the packet in one piece.
    if packet.pos is None or packet.pos < 0 or packet.has_sidedata("new_extradata"):
        return None
    found = os.pread(file, packet.size + _LARGEST_HEADER, packet.pos).find(packet)
    return None if found < 0 else packet.pos + found
