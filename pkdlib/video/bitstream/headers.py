"""Which headers of a stream hold for a picture, and from which packet on a decoder has met them all.

A decoder that begins in the middle knows the stream's global header and what it meets from there on. Where a stream
was joined from several, a header may have changed on the way, and hold on without being sent again.
"""

from collections.abc import Callable, Iterator

from pkdlib.video.bitstream import h264, h264_gaps, mpeg


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
        return min(self._changed.values()) if self._changed else number


def _of_h264(data: bytes, header: bytes) -> Iterator[tuple]:
    for unit in h264.parameter_sets(data, header):
        yield h264.number(unit), unit


_UNITS: dict[str, Callable[[bytes, bytes], Iterator[tuple]]] = {
    "mpeg1video": lambda data, header: mpeg.lasting(data),
    "mpeg2video": lambda data, header: mpeg.lasting(data),
    "mpeg4": lambda data, header: mpeg.lasting_of_mpeg4(data),
    "h264": _of_h264,
}


def gaps(codec: str, header: bytes):
    """Follow the frames of a stream, to tell where some are missing.

    Args:
        codec: libavcodec's canonical name of the codec.
        header: The stream's global header.

    Returns:
        `h264_gaps.Gaps` or `mpeg.Gaps`, or None where the stream does not tell.
    """
    if codec == "h264":
        return h264_gaps.Gaps(header)
    return mpeg.Gaps() if codec in ("mpeg1video", "mpeg2video") else None
