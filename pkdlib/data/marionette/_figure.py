"""The articulated figure of Marionette: actors, their bodies, and how they are drawn.

A body is a set of tapered capsules whose ends follow from joint angles (forward kinematics); one hand holds a prop.
Lengths are in body heights until they are scaled to pixels; pictures are planar float32 (3, height, width) with values
from 0 to 255.
"""

from dataclasses import dataclass

import numpy as np

from pkdlib.data.marionette._actions import SIDES, Angles
from pkdlib.data.marionette._props import Prop, draw_in_hand
from pkdlib.data.marionette._shapes import capsule, disc, draw_weave, shadow

_SEGMENTS = {"torso": 0.29, "upper_arm": 0.165, "forearm": 0.15, "thigh": 0.235, "shin": 0.235}


@dataclass(frozen=True)
class Actor:
    """One person: proportions, clothes and manner.

    Attributes:
        lengths: Segment lengths in body heights.
        build: Factor on all widths.
        colours: RGB, 0 to 255, of skin, hair, shirt, shirt's second colour, trousers and shoes.
        cloth: float32 (64, 64), how much of the shirt's second colour shows.
        long_sleeves: Whether the shirt covers the forearms.
        amplitude: Factor on how far joints leave their rest.
        tempo: Factor on the speed of the cycle.
        skew: How unevenly the cycle passes, -1 to 1.
        posture: Degrees added to the lean of the trunk, to shoulders and to elbows.
    """

    lengths: dict[str, float]
    build: float
    colours: dict[str, np.ndarray]
    cloth: np.ndarray
    long_sleeves: bool
    amplitude: float
    tempo: float
    skew: float
    posture: dict[str, float]


def draw_actor(rng: np.random.Generator, *, manner: float) -> Actor:
    """Make up an actor.

    Args:
        rng: Where the chances come from.
        manner: How much actors differ in how they move: 0 not at all, 1 as declared.

    Returns:
        The actor.
    """
    lengths = {name: length * rng.uniform(0.9, 1.1) for name, length in _SEGMENTS.items()}
    skin = np.array([236, 188, 150]) * rng.uniform(0.4, 1.0)
    colours = {
        "skin": skin,
        "hair": np.array([200, 150, 90]) * rng.uniform(0.1, 1.0),
        "shirt": rng.uniform(30, 235, 3),
        "second": rng.uniform(30, 235, 3),
        "trousers": rng.uniform(25, 150, 3),
        "shoes": np.full(3, rng.uniform(25, 220)),
    }
    return Actor(
        lengths=lengths,
        build=rng.uniform(0.82, 1.22),
        colours={name: colour.astype(np.float32) for name, colour in colours.items()},
        cloth=draw_weave(rng),
        long_sleeves=bool(rng.random() < 0.5),
        amplitude=1 + manner * rng.uniform(-0.22, 0.18),
        tempo=float(np.exp(manner * rng.uniform(-0.2, 0.2))),
        skew=manner * rng.uniform(-0.6, 0.6),
        posture={
            "lean": manner * rng.uniform(-3, 8),
            "shoulder": manner * rng.uniform(-6, 10),
            "elbow": manner * rng.uniform(0, 14),
        },
    )


def pose(actor: Actor, angles: Angles, *, view: str, height: float, facing: int) -> dict[str, np.ndarray]:
    """Work out where a body's joints are, by forward kinematics.

    Args:
        actor: Whose body.
        angles: `lean`, `lift` and all limb joints, each (frames,), as `_actions` defines them.
        view: "side" or "front".
        height: Body height in pixels.
        facing: 1 for a figure that faces right, -1 for its mirror image.

    Returns:
        Joint positions in pixels, each (frames, 2) as x, y with y downwards, relative to the point on the
        ground below the figure.
    """
    front = view == "front"
    build = actor.build
    lean = np.radians(angles["lean"])
    joints = {"root": np.zeros((len(lean), 2))}
    up = np.stack([np.sin(lean), -np.cos(lean)], axis=1)
    across = np.stack([np.cos(lean), np.sin(lean)], axis=1)
    joints["neck"] = joints["root"] + actor.lengths["torso"] * up
    joints["head"] = joints["neck"] + 0.105 * up
    joints["face"] = joints["head"] + (0 if front else 0.018) * across
    for side, sign in zip(SIDES, (1, -1), strict=True):
        outward = sign if front else 1
        shoulder_width, hip_width = (0.098 * build, 0.05 * build) if front else (0.02, 0.012)
        chain = (
            ("shoulder", joints["neck"] + sign * shoulder_width * across - 0.035 * up),
            ("hip", joints["root"] + sign * hip_width * across),
        )
        for name, start in chain:
            upper, lower = ("upper_arm", "forearm") if name == "shoulder" else ("thigh", "shin")
            bend = angles[f"elbow_{side}"] if name == "shoulder" else -angles[f"knee_{side}"]
            middle, end = ("elbow", "hand") if name == "shoulder" else ("knee", "ankle")
            first = angles[f"{name}_{side}"]
            joints[f"{name}_{side}"] = start
            joints[f"{middle}_{side}"] = start + actor.lengths[upper] * _ray(first, outward)
            joints[f"{end}_{side}"] = joints[f"{middle}_{side}"] + actor.lengths[lower] * _ray(first + bend, outward)
        # A foot stays about level on the ground and points down as its shin swings back.
        tilt = 80 + 0.55 * (angles[f"hip_{side}"] - angles[f"knee_{side}"])
        toe = (0.025 if front else 0.075) * _ray(np.minimum(tilt, 95), outward)
        joints[f"toe_{side}"] = joints[f"ankle_{side}"] + toe
    lowest = np.maximum(joints["ankle_near"][:, 1], joints["ankle_far"][:, 1]) + 0.03 + angles["lift"]
    offset = np.stack([np.zeros_like(lowest), -lowest], axis=1)
    scale = np.array([facing * height, height])
    return {name: (position + offset) * scale for name, position in joints.items()}


def draw(
    picture: np.ndarray,
    actor: Actor,
    prop: Prop | None,
    joints: dict[str, np.ndarray],
    frame: int,
    *,
    view: str,
    height: float,
    facing: int,
    ground: tuple[float, float],
) -> None:
    """Draw one frame's figure, with what it holds, into a picture.

    Args:
        picture: float32 (3, height, width), changed in place.
        actor: Who.
        prop: What the near hand holds, if anything.
        joints: From `pose`.
        frame: Which of its frames.
        view: "side" or "front".
        height: Body height in pixels.
        facing: 1 or -1, as for `pose`.
        ground: x and y in pixels of the point on the ground below the figure.
    """
    at = {name: positions[frame] + ground for name, positions in joints.items()}
    width = height * actor.build
    colours = actor.colours
    front = view == "front"
    light = -0.16 * facing
    feet = 0.5 * (at["ankle_near"] + at["ankle_far"])
    shadow(picture, (feet[0], ground[1] + 2), 0.17 * height, 0.03 * height)

    def part(start: str, end: str, radii: tuple[float, float], colour: str, shade: float) -> None:
        cloth = (colours["second"], actor.cloth) if colour == "shirt" else (colours[colour] * 0.8, actor.cloth)
        radii = (radii[0] * width, radii[1] * width)
        capsule(picture, at[start], at[end], radii, colours[colour] * shade, *cloth, light=light)

    def arm(side: str, shade: float) -> None:
        sleeve = "shirt" if actor.long_sleeves else "skin"
        part(f"elbow_{side}", f"hand_{side}", (0.025, 0.019), sleeve, shade)
        disc(picture, at[f"hand_{side}"], 0.027 * width, colours["skin"] * shade)
        part(f"shoulder_{side}", f"elbow_{side}", (0.036, 0.029), "shirt", shade)

    def leg(side: str, shade: float) -> None:
        part(f"ankle_{side}", f"toe_{side}", (0.028, 0.021), "shoes", shade)
        part(f"knee_{side}", f"ankle_{side}", (0.037, 0.027), "trousers", shade)
        part(f"hip_{side}", f"knee_{side}", (0.047, 0.038), "trousers", shade)

    def trunk() -> None:
        part("hip_near", "hip_far", (0.049, 0.049), "trousers", 1.0)
        at["chest"] = at["neck"] + 0.27 * (at["root"] - at["neck"])
        at["waist"] = at["neck"] + 0.86 * (at["root"] - at["neck"])
        part("neck", "head", (0.026, 0.026), "skin", 0.85)
        part("chest", "waist", (0.078, 0.064) if front else (0.068, 0.058), "shirt", 1.0)
        if front:
            part("shoulder_near", "shoulder_far", (0.04, 0.04), "shirt", 1.0)

    def head() -> None:
        up = at["head"] - at["neck"]
        up = up / np.hypot(*up)
        size = 0.062 * height
        back = np.array([0.0 if front else -0.3 * facing, 0.0])
        disc(picture, at["head"] + size * (0.28 * up + back), size * 1.06, colours["hair"])
        disc(picture, at["face"] - 0.12 * size * up, size * 0.88, colours["skin"])
        eyes = (-0.36, 0.36) if front else (0.46 * facing,)
        for eye in eyes:
            across = np.array([-up[1], up[0]])
            disc(picture, at["face"] + size * (eye * across + 0.02 * up), 0.13 * size, np.full(3, 25.0))

    if front:
        leg("far", 0.95)
        leg("near", 1.0)
        trunk()
        head()
        arm("far", 1.0)
    else:
        arm("far", 0.66)
        leg("far", 0.7)
        leg("near", 1.0)
        trunk()
        head()
    if prop:
        draw_in_hand(picture, prop, at["elbow_near"], at["hand_near"], height=height)
    arm("near", 1.0 if front else 1.08)


def _ray(degrees: np.ndarray, outward: int) -> np.ndarray:
    radians = np.radians(degrees)
    return np.stack([outward * np.sin(radians), np.cos(radians)], axis=1)
