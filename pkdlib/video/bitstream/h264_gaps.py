"""Frames that are missing in an H.264 stream, by the numbers in its slices' headers.

Slice headers are those of ITU-T H.264, section 7.3.3; frame numbers are explained in 7.4.3.
"""

from contextlib import suppress
from typing import NamedTuple

from pkdlib.video.bitstream.h264 import Sequence, parameter_sets, parsed_sequence
from pkdlib.video.bitstream.h264_units import IDR, PPS, SLICE, SPS, Bits, payload, units

_P, _B, _I, _SP = range(4)  # slice_type, modulo 5


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
        for unit in units(packet or b"", self._header):
            kind = unit[0] & 31 if unit else 0
            try:
                if kind in (SPS, PPS):
                    self._learn(unit)
                elif kind in (SLICE, IDR):
                    found |= self._follow(_slice(unit, self._sequences, self._pictures))
            except (IndexError, KeyError):
                self._last = None
        return number if found else None

    def _learn(self, unit: bytes) -> None:
        bits = payload(unit)
        if unit[0] & 31 == SPS:
            number, sequence = parsed_sequence(bits)
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


class _PictureSet(NamedTuple):
    # The parts of a picture parameter set that lead through a slice's header.
    sequence: int  # the number of its sequence parameter set
    has_bottom: bool  # whether order counts of the bottom field are told
    references: tuple[int, int]  # entries of the lists of references, unless a slice says otherwise
    weighted: bool  # of P
    weighted_b: bool
    redundant: bool


def _parsed_picture(bits: Bits) -> tuple[int, _PictureSet | None]:
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
    bits, is_idr, is_reference = payload(unit), unit[0] & 31 == IDR, bool(unit[0] & 96)
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


def _forgets(bits: Bits, kind: int, own: _PictureSet, sequence: Sequence) -> bool:
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


def _skip_weights(bits: Bits, counts: list[int], monochrome: bool) -> None:
    bits.golomb()
    if not monochrome:
        bits.golomb()
    for count in counts:
        for _ in range(count):
            for numbers in (2,) if monochrome else (2, 4):
                if bits.take(1):
                    for _ in range(numbers):
                        bits.signed_golomb()
