"""What an H.264 stream says and libavcodec does not: references, the picture's cut, true key frames, missing frames.

The parameter sets and the slice header are those of ITU-T H.264, sections 7.3.2.1.1, 7.3.2.2 and 7.3.3, the recovery
point that of its annex D.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

# nal_unit_type: a slice, one of a picture (IDR) at which a decoder forgets all others, and three kinds of headers.
_SLICE, _IDR, _SEI, _SPS, _PPS = 1, 5, 6, 7, 8
_RECOVERY_POINT = 6  # payloadType of supplemental information (SEI)
_P, _B, _I, _SP = range(4)  # slice_type, modulo 5
# Profiles whose parameter set describes the chroma format and scaling lists.
_HIGH_PROFILES = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})
_LONGEST_HEADER = 512  # bytes, of a parameter set or a slice, that are looked at


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


class Gaps:
    """Tells, packet by packet in decoding order, before which pictures frames are missing.

    A picture bears the number of the last reference frame before it, plus 1 (section 7.4.3); where it does not, frames
    are lost that it may refer to, unless the stream says that numbers are left out.

    Args:
        header: The stream's global header.

    Attributes:
        met: All sequence parameter sets so far, of the header and the packets.
    """

    def __init__(self, header: bytes):
        """Read the parameter sets in the header."""
        self.met: set[Sequence] = set()
        self._header, self._sequences, self._pictures = header, {}, {}
        self._last = None  # the number of the last reference frame, once there was a picture
        self._shown = None  # what tells the last slice's picture from another one
        for unit in parameter_sets(header, header):
            with suppress(IndexError):
                self._learn(unit)

    def before(self, number: int, packet: bytes | None) -> int | None:
        """Look at the next packet.

        Args:
            number: Its number.
            packet: The packet; None at the stream's end.

        Returns:
            The number, if frames are missing before one of its pictures, or None. What cannot be read is taken to be in
            order.
        """
        found = False
        for unit in _coded(packet or b"", self._header):
            kind = unit[0] & 31 if unit else 0
            try:
                if kind in (_SPS, _PPS):
                    self._learn(unit)
                elif kind in (_SLICE, _IDR):
                    found |= self._follow(_slice(unit, self._sequences, self._pictures))
            except (IndexError, KeyError):
                self._last = None
        return number if found else None

    def _learn(self, unit: bytes) -> None:
        bits = _payload(unit)
        if unit[0] & 31 == _SPS:
            number, sequence = _parsed(bits)
            self._sequences[number] = sequence
            self.met.add(sequence)
        else:
            number, picture = _parsed_picture(bits)
            self._pictures[number] = picture

    def _follow(self, piece: "_Slice") -> bool:
        if piece.picture == self._shown:
            return False
        self._shown = piece.picture
        number, last = piece.number, self._last
        if piece.is_reference or last is None:
            self._last = 0 if piece.forgets else number
        if piece.is_idr or last is None or piece.sequence.gaps:
            return False
        return number not in (last, (last + 1) % (1 << piece.sequence.number_bits))


def sequence(data: bytes) -> Sequence | None:
    """Read the first sequence parameter set in a stream's header or first packet.

    Args:
        data: An avcC box (as in MP4 and Matroska) or a stream with start codes (Annex B).

    Returns:
        What it says, or None if there is none that can be read.
    """
    for unit in parameter_sets(data, data):
        if unit[0] & 31 == _SPS:
            try:
                return _parsed(_payload(unit))[1]
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
    units = _listed(data) if data is header and header[:1] == b"\1" else _coded(data, header)
    return [unit for unit in units if unit and unit[0] & 31 in (_SPS, _PPS)]


def number(unit: bytes) -> tuple[int, int]:
    """Tell which parameter set one is, which a later one of the same number replaces.

    Args:
        unit: The parameter set.

    Returns:
        Its kind and its number; -1 if it is cut short.
    """
    try:
        bits = _payload(unit)
        if unit[0] & 31 == _SPS:
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


def _listed(header: bytes) -> Iterator[bytes]:
    # An avcC box: a count in 5 bits of sequence sets, each behind its length in 2 bytes, and the same of picture sets.
    at = 5
    for mask in (31, 255):
        count, at = header[at : at + 1], at + 1
        for _ in range(count[0] & mask if count else 0):
            size, at = int.from_bytes(header[at : at + 2], "big"), at + 2
            yield header[at : at + size]
            at += size


def _payload(unit: bytes) -> "_Bits":
    return _Bits(unit[1:_LONGEST_HEADER].replace(b"\0\0\3", b"\0\0"))


class _Bits:
    # Bits of a byte string, from the first on; an IndexError is raised where they end.

    def __init__(self, data: bytes):
        self._bits, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:  # an unsigned number
        self._left -= count
        if self._left < 0:
            raise IndexError("the header ends too soon")
        return self._bits >> self._left & (1 << count) - 1

    def golomb(self) -> int:  # ue(v)
        rest = self._bits & (1 << self._left) - 1
        zeros = self._left - rest.bit_length()
        self._left -= 2 * zeros + 1
        if self._left < 0:
            raise IndexError("the header ends too soon")
        return (rest >> self._left) - 1

    def signed_golomb(self) -> int:  # se(v)
        code = self.golomb()
        return (code + 1) // 2 if code % 2 else -code // 2


def _parsed(bits: _Bits) -> tuple[int, Sequence]:
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


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed_golomb()) % 256
        last = following or last


class _PictureSet(NamedTuple):
    # The parts of a picture parameter set that lead through a slice's header.
    sequence: int  # the number of its sequence parameter set
    has_bottom: bool  # whether order counts of the bottom field are told
    references: tuple[int, int]  # entries of the lists of references, unless a slice says otherwise
    weighted: bool  # of P
    weighted_b: bool
    redundant: bool


def _parsed_picture(bits: _Bits) -> tuple[int, _PictureSet | None]:
    number, sequence = bits.golomb(), bits.golomb()
    bits.take(1)  # entropy coding
    has_bottom = bool(bits.take(1))
    if bits.golomb():
        return number, None  # groups of slices, which libavcodec cannot decode
    references = bits.golomb() + 1, bits.golomb() + 1
    weighted, weighted_b = bool(bits.take(1)), bits.take(2) == 1
    bits.signed_golomb(), bits.signed_golomb(), bits.signed_golomb()  # quantisers
    bits.take(2)  # deblocking, constrained prediction
    return number, _PictureSet(sequence, has_bottom, references, weighted, weighted_b, bool(bits.take(1)))


class _Slice(NamedTuple):
    # The parts of a slice's header that tell whether frames are missing before its picture.
    number: int
    is_idr: bool
    is_reference: bool
    forgets: bool  # whether all references are dropped after it, and numbers begin anew
    picture: tuple  # what is the same in the slices of one picture
    sequence: Sequence


def _slice(unit: bytes, sequences: dict[int, Sequence], pictures: dict[int, _PictureSet | None]) -> _Slice:
    bits, is_idr, is_reference = _payload(unit), unit[0] & 31 == _IDR, bool(unit[0] & 96)
    bits.golomb()  # its first macroblock
    kind = bits.golomb() % 5
    own = pictures[bits.golomb()]
    if own is None:
        raise KeyError("its picture parameter set")
    sequence = sequences[own.sequence]
    if sequence.planes:
        bits.take(2)
    number = bits.take(sequence.number_bits)
    field = 0 if sequence.progressive else bits.take(1)
    field += bits.take(1) if field else 0
    occasion = bits.golomb() if is_idr else -1
    order = bits.take(sequence.order_bits)
    if own.has_bottom and not field and sequence.order == 0:
        bits.signed_golomb()
    if sequence.order_is_told:
        bits.signed_golomb()
        if own.has_bottom and not field:
            bits.signed_golomb()
    forgets = is_reference and not is_idr and _forgets(bits, kind, own, sequence)
    return _Slice(number, is_idr, is_reference, forgets, (number, field, occasion, order, is_reference), sequence)


def _forgets(bits: _Bits, kind: int, own: _PictureSet, sequence: Sequence) -> bool:
    # On to the marking of references (7.3.3.3), and whether it forgets all, by operation 5.
    if own.redundant:
        bits.golomb()
    counts = [] if kind not in (_P, _SP, _B) else list(own.references[: 2 if kind == _B else 1])
    if kind == _B:
        bits.take(1)  # direct prediction
    if counts and bits.take(1):
        counts = [bits.golomb() + 1 for _ in counts]
    for _ in counts:
        if bits.take(1):
            while bits.golomb() != 3:
                bits.golomb()
    if own.weighted_b if kind == _B else own.weighted and counts:
        _skip_weights(bits, counts, sequence.monochrome)
    if bits.take(1):
        while operation := bits.golomb():
            if operation == 5:
                return True
            bits.golomb()
            if operation == 3:
                bits.golomb()
    return False


def _skip_weights(bits: _Bits, counts: list[int], monochrome: bool) -> None:
    bits.golomb()
    if not monochrome:
        bits.golomb()
    for count in counts:
        for _ in range(count):
            for numbers in (2,) if monochrome else (2, 4):
                if bits.take(1):
                    for _ in range(numbers):
                        bits.signed_golomb()
