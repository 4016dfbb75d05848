"""What one clip of Marionette is made from, and how it is drawn."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pkdlib.data.marionette._actions import ACTIONS, Action, rest
from pkdlib.data.marionette._figure import Actor, draw, draw_actor, pose
from pkdlib.data.marionette._props import Prop
from pkdlib.data.marionette._scene import draw_scene, view

WIDTH, HEIGHT = 340, 256
# Namespaces of the seeds, so that an actor's chances never coincide with a clip's.
_ACTOR, _CLIP = 1, 2
_WALKING_ROOM = 100  # pixels of the picture's width that a walking figure may cross


@dataclass(frozen=True)
class Difficulty:
    """How hard the clips are: declared with a data set, set once from the backbones' validation accuracy.

    Attributes:
        pan: Largest speed of the camera's pan, in pixels a frame.
        shake: Standard deviation of the camera's shake, in pixels.
        noise: Standard deviation of the sensor's noise, in grey levels.
        manner: How much actors differ in amplitude, tempo and posture: 0 not at all, 1 by about a fifth.
        looseness: Standard deviation of a clip's own deviation from its actor's joint angles, in degrees.
    """

    pan: float = 1.2
    shake: float = 0.35
    noise: float = 2.0
    manner: float = 1.0
    looseness: float = 4.0


@dataclass(frozen=True)
class Staging:
    """What of a clip may go with its action.

    Attributes:
        movement: Index of the action whose movement is shown.
        family: The kind of scene.
        light: float32, factors on RGB of all that is seen, to be multiplied with (3, rows, columns).
        prop: What the actor holds, if anything.
        camera: Factor on how much the camera pans and shakes; it follows a figure that walks in any case.
    """

    movement: int
    family: str
    light: np.ndarray
    prop: Prop | None
    camera: float


@dataclass(frozen=True)
class Recipe(ABC):
    """All that one clip is made from."""

    seed: int
    action: int
    actor: int
    index: int
    frames: int = 36
    difficulty: Difficulty = Difficulty()

    @property
    def file(self) -> str:
        """The clip's path within the data set's folder: class/class_actor_index.mp4."""
        name = ACTIONS[self.action].name
        return f"{name}/{name}_{group(self.actor)}_c{self.index:02d}.mp4"

    @abstractmethod
    def staged(self, rng: np.random.Generator) -> Staging:
        """Choose what is shown.

        Args:
            rng: Where the chances come from.

        Returns:
            What of the clip goes with its action, and what it shows instead.
        """

    def render(self) -> Iterator[np.ndarray]:
        """Draw the clip.

        Yields:
            Frames, uint8 (256, 340, 3) RGB.
        """
        actor = draw_actor(_random(self.seed, _ACTOR, self.actor), manner=self.difficulty.manner)
        rng = _random(self.seed, _CLIP, self.action, self.actor, self.index)
        staging = self.staged(rng)
        action = ACTIONS[staging.movement]
        figure = {
            "view": action.view,
            "height": rng.uniform(155, 195),
            "facing": int(rng.choice((-1, 1))),
        }
        ground = (rng.uniform(0.38, 0.62) * WIDTH, rng.uniform(222, 240))
        horizon = ground[1] - rng.uniform(22, 60)
        gain = rng.uniform(0.75, 1.12)
        flicker = 1 + 0.02 * np.sin(rng.uniform(0, 6.3) + rng.uniform(0.1, 0.9) * np.arange(self.frames))
        phase = _phase(rng, action, actor, self)
        joints = pose(actor, _angles(rng, action, actor, phase, self.difficulty.looseness), **figure)
        ahead = figure["facing"] * figure["height"] * action.travel * (phase - phase.mean())
        pan, shake = staging.camera * self.difficulty.pan, staging.camera * self.difficulty.shake
        camera = _camera(rng, ahead, pan=pan, shake=shake)
        left, top = np.floor(camera.min(axis=0)).astype(int)
        right, bottom = np.ceil(camera.max(axis=0)).astype(int)
        size = {"height": HEIGHT + bottom - top + 2, "width": WIDTH + right - left + 2}
        scene = draw_scene(staging.family, rng, horizon=round(horizon) - top, **size)
        noise = self.difficulty.noise * rng.standard_normal((3, HEIGHT + 32, WIDTH + 32), np.float32)
        for frame in range(self.frames):
            x, y = camera[frame]
            picture = view(scene, x - left, y - top, height=HEIGHT, width=WIDTH)
            on_screen = (ground[0] + ahead[frame] - x, ground[1] - y)
            draw(picture, actor, staging.prop, joints, frame, ground=on_screen, **figure)
            picture *= np.float32(gain * flicker[frame]) * staging.light
            row, column = rng.integers(0, 33, 2)
            picture += noise[:, row : row + HEIGHT, column : column + WIDTH]
            np.clip(picture, 0, 255, out=picture)
            pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)
            for channel, plane in enumerate(picture.astype(np.uint8)):  # five times as fast as a transposed copy
                pixels[..., channel] = plane
            yield pixels


def group(actor: int) -> str:
    """Name the group that an actor's clips are.

    Args:
        actor: Index.

    Returns:
        Such as `a07`.
    """
    return f"a{actor:02d}"


def _random(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def _phase(rng: np.random.Generator, action: Action, actor: Actor, recipe: Recipe) -> np.ndarray:
    tempo = actor.tempo * np.exp(rng.normal(0, 0.05 * recipe.difficulty.manner))
    phase = rng.random() + np.arange(recipe.frames) * tempo / action.period
    return phase + 0.5 * actor.skew * np.sin(2 * np.pi * phase) / (2 * np.pi)


def _angles(
    rng: np.random.Generator, action: Action, actor: Actor, phase: np.ndarray, looseness: float
) -> dict[str, np.ndarray]:
    still = rest(action.view)
    moving = action.angles(phase)
    angles = {}
    for joint, resting in still.items():
        kind = joint.split("_")[0]
        own = rng.normal(0, looseness)
        angle = resting + actor.amplitude * (moving.get(joint, resting) - resting) + np.zeros(len(phase))
        if kind != "lift":
            angle = angle + actor.posture.get(kind, 0.0) + own * (0.4 if kind in {"hip", "lean"} else 1.0)
        if kind in {"elbow", "knee", "lift"}:
            angle = np.maximum(angle, 0)
        angles[joint] = angle
    return angles


def _camera(rng: np.random.Generator, ahead: np.ndarray, *, pan: float, shake: float) -> np.ndarray:
    # Where the camera looks, (frames, 2) pixels: a pan at a constant speed, a slow sway, a shake that is
    # correlated from frame to frame, and a share of the figure's own way.
    time = np.arange(len(ahead)) - 0.5 * (len(ahead) - 1)
    speed = rng.uniform(-pan, pan, 2) * (1, 0.25)
    sway = pan * rng.uniform(0, 4, 2) * (1, 0.4)
    waves = np.sin(rng.uniform(0, 2 * np.pi, 2) + time[:, None] * rng.uniform(0.08, 0.2, 2))
    trembling = rng.normal(0, shake, (len(ahead), 2))
    trembling[1:] += 0.6 * trembling[:-1]
    path = speed * time[:, None] + sway * waves + trembling
    way = float(np.ptp(ahead))
    share = max(rng.random(), 1 - _WALKING_ROOM / way if way else 0.0)
    path[:, 0] += share * ahead
    return path
