"""What an H.264 stream says and libavcodec does not: references, the picture's cut, true key frames.

The parameter sets are those of ITU-T H.264, sections 7.3.2.1.1 and 7.3.2.2, the recovery point that of its annex D.
"""

from collections.abc import Iterator
from typing import NamedTuple

from pkdlib.video.bitstream.h264_units import IDR, PPS, SEI, SLICE, SPS, Bits, payload, units

_RECOVERY_POINT = 6  # payloadType of supplemental information (SEI)
# Profiles whose parameter set describes the chroma format and scaling lists.
_HIGH_PROFILES = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})


class Sequence(NamedTuple):
    """The parts of a sequence parameter set that tracing motion, and counting frames, needs.

    Attributes:
        references: The most reference frames that the stream may use.
        progressive: Whether all pictures are whole frames, never fields.
        left: Columns of the coded picture, cut off at its left, pixels.
        top: Rows cut off at its top, pixels.
        gaps: Whether frame numbers may be left out.
        number_bits: Bits of a frame number.
        order: Type of the picture order count, 0 to 2.
        order_bits: Bits of an order count of type 0.
        order_is_told: Whether slices tell differences from an order count of type 1.
        planes: Whether three planes are coded apart, each with slices of its own.
        monochrome: Whether slices tell weights of brightness alone.
    """

    references: int
    progressive: bool
    left: int
    top: int
    gaps: bool = False
    number_bits: int = 4
    order: int = 2
    order_bits: int = 0
    order_is_told: bool = False
    planes: bool = False
    monochrome: bool = False


def sequence(data: bytes) -> Sequence | None:
    """Read the first sequence parameter set in a stream's header or first packet.

    Args:
        data: An avcC box (as in MP4 and Matroska) or a stream with start codes (Annex B).

    Returns:
        What it says, or None if there is none that can be read.
    """
    for unit in parameter_sets(data, data):
        if unit[0] & 31 == SPS:
            try:
                return parsed_sequence(payload(unit))[1]
            except IndexError:
                return None
    return None


def parameter_sets(data: bytes, header: bytes) -> list[bytes]:
    """Find the sequence and picture parameter sets in a packet, or in the global header itself.

    Args:
        data: The packet or the header.
        header: The global header, which tells how packets are cut into units; an avcC box (as in MP4 and Matroska) or
            a stream with start codes (Annex B).

    Returns:
        The sets, each with its first byte, in the order in which they are sent.
    """
    cut = _listed(data) if data is header and header[:1] == b"\1" else units(data, header)
    return [unit for unit in cut if unit and unit[0] & 31 in (SPS, PPS)]


def number(unit: bytes) -> tuple[int, int]:
    """Tell which parameter set one is, which a later one of the same number replaces.

    Args:
        unit: The parameter set.

    Returns:
        Its kind and its number; -1 if it is cut short.
    """
    try:
        bits = payload(unit)
        if unit[0] & 31 == SPS:
            bits.take(24)
        return unit[0] & 31, bits.golomb()
    except IndexError:
        return unit[0] & 31, -1


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
    for unit in units(packet, header):
        kind = unit[0] & 31 if unit else 0
        if kind in (SLICE, IDR):
            return kind == IDR
        if kind == SEI and _recovers_at_once(unit):
            return True
    return False


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


def _listed(header: bytes) -> Iterator[bytes]:
    # An avcC box: a count in 5 bits of sequence sets, each behind its length in 2 bytes, and the same of picture sets.
    at = 5
    for mask in (31, 255):
        count, at = header[at : at + 1], at + 1
        for _ in range(count[0] & mask if count else 0):
            size, at = int.from_bytes(header[at : at + 2], "big"), at + 2
            yield header[at : at + size]
            at += size


def parsed_sequence(bits: Bits) -> tuple[int, Sequence]:
    """Read a sequence parameter set.

    Args:
        bits: Its payload.

    Returns:
        Its number, and what it says.
    """
    profile = bits.take(8)
    bits.take(16)  # constraints, level
    number = bits.golomb()
    chroma, planes = 1, False
    if profile in _HIGH_PROFILES:
        chroma = bits.golomb()
        if chroma == 3 and bits.take(1):
            chroma, planes = 0, True
        bits.golomb(), bits.golomb(), bits.take(1)  # bit depths, lossless
        if bits.take(1):
            for number in range(8 if chroma != 3 else 12):
                if bits.take(1):
                    _skip_scaling_list(bits, 16 if number < 6 else 64)
    number_bits = bits.golomb() + 4
    order, order_bits, order_is_told = bits.golomb(), 0, False
    if order == 0:
        order_bits = bits.golomb() + 4
    elif order == 1:
        order_is_told = not bits.take(1)
        bits.signed_golomb(), bits.signed_golomb()
        for _ in range(bits.golomb()):
            bits.signed_golomb()
    references = bits.golomb()
    gaps = bool(bits.take(1))
    bits.golomb(), bits.golomb()  # width, height
    progressive = bool(bits.take(1))
    if not progressive:
        bits.take(1)
    bits.take(1)  # direct 8x8 inference
    left = top = 0
    if bits.take(1):
        left, _, top = bits.golomb(), bits.golomb(), bits.golomb()
        left *= 2 if chroma in (1, 2) else 1
        top *= (2 if chroma == 1 else 1) * (1 if progressive else 2)
    return number, Sequence(
        references,
        progressive,
        left,
        top,
        gaps=gaps,
        number_bits=number_bits,
        order=order,
        order_bits=order_bits,
        order_is_told=order_is_told,
        planes=planes,
        monochrome=chroma == 0,
    )


def _skip_scaling_list(bits: Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed_golomb()) % 256
        last = following or last
