"""Which headers of a stream hold for a picture, and from which packet on a decoder has met them all.

A decoder that begins in the middle knows the stream's global header and what it meets from there on. Where a stream
was joined from several, a header may have changed on the way, and hold on without being sent again.
"""

from collections.abc import Callable, Container, Iterator

from pkdlib import h264

# What follows the start codes 00 00 01 in MPEG-1 and -2 (ISO/IEC 13818-2, table 6-1) ...
_SLICES = range(0x01, 0xB0)
_SEQUENCE, _EXTENSION = 0xB3, 0xB5
_LASTING = frozenset({1, 2, 3, 5})  # kinds of extensions that hold on: the sequence's, its display's, its matrices'
_CODING = 8  # and the one that tells how a single picture is coded
# ... and in MPEG-4 (ISO/IEC 14496-2, table 6-3).
_PICTURE = frozenset({0xB6})
_USER_DATA, _TIME_CODE, _END = 0xB2, 0xB3, 0xB1


class Headers:
    """Follows the headers of a stream, packet by packet in decoding order.

    Args:
        codec: libavcodec's canonical name of the codec.
        header: The stream's global header.

    Attributes:
        vary: Whether any header so far was another than the global one.
    """

    def __init__(self, codec: str, header: bytes):
        """Take the headers in the global one for those that any decoder has met."""
        self._units = _UNITS.get(codec, lambda data, header: iter(()))
        self._header = header
        self._global = {"": header, **dict(self._units(header, header))}
        self._changed: dict = {}  # for those in force that differ from the global ones, the packet that sent them last
        self.vary = False

    def beginning(self, number: int, packet: bytes, replacement: bytes | None) -> int:
        """Tell where a decoder must begin to decode the next packet with the headers that hold for it.

        Args:
            number: The packet's number.
            packet: The packet.
            replacement: What the container replaces the global header by before this packet, or None.

        Returns:
            The number of the last packet, up to this one, from which on all of those headers are sent.
        """
        sent = dict(self._units(packet, self._header))
        if replacement is not None:
            sent[""] = replacement
        for kind, unit in sent.items():
            if self._global.get(kind) == unit:
                self._changed.pop(kind, None)
            else:
                self._changed[kind], self.vary = number, True
        return min(self._changed.values(), default=number)


def is_interlaced(codec: str, packet: bytes) -> bool:
    """Tell whether a packet says that its picture is not progressive.

    Args:
        codec: libavcodec's canonical name of the codec.
        packet: The packet.

    Returns:
        What it says, in MPEG-2; False in other codecs, where headers say it for many pictures.
    """
    if codec != "mpeg2video":
        return False
    codings = (unit for code, unit in _start_codes(packet, _SLICES) if code == _EXTENSION and unit[0] >> 4 == _CODING)
    return any(len(unit) > 4 and not unit[4] & 128 for unit in codings)


def _start_codes(data: bytes, until: Container[int]) -> Iterator[tuple[int, bytes]]:
    # The units before certain ones, each as its code, and what follows that.
    at = data.find(b"\0\0\1")
    while 0 <= at < len(data) - 4 and data[at + 3] not in until:
        end = data.find(b"\0\0\1", at + 3)
        yield data[at + 3], data[at + 4 : end if end >= 0 else None]
        at = end


def _of_mpeg(data: bytes, header: bytes) -> Iterator[tuple]:
    for code, unit in _start_codes(data, _SLICES):
        if code == _SEQUENCE or (code == _EXTENSION and unit and unit[0] >> 4 in _LASTING):
            yield (code, unit[0] >> 4 if code == _EXTENSION else 0), unit


def _of_mpeg4(data: bytes, header: bytes) -> Iterator[tuple]:
    for code, unit in reversed(list(_start_codes(data, _PICTURE))):  # of several of one kind, the first one holds
        if code not in (_TIME_CODE, _END):
            # Encoders name themselves in user data, and a decoder heeds all of them.
            yield (code, unit if code == _USER_DATA else b""), unit


def _of_h264(data: bytes, header: bytes) -> Iterator[tuple]:
    for unit in h264.parameter_sets(data, header):
        yield h264.number(unit), unit


_UNITS: dict[str, Callable[[bytes, bytes], Iterator[tuple]]] = {
    "mpeg1video": _of_mpeg,
    "mpeg2video": _of_mpeg,
    "mpeg4": _of_mpeg4,
    "h264": _of_h264,
}
