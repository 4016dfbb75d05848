"""Marionette 1, the first version: only scenes go with actions, and a camera that always moves films them.

Single frames tell little here, so the I-frame network is the weakest of the three: the reverse of UCF-101.
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pkdlib.data.datasets import Dataset
from pkdlib.data.marionette import _clips, _recipe
from pkdlib.data.marionette._actions import ACTIONS
from pkdlib.data.marionette._recipe import Difficulty, Staging
from pkdlib.data.marionette._scene import FAMILIES

DIFFICULTY = Difficulty()
# How often a scene is of its action's own family; declared with the difficulty, as the book's data page tells.
SCENE_BIAS = 0.8
# A change of how clips are drawn changes this number, so that no cache mixes the two.
_DRAWING = 1


def describe(
    folder: str | Path,
    *,
    clips_per_pair: int,
    actors: int = 25,
    actions: int = len(ACTIONS),
    frames: int = 36,
    scene_bias: float = SCENE_BIAS,
    seed: int = 0,
    workers: int = 1,
) -> Dataset:
    """Describe the data set, each of whose clips is drawn when its file is first asked for.

    The three splits divide the actors: each is tested in exactly one split; half of the next split's test
    actors validate, and the rest train.

    Args:
        folder: Where the clips and their `manifest.json` go.
        clips_per_pair: Clips of each actor in each action.
        actors: Number of groups, at least 3.
        actions: Number of classes, the first so many of `marionette.CLASSES`, at least 2.
        frames: Length of a clip.
        scene_bias: Probability that a clip's scene is of its action's own family, rather than of a random one
            (see `home_family`).
        seed: Of all randomness.
        workers: Processes that draw and encode; 1 draws in this one.

    Returns:
        The data set, whose groups are the actors; `Dataset.files` draws what it is asked for.

    Raises:
        DatasetError: If a parameter is out of range, or the folder holds clips made with other parameters or
            cannot be written.
    """  # noqa: DOC502
    shape = {"clips_per_pair": clips_per_pair, "actors": actors, "actions": actions, "frames": frames, "seed": seed}
    parameters = {"drawing": _DRAWING, "scene_bias": scene_bias, "difficulty": asdict(DIFFICULTY)}
    recipe = partial(Recipe, difficulty=DIFFICULTY, scene_bias=scene_bias)
    return _clips.described("marionette_1", folder, shape, "scene_bias", parameters, recipe, workers)


def home_family(action: int) -> str:
    """Return the family of scenes that belongs to an action.

    There are fewer families than actions, as swimming pools belong to several sports; the two actions of a
    confusable pair have different families.

    Args:
        action: Index into `marionette.CLASSES`.

    Returns:
        The family's name.
    """
    return FAMILIES[action % len(FAMILIES)]


@dataclass(frozen=True)
class Recipe(_recipe.Recipe):
    """All that one clip is made from."""

    difficulty: Difficulty = DIFFICULTY
    scene_bias: float = SCENE_BIAS

    def staged(self, rng: np.random.Generator) -> Staging:
        """Choose what is shown.

        Args:
            rng: Where the chances come from.

        Returns:
            The action's own movement, in daylight, and its own scene or a random one.
        """
        own_scene = rng.random() < self.scene_bias
        any_family = FAMILIES[rng.integers(len(FAMILIES))]
        family = home_family(self.action) if own_scene else any_family
        return Staging(self.action, family, np.float32(1), None, 1.0)
