"""Motion arithmetic against plain loops over pixels, which state the rules one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pkdlib.motion import Trace, Tracer

VECTOR = np.dtype(
    [("source", "i4"), ("w", "u1"), ("h", "u1"), ("src_x", "i2"), ("src_y", "i2"), ("dst_x", "i2"), ("dst_y", "i2")]
)
HEIGHT, WIDTH = 21, 27  # no multiples of a block, so that blocks reach past the edges


def looped_field(vectors, height, width):
    field = np.zeros((height, width, 2), np.int16)
    for vector in vectors:
        source, wide, high, src_x, src_y, dst_x, dst_y = (int(value) for value in vector)
        dx, dy = dst_x - src_x, dst_y - src_y
        if source > 0 or (dx, dy) == (0, 0):
            continue
        for y in range(dst_y - high // 2, dst_y - high // 2 + high):
            for x in range(dst_x - wide // 2, dst_x - wide // 2 + wide):
                if 0 <= x < width and 0 <= y < height:
                    # The last block on a pixel decides, also where its source is outside.
                    inside = 0 <= x - dx < width and 0 <= y - dy < height
                    field[y, x] = (dx, dy) if inside else (0, 0)
    return field


def looped_accumulation(total, field):
    result = np.zeros_like(total)
    for y in range(field.shape[0]):
        for x in range(field.shape[1]):
            dx, dy = field[y, x]
            result[y, x] = field[y, x] + total[y - dy, x - dx]
    return result


def looped_compensation(image, field):
    result = np.zeros_like(image)
    for y in range(field.shape[0]):
        for x in range(field.shape[1]):
            dx, dy = field[y, x]
            result[y, x] = image[y - dy, x - dx]
    return result


@st.composite
def block_vectors(draw):
    """Blocks on a grid of 8, as a codec's are, in any order, overlapping at times."""
    rows = []
    for _ in range(draw(st.integers(0, 8))):
        wide, high = draw(st.sampled_from([8, 16])), draw(st.sampled_from([8, 16]))
        left, top = 8 * draw(st.integers(-1, 3)), 8 * draw(st.integers(-1, 3))
        dst_x, dst_y = left + wide // 2, top + high // 2
        dx, dy = draw(st.integers(-30, 30)), draw(st.integers(-30, 30)) * draw(st.integers(0, 1))
        rows.append((draw(st.sampled_from([-1, -1, -1, 1])), wide, high, dst_x - dx, dst_y - dy, dst_x, dst_y))
    return np.array(rows, VECTOR)


def as_field(source):
    """Displacements of a source map, by the definition."""
    y, x = np.divmod(source, WIDTH)
    return np.stack([np.arange(WIDTH) - x, np.arange(HEIGHT)[:, None] - y], axis=-1)


@settings(max_examples=60, deadline=None)
@given(block_vectors())
def test_source_is_the_loops(vectors):
    tracer = Tracer(HEIGHT, WIDTH)
    expected = looped_field(vectors, HEIGHT, WIDTH)
    source = tracer.source(vectors, out=np.full((HEIGHT, WIDTH), -1))
    np.testing.assert_array_equal(as_field(source), expected)
    np.testing.assert_array_equal(as_field(tracer.source(vectors)), expected)
    assert tracer.motion(source).dtype == np.int16
    np.testing.assert_array_equal(tracer.motion(source), expected)


@settings(max_examples=25, deadline=None)
@given(block_vectors(), block_vectors(), block_vectors(), st.integers(0, 9))
def test_following_and_compensation_are_the_loops(first, second, third, seed):
    tracer = Tracer(HEIGHT, WIDTH)
    image = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    words = tracer.words(image)
    total, expected = tracer.still, np.zeros((HEIGHT, WIDTH, 2), np.int16)
    for vectors in (first, second, third):
        source = tracer.source(vectors)
        total, expected = tracer.follow(total, source), looped_accumulation(expected, as_field(source))
        np.testing.assert_array_equal(tracer.motion(total), expected)
        predicted = tracer.compensate(words, total)
        np.testing.assert_array_equal(predicted, looped_compensation(image, expected))
        residual = tracer.residual(image[::-1], words, total)
        np.testing.assert_array_equal(residual, image[::-1].astype(int) - predicted)


@settings(max_examples=25, deadline=None)
@given(block_vectors(), block_vectors(), block_vectors())
def test_sources_never_leave_the_picture(first, second, third):
    tracer = Tracer(HEIGHT, WIDTH)
    total = tracer.still
    for vectors in (first, second, third):
        total = tracer.follow(total, tracer.source(vectors))
    assert total.min() >= 0 and total.max() < HEIGHT * WIDTH


@pytest.mark.parametrize("vectors", [None, np.zeros(0, VECTOR), np.array([(-1, 16, 16, 8, 8, 8, 8)], VECTOR)])
def test_no_vectors_are_no_motion(vectors):
    tracer = Tracer(16, 16)
    assert tracer.source(vectors) is tracer.still
    assert not tracer.motion(tracer.still).any()


def test_what_is_returned_does_not_change_with_later_calls():
    tracer, rng = Tracer(16, 24), np.random.default_rng(1)
    image = rng.integers(0, 256, (16, 24, 3), np.uint8)
    source, words = tracer.source(np.array([(-1, 16, 16, 3, 8, 8, 8)], VECTOR)), tracer.words(image)
    kept = [source, words, tracer.follow(source, source), tracer.motion(source)]
    kept += [tracer.compensate(words, source), tracer.residual(image, words, source)]
    before = [array.copy() for array in kept]
    other = tracer.words(255 - image)
    tracer.motion(tracer.follow(tracer.still, source))
    tracer.compensate(other, tracer.still)
    tracer.residual(image, other, tracer.still)
    for array, copy in zip(kept, before, strict=True):
        np.testing.assert_array_equal(array, copy)


class Picture:
    def __init__(self, kind, dx):
        self.type = kind
        self.vectors = np.array([(-1, 16, 16, 8 - dx, 8, 8, 8)], VECTOR) if dx else None


def test_trace_goes_past_b_pictures_and_keeps_what_is_still():
    key, b, p, still = Picture("I", 0), Picture("B", 1), Picture("P", 2), Picture("P", 0)
    trace = Trace(Tracer(16, 32), accumulate=True)
    trace.start(key)
    column = 10
    assert [column - trace.step(picture)[0][0, column] for picture in (p, b, p, still)] == [2, 3, 4, 4]

    plain = Trace(Tracer(16, 32), accumulate=False)
    plain.start(key)
    (_, before_p), (_, before_b), (_, before_q) = plain.step(p), plain.step(b), plain.step(still)
    assert before_p is key and before_b is p and before_q is p
