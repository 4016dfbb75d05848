"""An H.264 stream cut into its units, and a unit read bit by bit (ITU-T H.264, sections 7.2, 7.3.1 and 9.1)."""

from collections.abc import Iterator

# nal_unit_type: a slice, one of a picture (IDR) at which a decoder forgets all others, and three kinds of headers.
SLICE, IDR, SEI, SPS, PPS = 1, 5, 6, 7, 8
_LONGEST_HEADER = 512  # bytes, of a parameter set or a slice, that are looked at


def units(packet: bytes, header: bytes) -> Iterator[bytes]:
    """Cut a packet into its units.

    Args:
        packet: The packet.
        header: The stream's global header: an avcC box (as in MP4 and Matroska) or a stream with start codes (Annex B).

    Yields:
        Each with its first byte, whose lowest five bits are its type.
    """
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


def payload(unit: bytes) -> "Bits":
    """Open a unit behind its first byte.

    Args:
        unit: Of which the first 512 bytes are looked at.

    Returns:
        Its bits, without the bytes that are put in so that no start code arises.
    """
    return Bits(unit[1:_LONGEST_HEADER].replace(b"\0\0\3", b"\0\0"))


class Bits:
    """Bits of a byte string, from the first on; an IndexError is raised where they end.

    Args:
        data: The bytes.
    """

    def __init__(self, data: bytes):
        """Begin at the first bit."""
        self._bits, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        """Read an unsigned number.

        Args:
            count: Of how many bits.

        Returns:
            The number.

        Raises:
            IndexError: If there are fewer.
        """
        self._left -= count
        if self._left < 0:
            raise IndexError("the header ends too soon")
        return self._bits >> self._left & (1 << count) - 1

    def golomb(self) -> int:
        """Read an unsigned Exp-Golomb code, ue(v).

        Returns:
            The number.

        Raises:
            IndexError: If the bits end before it does.
        """
        rest = self._bits & (1 << self._left) - 1
        zeros = self._left - rest.bit_length()
        self._left -= 2 * zeros + 1
        if self._left < 0:
            raise IndexError("the header ends too soon")
        return (rest >> self._left) - 1

    def signed_golomb(self) -> int:
        """Read a signed Exp-Golomb code, se(v).

        Returns:
            The number.
        """
        code = self.golomb()
        return (code + 1) // 2 if code % 2 else -code // 2
