"""What is read of MPEG-1 and -2 streams' own bytes, against streams written with known settings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkdlib.video.bitstream import mpeg
from tests.video.bitstream.test_h264 import header_and_packets
from tests.video.test_formats import plain_pass, write

STREAMS = {
    "p.m2v": ("mpeg2video", {"g": "7"}, 0),
    "b.m2v": ("mpeg2video", {"g": "7"}, 2),
    "one.mkv": ("mpeg2video", {"g": "300"}, 1),
    "fields.ts": ("mpeg2video", {"g": "7", "flags": "+ildct+ilme"}, 2),
    "closed.mpg": ("mpeg2video", {"g": "7", "flags": "+cgop", "sc_threshold": "1000000000"}, 2),
    "b.m1v": ("mpeg1video", {"g": "7"}, 2),
    "adaptive.m1v": ("mpeg1video", {"g": "7", "b_strategy": "1"}, 3),
}


def gaps(packets):
    following = mpeg.Gaps()
    found = [following.before(number, packet) for number, packet in enumerate([*packets, None])]
    return {number for number in found if number is not None}


@pytest.mark.parametrize("name", STREAMS)
def test_nothing_is_missing_from_a_whole_stream_and_lost_references_are(tmp_path, name):
    codec, options, bframes = STREAMS[name]
    path = write(tmp_path / name, codec, options, bframes=bframes)
    packets = [packet for packet in header_and_packets(path)[1] if len(packet) > 4]
    assert len(packets) == 20 and not gaps(packets)
    assert any(map(mpeg.is_interlaced, packets)) == (name == "fields.ts")
    types = [packet[packet.index(b"\0\0\1\0") + 5] >> 3 & 7 for packet in packets]
    assert ["?IPB"[kind] for kind in sorted(types)] == sorted(
        (frame.type for frame in plain_pass(path)), key="IPB".find
    )
    for lost in range(1, 19):
        found = gaps(packets[:lost] + packets[lost + 1 :])
        if types[lost] == 2 and types[lost + 1] != 1:  # before a key picture nothing refers to it
            assert found and min(found) in (lost, lost - 1, lost + 1)
        if bframes > 1 and types[lost] == 3 and 3 in (types[lost - 1], types[lost + 1]):
            assert not found  # one of several between two references


@given(st.lists(st.binary(max_size=40)), st.booleans())
def test_random_bytes_are_no_failure(packets, are_marked):
    packets = [b"\0\0\1\0" + packet if are_marked else packet for packet in packets]
    assert all(0 <= number < len(packets) for number in gaps(packets))
    for packet in packets:
        assert mpeg.is_interlaced(packet) in (True, False)
        assert len(list(mpeg.lasting(packet))) + len(list(mpeg.lasting_of_mpeg4(packet))) <= 2 * len(packet)
