"""The props of Marionette: things that an actor holds, as a place or a tool goes with an activity.

Every clip draws a prop of its own from one of the kinds, so no prop is shared between actors. It moves with the near
hand and turns with the forearm. Lengths are in body heights until they are scaled to pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pkdlib.data.marionette._shapes import capsule, disc, draw_weave, ring


@dataclass(frozen=True)
class Prop:
    """One thing to hold.

    Attributes:
        kind: One of `KINDS`.
        size: Factor on all lengths.
        colour: RGB, 0 to 255.
        second: The other colour.
        weave: Of `_shapes.draw_weave`.
    """

    kind: str
    size: float
    colour: np.ndarray
    second: np.ndarray
    weave: np.ndarray


def draw_prop(kind: str, rng: np.random.Generator) -> Prop:
    """Make up a prop of a kind.

    Args:
        kind: One of `KINDS`.
        rng: Where the chances come from.

    Returns:
        The prop.
    """
    colour = np.clip(np.array(_COLOURS[kind]) + rng.uniform(-35, 35, 3), 0, 255)
    second = colour * rng.uniform(0.35, 0.7) + rng.uniform(0, 60)
    return Prop(kind, rng.uniform(0.85, 1.2), colour, second, draw_weave(rng))


def draw_in_hand(picture: np.ndarray, prop: Prop, elbow: np.ndarray, hand: np.ndarray, *, height: float) -> None:
    """Draw a prop into a picture.

    Args:
        picture: float32 (3, height, width), changed in place.
        prop: What.
        elbow: x and y in pixels of the elbow of the arm that holds it.
        hand: x and y of its hand.
        height: Body height in pixels.
    """
    ahead = (hand - elbow) / max(np.hypot(*(hand - elbow)), 1e-3)
    across = np.array([-ahead[1], ahead[0]])
    unit = height * prop.size
    _DRAWERS[prop.kind](_Pen(picture, prop, hand, ahead * unit, across * unit, unit))


@dataclass(frozen=True)
class _Pen:
    # Draws in the prop's own lengths and directions: along the forearm, across it, and down.
    picture: np.ndarray
    prop: Prop
    hand: np.ndarray
    ahead: np.ndarray
    across: np.ndarray
    unit: float

    def at(self, ahead: float, across: float = 0.0, down: float = 0.0) -> np.ndarray:
        return self.hand + ahead * self.ahead + across * self.across + np.array([0.0, down * self.unit])

    def rod(self, start: np.ndarray, end: np.ndarray, first: float, last: float | None = None) -> None:
        radii = (first * self.unit, (first if last is None else last) * self.unit)
        capsule(self.picture, start, end, radii, self.prop.colour, self.prop.second, self.prop.weave)

    def thread(self, start: np.ndarray, end: np.ndarray) -> None:
        colour = self.prop.second
        capsule(self.picture, start, end, (0.7, 0.7), colour, colour, self.prop.weave)

    def ball(self, centre: np.ndarray, radius: float) -> None:
        disc(self.picture, centre, radius * self.unit, self.prop.colour)

    def ring(self, centre: np.ndarray, radius: float, thickness: float) -> None:
        ring(self.picture, centre, radius * self.unit, thickness * self.unit, self.prop.colour)


def _ball(pen: _Pen) -> None:
    pen.ball(pen.at(0.09), 0.095)
    for seam in (-0.045, 0.045):  # they turn with the arm
        pen.thread(pen.at(0.02, seam), pen.at(0.16, seam))


def _racket(pen: _Pen) -> None:
    for string in (-0.045, 0.0, 0.045):
        pen.thread(pen.at(0.15, string), pen.at(0.33, string))
        pen.thread(pen.at(0.24 + string, -0.08), pen.at(0.24 + string, 0.08))
    pen.ring(pen.at(0.24), 0.095, 0.014)
    pen.rod(pen.at(-0.04), pen.at(0.14), 0.014)


def _hoop(pen: _Pen) -> None:
    pen.ring(pen.at(0.2), 0.2, 0.017)


def _cello(pen: _Pen) -> None:
    pen.rod(pen.at(0, down=-0.1), pen.at(0, down=0.16), 0.014, 0.02)
    pen.rod(pen.at(0, down=0.17), pen.at(0, down=0.19), 0.085)
    pen.rod(pen.at(0, down=0.31), pen.at(0, down=0.34), 0.115)


_DRAWERS: dict[str, Callable[[_Pen], None]] = {
    "ball": _ball,
    "racket": _racket,
    "hoop": _hoop,
    "cello": _cello,
}
KINDS = tuple(_DRAWERS)
_COLOURS = {
    "ball": (230, 120, 45),
    "racket": (60, 140, 215),
    "hoop": (215, 60, 150),
    "cello": (125, 45, 30),
}
