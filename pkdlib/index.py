"""Where a video's packets lie in its file, which pictures they make, and where its GOPs begin.

An index is built once (`pkdlib.indexing`) and can be kept in a folder. With it, a packet is read straight from its
place in the file: neither the container nor what lies before it is read again. Only where a container cuts packets up,
as MPEG's transport and program streams do, is it opened and searched.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from pkdlib.container import (
    RAW_FORMATS,
    DamagedVideo,
    UnreadableVideo,
    UnsupportedVideo,
    VideoError,
    open_stream,
    packets,
)
from pkdlib.decoder import Coding, decode

_FORM = 2  # of the kept file; another form is built anew
NONE = -(2**63)  # an absent time, as libavformat marks it


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
        if untold or (times == NONE).any():
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
                    if start == NONE:
                        continue
                    with suppress(av.FFmpegError):
                        container.seek(start, stream=stream)
                following = packets(container, stream)
                for packet in following:
                    if row_of(packet, None)[1:] == wanted[1:]:
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
            order=integers(order),
            keys=integers(keys),
            types="".join(types),
            damage=damage,
            resized=resized,
        )


def row_of(packet: av.Packet, place: int | None) -> list[int]:
    """Give a packet's row of `Index.packets`.

    Args:
        packet: The packet.
        place: Its place in the file, if it lies there in one piece.

    Returns:
        The packet as a row, that is its place or -1, its size, and its presentation and decoding times.
    """
    pts, dts = packet.pts, packet.dts
    return [
        -1 if place is None else place,
        packet.size,
        NONE if pts is None else pts,
        NONE if dts is None else dts,
    ]


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
