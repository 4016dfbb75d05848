"""Motion arithmetic against plain loops over pixels, which state the rules one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkdlib.video import blocks, motion
from tests.extent import examples

VECTOR = np.dtype(
    [("source", "i4"), ("w", "u1"), ("h", "u1"), ("src_x", "i2"), ("src_y", "i2"), ("dst_x", "i2"), ("dst_y", "i2")]
)
HEIGHT, WIDTH = 21, 27  # no multiples of a block, so that blocks reach past the edges


class Picture:
    def __init__(self, kind, vectors, image):
        self.type, self.vectors, self.image = kind, vectors, image


def vector(left, top, wide, high, dx, dy, source=-1):
    """A block at a place, moved by (dx, dy) since its reference."""
    x, y = left + wide // 2, top + high // 2
    return source, wide, high, x - dx, y - dy, x, y


@st.composite
def block_vectors(draw, sources=(-1,)):
    """Blocks that tile the picture as a codec's do, some without a vector, some still, in any order."""
    rows = []
    for top in range(0, HEIGHT, 16):
        for left in range(0, WIDTH, 16):
            wide, high = draw(st.sampled_from([(16, 16), (8, 8), (16, 8), (8, 16), (4, 4)]))
            for y in range(top, top + 16, high):
                for x in range(left, left + 16, wide):
                    for source in sources:
                        if draw(st.booleans()):
                            dx, dy = draw(st.integers(-30, 30)), draw(st.integers(-30, 30)) * draw(st.integers(0, 1))
                            rows.append(vector(x, y, wide, high, *draw(st.sampled_from([(0, 0), (dx, dy)])), source))
    return np.array(draw(st.permutations(rows)), VECTOR)


def reach(vectors, source):
    """For each pixel that has a vector to the past (-1) or the future (1), where it comes from."""
    found = {}
    for row in vectors if vectors is not None else ():
        if np.sign(row["source"]) != source:
            continue
        wide, high, dst_x, dst_y = (int(row[name]) for name in ("w", "h", "dst_x", "dst_y"))
        dx, dy = dst_x - int(row["src_x"]), dst_y - int(row["src_y"])
        for y in range(dst_y - high // 2, dst_y - high // 2 + high):
            for x in range(dst_x - wide // 2, dst_x - wide // 2 + wide):
                inside = 0 <= x < WIDTH and 0 <= y < HEIGHT and 0 <= x - dx < WIDTH and 0 <= y - dy < HEIGHT
                if inside:
                    found[x, y] = (x - dx, y - dy)
    return found


def looped(pictures, accumulate):
    """For each picture where each pixel comes from, and in which picture, by the rules of the module's text."""
    pixels = [(x, y) for y in range(HEIGHT) for x in range(WIDTH)]
    own = {pixel: pixel for pixel in pixels}
    total, anchor, result = own, 0, [(own, 0)]
    for number, picture in enumerate(pictures[1:], start=1):
        base = total if accumulate else own
        origin = 0 if accumulate else anchor
        past = reach(picture.vectors, -1)
        if picture.type == "B":
            following = [n for n in range(number, len(pictures)) if pictures[n].type != "B"]
            through = reach(pictures[following[0]].vectors, -1) if following else None
            future = reach(picture.vectors, 1) if following else {}
            places = {}
            for pixel in pixels:
                if pixel in past:
                    places[pixel] = base[past[pixel]]
                elif pixel in future:
                    places[pixel] = base[through.get(future[pixel], future[pixel])]
                else:
                    places[pixel] = base[pixel]
        else:
            places = {pixel: base[past.get(pixel, pixel)] for pixel in pixels}
            total, anchor = places, number
        result.append((places, origin))
    return result


@st.composite
def groups(draw):
    """A GOP of I, P and B pictures."""
    kinds = "I" + draw(st.text("PB", min_size=1, max_size=5))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    pictures = []
    for kind in kinds:
        sources = {"I": (), "P": (-1,), "B": (-1, 1)}[kind]
        vectors = draw(st.none() | block_vectors(sources)) if sources else None
        pictures.append(Picture(kind, vectors, rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)))
    return pictures


@examples(60)
@given(groups(), st.booleans())
def test_tracing_is_the_loops(pictures, accumulate):
    traced = motion.trace(pictures, HEIGHT, WIDTH, accumulate=accumulate)
    expected = looped(pictures, accumulate)
    count = 0
    for position, picture, places, prediction in traced:
        assert position == count and picture is pictures[position]
        moved = motion.displacement(places)
        assert moved.dtype == np.int16
        origins, origin = expected[position]
        for (x, y), (from_x, from_y) in origins.items():
            assert tuple(moved[y, x]) == (x - from_x, y - from_y)
            if position:
                assert (prediction[y, x] == pictures[origin].image[from_y, from_x]).all()
        if position == 0:
            assert prediction is None and not moved.any()
        else:
            residual = motion.residual(picture.image, prediction)
            assert residual.dtype == np.int16
            np.testing.assert_array_equal(motion.reconstruct(pictures[origin].image, moved, residual), picture.image)
        count += 1
    assert count == len(pictures)


@examples(40)
@given(groups(), st.booleans(), st.sets(st.integers(0, 5), min_size=1))
def test_wanted_positions_are_the_same_as_in_all(pictures, accumulate, wanted):
    everything = {
        traced.position: (traced.places.copy(), None if traced.prediction is None else traced.prediction.copy())
        for traced in motion.trace(pictures, HEIGHT, WIDTH, accumulate=accumulate)
    }
    for colours in (True, False):
        given_ = motion.trace(pictures, HEIGHT, WIDTH, accumulate=accumulate, colours=colours, wanted=wanted)
        positions = []
        for position, _, places, prediction in given_:
            positions.append(position)
            np.testing.assert_array_equal(places, everything[position][0])
            if colours and position:
                np.testing.assert_array_equal(prediction, everything[position][1])
            else:
                assert prediction is None
        assert positions == sorted(wanted & everything.keys())


def test_no_picture_after_the_last_one_needed_is_taken():
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pictures = iter([Picture(kind, None, image) for kind in "IPBPPP"])
    traced = motion.trace(pictures, HEIGHT, WIDTH, wanted={1})
    assert next(traced).position == 1 and len(list(pictures)) == 4
    pictures = iter([Picture(kind, None, image) for kind in "IPBPPP"])
    traced = motion.trace(pictures, HEIGHT, WIDTH, wanted={2})
    assert next(traced).position == 2 and len(list(pictures)) == 2  # a B-picture waits for the P-picture behind it


def test_b_pictures_without_end_do_not_pile_up():
    def endless():
        yield Picture("I", None, None)
        while True:
            yield Picture("B", np.array([vector(0, 0, 16, 16, 3, 0)], VECTOR), None)

    traced = motion.trace(endless(), HEIGHT, WIDTH, colours=False)
    for expected in range(100):
        assert next(traced).position == expected


@pytest.mark.parametrize("vectors", [None, np.zeros(0, VECTOR), np.array([vector(0, 0, 16, 16, 0, 0)], VECTOR)])
def test_no_vectors_are_no_motion(vectors):
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for kind in "PB":
        *_, last = motion.trace([Picture("I", None, image), Picture(kind, vectors, image)], HEIGHT, WIDTH)
        assert not motion.displacement(last.places).any()


@examples(100)
@given(st.lists(st.tuples(*[st.integers(-(2**15), 2**15 - 1)] * 4, *[st.integers(0, 255)] * 2), max_size=20))
def test_vectors_of_a_damaged_stream_stay_inside_the_picture(rows):
    vectors = np.array([(side, w, h, a, b, c, d) for a, b, c, d, w, h in rows for side in (-1, 1)], VECTOR)
    for plan in blocks.plans([(vectors, "past"), (vectors, "both")], HEIGHT, WIDTH):
        for width, height, *firsts in (*plan.past, *plan.future):
            for first in firsts:
                assert first.min() >= 0
                assert (first % WIDTH + width <= WIDTH).all() and (first // WIDTH + height <= HEIGHT).all()


def test_the_places_of_the_largest_pictures_are_told_apart():
    places = motion.still(4, motion.LARGEST_SIDE)
    assert len(np.unique(places)) == 4 * motion.LARGEST_SIDE
    moved = motion.displacement(np.broadcast_to(places[:1, :1], places.shape))
    assert moved[3, -1].tolist() == [motion.LARGEST_SIDE - 1, 3]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [(((4, 5, 3), (4, 5, 3), (4, 5, 3)), "do not belong together"), (((4, 5, 3), (5, 4, 2), (4, 5, 3)), "belong")],
)
def test_arrays_that_do_not_belong_together_are_told(shapes, message):
    with pytest.raises(ValueError, match=message):
        motion.reconstruct(*(np.zeros(shape, np.int16) for shape in shapes))


def test_motion_of_another_picture_is_told():
    field = np.full((4, 5, 2), 5, np.int16)
    with pytest.raises(ValueError, match="outside"):
        motion.reconstruct(np.zeros((4, 5, 3), np.uint8), field, np.zeros((4, 5, 3), np.int16))


def partitioned(rng, sides, height, width, shift):
    """Blocks to each side, squares of 16, whole or in parts, but not in the same ones; some move, some are left out."""
    blocks = []
    for side in sides:
        for y in range(shift, height, 16):
            for x in range(shift, width, 16):
                wide, tall = rng.choice([(16, 16), (16, 16), (16, 8), (8, 16), (8, 8)])
                for top in range(y, y + 16, tall):
                    for left in range(x, x + 16, wide):
                        dx, dy = rng.integers(-20, 21, 2) * (rng.random() < 0.5)
                        if rng.random() < 0.6:
                            blocks.append(vector(left, top, wide, tall, dx, dy, side))
    return np.array(blocks, VECTOR)


def followed(vectors, side, height, width):
    """Where each pixel with a vector to a side comes from, if both lie inside the picture."""
    found = {}
    for source, wide, tall, src_x, src_y, dst_x, dst_y, *_ in vectors.tolist():
        for x in range(dst_x - wide // 2, dst_x + wide // 2) if source == side else ():
            for y in range(dst_y - tall // 2, dst_y + tall // 2):
                from_x, from_y = x - dst_x + src_x, y - dst_y + src_y
                if 0 <= x < width and 0 <= y < height and 0 <= from_x < width and 0 <= from_y < height:
                    found[x, y] = from_x, from_y
    return found


@examples(60)
@given(st.integers(0, 2**32 - 1), st.integers(17, 40), st.integers(17, 50), st.integers(-12, 0))
def test_a_b_frame_follows_the_past_and_where_there_is_none_the_future(seed, height, width, shift):
    """However the blocks to the two sides overlap: what is left out as covered or still changes no pixel."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (3, height, width, 3), dtype=np.uint8)
    of_b, of_p = (partitioned(rng, sides, height, width, shift) for sides in ((-1, 1), (-1,)))
    pictures = map(Picture, "IBP", (None, of_b, of_p), images)
    past, future = (followed(of_b, side, height, width) for side in (-1, 1))
    onward = followed(of_p, -1, height, width)
    traced = [(each.places.copy(), each.prediction) for each in motion.trace(pictures, height, width)][1]
    for y in range(height):
        for x in range(width):
            pixel = (x, y)
            if pixel in past:
                pixel = past[pixel]
            elif pixel in future:
                pixel = onward.get(future[pixel], future[pixel])
            assert (traced[0][y, x] & 0xFFFF, traced[0][y, x] >> 16) == pixel
            np.testing.assert_array_equal(traced[1][y, x], images[0][pixel[1], pixel[0]])
