"""The actions of Marionette: joint angles as functions of the phase of a cycle.

Angles are in degrees. A limb's angle is measured from hanging straight down; in a side view positive is
towards where the figure faces, in a front view away from the body. `elbow` bends the forearm forward (or
further up), `knee` bends the shin backward, `lean` tips the trunk forward. `lift` is how far the feet leave
the ground, `travel` how far the figure moves ahead in one cycle, both in body heights.

Several pairs share their poses, so that only motion tells them apart: walk and march (one moves ahead),
slow and fast waving, raising and lowering the arms (one film run backwards). Others share their motion and
differ in pose: walk and carry (the arms), squat and the crouch of a jump. Telling a march under a panning
camera from a walk takes both.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SIDES = ("near", "far")
LIMB_JOINTS = ("shoulder", "elbow", "hip", "knee")

Angles = dict[str, np.ndarray]


@dataclass(frozen=True)
class Action:
    """One action: its name, the view it is seen in, and its cycle.

    Attributes:
        name: The class name.
        view: "side" or "front".
        period: Frames in one cycle at the tempo of an average actor.
        angles: From phases (1 cycle = 1.0) to the joints that differ from rest. The joints are `lean`, `lift`
            and `<joint>_<side>` for the `LIMB_JOINTS` and `SIDES`.
        travel: Body heights moved ahead in one cycle.
    """

    name: str
    view: str
    period: float
    angles: Callable[[np.ndarray], Angles]
    travel: float = 0.0


def rest(view: str) -> dict[str, float]:
    """Return the angles of a figure that stands still, in one view."""
    limbs = {"shoulder": 9.0, "elbow": 8.0, "hip": 5.0 if view == "front" else 0.0, "knee": 2.0}
    return {
        "lean": 0.0,
        "lift": 0.0,
        **{f"{joint}_{side}": limbs[joint] for joint in LIMB_JOINTS for side in SIDES},
    }


def _wave(breadth: float) -> Callable[[np.ndarray], Angles]:
    def angles(phase: np.ndarray) -> Angles:
        swing = _swing(phase)
        return {"shoulder_near": 128 + 6 * swing, "elbow_near": 30 + breadth * swing}

    return angles


def _raise_arms(phase: np.ndarray) -> Angles:
    up = _slow_rise(phase)
    return {f"shoulder_{side}": 12 + 150 * up for side in SIDES} | {
        f"elbow_{side}": 8 + 14 * up * (1 - up) * 4 for side in SIDES
    }


def _lower_arms(phase: np.ndarray) -> Angles:
    return _raise_arms(-phase)


def _stride(phase: np.ndarray) -> Angles:
    near, far = _swing(phase), _swing(phase + 0.5)
    bend = {side: 6 + 44 * _pulse(phase + shift) ** 2 for side, shift in (("near", 0.38), ("far", 0.88))}
    return {"hip_near": 27 * near, "hip_far": 27 * far, "knee_near": bend["near"], "knee_far": bend["far"]}


def _walk(phase: np.ndarray) -> Angles:
    return _stride(phase) | {
        "lean": 4 + 0 * phase,
        "shoulder_near": 26 * _swing(phase + 0.5),
        "shoulder_far": 26 * _swing(phase),
        "elbow_near": 18 + 8 * _swing(phase + 0.5),
        "elbow_far": 18 + 8 * _swing(phase),
    }


def _carry(phase: np.ndarray) -> Angles:
    hold = {"shoulder_near": 38, "shoulder_far": 44, "elbow_near": 52, "elbow_far": 50}
    sway = 3 * _swing(2 * phase)
    return _stride(phase) | {"lean": -3 + 0 * phase} | {joint: angle + sway for joint, angle in hold.items()}


def _kick(phase: np.ndarray) -> Angles:
    strike = _pulse(phase) ** 2
    wind_up = _pulse(phase + 0.28) ** 4
    return {
        "hip_near": 82 * strike - 26 * wind_up,
        "knee_near": 4 + 62 * wind_up,
        "knee_far": 8 + 8 * strike,
        "lean": -12 * strike + 6 * wind_up,
        "shoulder_near": -28 * strike + 10,
        "shoulder_far": 40 * strike + 5,
        "elbow_far": 25 + 0 * phase,
        "elbow_near": 25 + 0 * phase,
    }


def _crouch(depth: np.ndarray) -> Angles:
    legs = {f"hip_{side}": 72 * depth for side in SIDES} | {f"knee_{side}": 4 + 112 * depth for side in SIDES}
    return legs | {"lean": 34 * depth}


def _jump(phase: np.ndarray) -> Angles:
    # The crouch takes the first part of the cycle, the flight the last four tenths.
    turn = np.mod(phase, 1.0)
    crouched = np.sin(np.pi * np.clip(turn / 0.6, 0, 1)) ** 2
    flight = np.clip((turn - 0.6) / 0.4, 0, 1)
    height = 4 * flight * (1 - flight)
    arms = {f"shoulder_{side}": -35 * crouched + 110 * height + 8 for side in SIDES}
    return _crouch(0.75 * crouched + 0.12 * height) | arms | {"lift": 0.17 * height}


def _squat(phase: np.ndarray) -> Angles:
    depth = _pulse(phase)
    arms = {f"shoulder_{side}": 8 + 55 * depth for side in SIDES}
    return _crouch(0.85 * depth) | arms


def _push(phase: np.ndarray) -> Angles:
    reach = _slow_rise(phase)
    arms = {f"shoulder_{side}": -12 + 92 * reach for side in SIDES}
    bend = {f"elbow_{side}": 112 - 106 * reach for side in SIDES}
    return arms | bend | {"lean": 4 + 12 * reach, "hip_near": 14 + 0 * phase, "hip_far": -18 + 0 * phase}


def _punch(phase: np.ndarray) -> Angles:
    angles = {"lean": 6 + 4 * _swing(2 * phase), "hip_near": 14 + 0 * phase, "hip_far": -18 + 0 * phase}
    for side, shift in (("near", 0.0), ("far", 0.5)):
        reach = _pulse(phase + shift) ** 3
        angles[f"shoulder_{side}"] = 22 + 66 * reach
        angles[f"elbow_{side}"] = 104 - 98 * reach
    return angles


def _swing(phase: np.ndarray) -> np.ndarray:
    return np.sin(2 * np.pi * phase)


def _pulse(phase: np.ndarray) -> np.ndarray:
    return 0.5 - 0.5 * np.cos(2 * np.pi * phase)


def _slow_rise(phase: np.ndarray) -> np.ndarray:
    # Up in seven tenths of the cycle, back in three: run backwards, it is a different movement.
    turn = np.mod(phase, 1.0)
    ramp = np.where(turn < 0.7, turn / 0.7, (1 - turn) / 0.3)
    return ramp * ramp * (3 - 2 * ramp)


# The order matters: a data set of N actions takes the first N, so that pairs come whole.
ACTIONS = (
    Action("walk", "side", 24, _walk, travel=0.46),
    Action("march", "side", 24, _walk),
    Action("wave_slow", "front", 26, _wave(38)),
    Action("wave_fast", "front", 11, _wave(30)),
    Action("carry", "side", 24, _carry, travel=0.46),
    Action("kick", "side", 22, _kick),
    Action("raise_arms", "front", 24, _raise_arms),
    Action("lower_arms", "front", 24, _lower_arms),
    Action("jump", "side", 22, _jump),
    Action("squat", "side", 26, _squat),
    Action("push", "side", 22, _push),
    Action("punch", "side", 18, _punch),
)
