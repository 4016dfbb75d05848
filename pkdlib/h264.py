"""What an H.264 stream says and libavcodec's export does not: reference frames, the picture's cut, and true key frames.

The sequence parameter set is that of ITU-T H.264, section 7.3.2.1.1, the recovery point that of its annex D.
"""

from collections.abc import Iterator
from typing import NamedTuple

# nal_unit_type: a slice, one of a picture (IDR) at which a decoder forgets all others, and two kinds of headers.
_SLICE, _IDR, _SEI, _SPS = 1, 5, 6, 7
_RECOVERY_POINT = 6  # payloadType of supplemental information (SEI)
# Profiles whose parameter set describes the chroma format and scaling lists.
_HIGH_PROFILES = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})


class Sequence(NamedTuple):
    """The parts of a sequence parameter set that tracing motion needs.

    Attributes:
        references: The most reference frames that the stream may use.
        progressive: Whether all pictures are whole frames, never fields.
        left: Columns of the coded picture, cut off at its left, pixels.
        top: Rows cut off at its top, pixels.
    """

    references: int
    progressive: bool
    left: int
    top: int


def sequence(data: bytes) -> Sequence | None:
    """Read the first sequence parameter set in a stream's header or first packet.

    Args:
        data: An avcC box (as in MP4 and Matroska) or a stream with start codes (Annex B).

    Returns:
        What it says, or None if there is none that can be read.
    """
    for unit in _units(data):
        if unit and unit[0] & 31 == _SPS:
            try:
                return _parsed(_Bits(unit[1:].replace(b"\0\0\3", b"\0\0")))
            except IndexError:
                return None
    return None


def is_key(packet: bytes, header: bytes) -> bool:
    """Tell whether decoding can begin at a packet, and every picture shown from there on is whole.

    Containers and encoders mark more than that: the start of a gradual refresh, too, where the picture is whole only
    many frames later.

    Args:
        packet: A packet of the stream.
        header: The stream's global header, which tells how its packets are cut into units.

    Returns:
        Whether the picture is an IDR picture, or is marked as a recovery point after which no further one is needed.
    """
    for unit in _coded(packet, header):
        kind = unit[0] & 31 if unit else 0
        if kind in (_SLICE, _IDR):
            return kind == _IDR
        if kind == _SEI and _recovers_at_once(unit):
            return True
    return False


def _coded(packet: bytes, header: bytes) -> Iterator[bytes]:
    at = 0
    if header[:1] == b"\1" and len(header) > 4:  # avcC: it tells how many bytes hold the length before each unit
        prefix = (header[4] & 3) + 1
        while at + prefix < len(packet):
            size, at = int.from_bytes(packet[at : at + prefix], "big"), at + prefix
            yield packet[at : at + size]
            at += size
    else:
        while (at := packet.find(b"\0\0\1", at)) >= 0:
            at += 3
            end = packet.find(b"\0\0\1", at)
            yield packet[at : end if end >= 0 else None]


def _recovers_at_once(unit: bytes) -> bool:
    data = unit[1:].replace(b"\0\0\3", b"\0\0")
    at = 0
    while at + 2 < len(data):
        numbers = []  # the payload's type, and its size
        for _ in range(2):
            number = 0
            while data[at : at + 1] == b"\xff":
                number, at = number + 255, at + 1
            numbers.append(number + int.from_bytes(data[at : at + 1]))
            at += 1
        if numbers[0] == _RECOVERY_POINT:
            return data[at : at + 1] >= b"\x80"  # 0 as an Exp-Golomb code is the bit 1
        at += numbers[1]
    return False


def _units(data: bytes) -> list[bytes]:
    if data[:1] == b"\1" and len(data) > 8:  # avcC: a count in 5 bits, then each set behind its length in 2 bytes
        return [data[8 : 8 + int.from_bytes(data[6:8], "big")]] if data[5] & 31 else []
    return data.split(b"\0\0\1")[1:]


class _Bits:
    # Bits of a byte string, from the first on; an IndexError is raised where they end.

    def __init__(self, data: bytes):
        self._bits = "".join(f"{byte:08b}" for byte in data[:512])
        self._at = 0

    def take(self, count: int) -> int:  # an unsigned number
        self._at += count
        if self._at > len(self._bits):
            raise IndexError("the parameter set ends too soon")
        return int(self._bits[self._at - count : self._at] or "0", 2)

    def golomb(self) -> int:  # ue(v)
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def signed_golomb(self) -> int:  # se(v)
        code = self.golomb()
        return (code + 1) // 2 if code % 2 else -code // 2


def _parsed(bits: _Bits) -> Sequence:
    profile = bits.take(8)
    bits.take(16)  # constraints, level
    bits.golomb()  # its number
    chroma = 1
    if profile in _HIGH_PROFILES:
        chroma = bits.golomb()
        if chroma == 3 and bits.take(1):
            chroma = 0  # three planes coded apart
        bits.golomb(), bits.golomb(), bits.take(1)  # bit depths, lossless
        if bits.take(1):
            for number in range(8 if chroma != 3 else 12):
                if bits.take(1):
                    _skip_scaling_list(bits, 16 if number < 6 else 64)
    bits.golomb()  # frame numbers
    order = bits.golomb()  # picture order count
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.take(1), bits.signed_golomb(), bits.signed_golomb()
        for _ in range(bits.golomb()):
            bits.signed_golomb()
    references = bits.golomb()
    bits.take(1), bits.golomb(), bits.golomb()  # gaps, width, height
    progressive = bool(bits.take(1))
    if not progressive:
        bits.take(1)
    bits.take(1)  # direct 8x8 inference
    left = top = 0
    if bits.take(1):
        left, _, top = bits.golomb(), bits.golomb(), bits.golomb()
        left *= 2 if chroma in (1, 2) else 1
        top *= (2 if chroma == 1 else 1) * (1 if progressive else 2)
    return Sequence(references, progressive, left, top)


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed_golomb()) % 256
        last = following or last
