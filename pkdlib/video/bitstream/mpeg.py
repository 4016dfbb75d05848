"""What MPEG-1, -2 and -4 streams say and libavcodec does not: headers, interlaced pictures, and missing ones.

Units follow the start codes 00 00 01 of ISO/IEC 13818-2, table 6-1 (MPEG-1's are among them), and 14496-2, table 6-3.
"""

from collections.abc import Container, Iterator

_SLICES = range(0x01, 0xB0)
_PICTURE, _SEQUENCE, _EXTENSION = 0x00, 0xB3, 0xB5
_LASTING = frozenset({1, 2, 3, 5})  # kinds of extensions that hold on: the sequence's, its display's, its matrices'
_CODING = 8  # and the one that tells how a single picture is coded
_P, _B = 2, 3  # picture_coding_type; I-pictures' is 1
_NUMBERS = 1024  # of pictures in display order, after which they begin anew
_MPEG4_PICTURE = frozenset({0xB6})
_USER_DATA, _TIME_CODE, _END = 0xB2, 0xB3, 0xB1  # of MPEG-4


class Gaps:
    """Tells, packet by packet in decoding order, before which pictures of MPEG-1 or -2 frames are missing.

    Pictures are numbered in display order (temporal_reference). Those numbers that two I- or P-pictures in a row leave
    between them are B-pictures', which come after the second of the two. Where none of them is there, it cannot be told
    of which kind the missing ones were, and they are taken for such that others refer to.
    """

    def __init__(self):
        """Begin before the first picture."""
        self._last: int | None = None  # the number of the last I- or P-picture
        self._room = 0  # how many numbers before that are B-pictures'
        self._packet = -1  # that it came in
        self._has_b = False
        self._is_open = False  # whether there is room before a P-picture, and no B-picture came yet

    def before(self, number: int, packet: bytes | None) -> int | None:
        """Look at the next packet.

        Args:
            number: Its number.
            packet: The packet; None at the stream's end.

        Returns:
            The number of a packet before whose picture frames are missing, or None.
        """
        if packet is None:  # where a stream with B-pictures was cut, some may be missing that nothing refers to
            return self._packet if self._is_open and not self._has_b else None
        header = next((unit for code, unit in start_codes(packet, _SLICES) if code == _PICTURE), b"")
        if len(header) < 2:
            return None
        kind, shown = header[1] >> 3 & 7, header[0] << 2 | header[1] >> 6
        step = 0 if self._last is None else (shown - self._last + _NUMBERS // 2) % _NUMBERS - _NUMBERS // 2
        if kind == _B:
            self._is_open, self._has_b = False, True
            return None if -self._room <= step < 0 or self._last is None else number
        if kind == _P and step == 0 and self._packet == number - 1:
            return None  # the second field of the same frame
        found = self._packet if self._is_open else None
        # An I-picture may be the first of a group, whose numbers begin anew, and be shown after B-pictures.
        self._is_open, self._room = kind == _P and step > 1, step - 1 if kind == _P else _NUMBERS
        self._last, self._packet = shown, number
        return number if kind == _P and step <= 0 and number > 0 else found


def is_interlaced(packet: bytes) -> bool:
    """Tell whether a packet of MPEG-2 says that its picture is not progressive.

    Args:
        packet: The packet.

    Returns:
        What it says; False in MPEG-1, where there is no such picture.
    """
    codings = (unit for code, unit in start_codes(packet, _SLICES) if code == _EXTENSION and unit[0] >> 4 == _CODING)
    return any(len(unit) > 4 and not unit[4] & 128 for unit in codings)


def lasting(data: bytes) -> Iterator[tuple]:
    """Find the headers of MPEG-1 or -2 that hold for pictures to come.

    Args:
        data: A packet or a global header.

    Yields:
        What kind of header each is, and its bytes.
    """
    for code, unit in start_codes(data, _SLICES):
        if code == _SEQUENCE or (code == _EXTENSION and unit[0] >> 4 in _LASTING):
            yield (code, unit[0] >> 4 if code == _EXTENSION else 0), unit


def lasting_of_mpeg4(data: bytes) -> Iterator[tuple]:
    """Find the headers of MPEG-4 that hold for pictures to come.

    Args:
        data: A packet or a global header.

    Yields:
        What kind of header each is, and its bytes; of several of one kind the first one holds, and comes last.
    """
    for code, unit in reversed(list(start_codes(data, _MPEG4_PICTURE))):
        if code not in (_TIME_CODE, _END):
            # Encoders name themselves in user data, and a decoder heeds all of them.
            yield (code, unit if code == _USER_DATA else b""), unit


def start_codes(data: bytes, until: Container[int]) -> Iterator[tuple[int, bytes]]:
    """Cut a stream at its start codes.

    Args:
        data: A packet or a global header.
        until: Codes at which to stop.

    Yields:
        The units before those, each as its code and the bytes that follow it, at least one.
    """
    at = data.find(b"\0\0\1")
    while 0 <= at < len(data) - 4 and data[at + 3] not in until:
        end = data.find(b"\0\0\1", at + 3)
        unit = data[at + 4 : end if end >= 0 else None]
        if unit:
            yield data[at + 3], unit
        at = end
