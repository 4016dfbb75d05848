"""Marionette, the embedded data set: an articulated figure performs an action with a prop, before a textured scene.

Nothing is downloaded: every clip is drawn from a seed and really encoded by libavcodec (MPEG-4 Part 2, 340x256, GOP 12,
no B-frames), so that its motion vectors and residuals are a codec's. The camera stands or is held by hand, the light
flickers, the sensor is noisy. A group is an actor: proportions, clothes, and a manner of moving. Which actions need
pose, which motion and which both is told in `_actions`.

An action has a place, a prop and a movement, and none of them goes with it always. Place and prop show in single
frames, as in UCF-101; movement shows in motion vectors and residuals. One dial, the appearance, says how often place
and prop are the action's; how often the movement is, is declared.

Each clip is a function of (seed, action, actor, index) and of the parameters below, so that fewer clips or actors are a
subset of more, and so that the number of worker processes changes nothing. The same versions of numpy and PyAV on the
same kind of processor give the same bytes.
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pkdlib.data.datasets import Dataset
from pkdlib.data.marionette import _clips, _recipe
from pkdlib.data.marionette._clips import CLASSES
from pkdlib.data.marionette._props import KINDS, draw_prop
from pkdlib.data.marionette._recipe import Staging
from pkdlib.data.marionette._scene import FAMILIES


@dataclass(frozen=True)
class Difficulty(_recipe.Difficulty):
    """How hard the clips are: declared here, set once from the backbones' validation accuracy.

    Attributes:
        movement: How often a clip shows its action's own movement, rather than that of a random action.
        handheld: How often the camera pans and shakes, rather than standing still: a moving camera writes the whole
            scene into the residuals.
    """

    movement: float = 0.5
    handheld: float = 0.3


DIFFICULTY = Difficulty()
# How often place and prop go with the action; declared with the difficulty, as the book's data page tells.
APPEARANCE = 0.8
# A place is a kind of scene at a time of day, and each action has one of its own.
PLACES = tuple((family, dusk) for dusk in (False, True) for family in FAMILIES)
_DUSK = (1.05, 0.72, 0.5)  # its light, as factors on RGB
# A change of how clips are drawn changes this number, so that no cache mixes the two.
_DRAWING = 1


def generate(folder: str | Path, **shape: Any) -> Dataset:
    """Make the data set, or what is still missing of it, in a folder of its own.

    Args:
        folder: Where the clips and their `manifest.json` go.
        **shape: As `describe` takes it.

    Returns:
        The data set, all its clips drawn.

    Raises:
        DatasetError: If a parameter is out of range, or the folder holds other clips or cannot be written.
    """  # noqa: DOC502
    dataset = describe(folder, **shape)
    dataset.files()
    return dataset


def describe(
    folder: str | Path,
    *,
    clips_per_pair: int,
    actors: int = 25,
    actions: int = len(CLASSES),
    frames: int = 36,
    appearance: float = APPEARANCE,
    seed: int = 0,
    workers: int = 1,
) -> Dataset:
    """Describe the data set, each of whose clips is drawn when its file is first asked for.

    The three splits divide the actors: each is tested in exactly one split; half of the next split's test actors
    validate, and the rest train.

    Args:
        folder: Where the clips and their `manifest.json` go.
        clips_per_pair: Clips of each actor in each action.
        actors: Number of groups, at least 3.
        actions: Number of classes, the first so many of `CLASSES`, at least 2.
        frames: Length of a clip.
        appearance: Probability that a clip has the place and the prop of its action, rather than random ones (see
            `home`).
        seed: Of all randomness.
        workers: Processes that draw and encode; 1 draws in this one.

    Returns:
        The data set, whose groups are the actors; `Dataset.files` draws what it is asked for.

    Raises:
        DatasetError: If a parameter is out of range, or the folder holds clips made with other parameters or
            cannot be written.
    """  # noqa: DOC502
    shape = {"clips_per_pair": clips_per_pair, "actors": actors, "actions": actions, "frames": frames, "seed": seed}
    drawing = {"drawing": _DRAWING, "appearance": appearance, "difficulty": asdict(DIFFICULTY)}
    recipe = partial(Recipe, appearance=appearance, difficulty=DIFFICULTY)
    return _clips.described("marionette", folder, shape, "appearance", drawing, recipe, workers)


def home(action: int) -> tuple[str, bool, str]:
    """Return the place and the prop that belong to an action.

    Each action has a place of its own; of every kind of scene there are two, by day and at dusk. A prop belongs to
    three actions, since residuals tell a prop that moves as well as single frames do.

    Args:
        action: Index into `CLASSES`.

    Returns:
        The kind of scene, whether it is dusk, and the kind of prop.
    """
    family, dusk = PLACES[action]
    return family, dusk, KINDS[action % len(KINDS)]


@dataclass(frozen=True)
class Recipe(_recipe.Recipe):
    """All that one clip is made from."""

    difficulty: Difficulty = DIFFICULTY
    appearance: float = APPEARANCE

    def staged(self, rng: np.random.Generator) -> Staging:
        """Choose what is shown.

        Args:
            rng: Where the chances come from.

        Returns:
            Place and prop together, the action's own or random ones; the action's own movement or a random one; a
            camera held by hand or one that stands.
        """
        own = rng.random() < self.appearance
        (family, dusk), kind = PLACES[rng.integers(len(PLACES))], KINDS[rng.integers(len(KINDS))]
        if own:
            family, dusk, kind = home(self.action)
        own = rng.random() < self.difficulty.movement
        other = int(rng.integers(len(PLACES)))
        light = np.array(_DUSK if dusk else (1, 1, 1), np.float32)[:, None, None]
        camera = float(rng.random() < self.difficulty.handheld)
        return Staging(self.action if own else other, family, light, draw_prop(kind, rng), camera)
