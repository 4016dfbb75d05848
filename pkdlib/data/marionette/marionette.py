"""Marionette, the embedded data set: an articulated figure performs an action before a textured scene.

Nothing is downloaded: every clip is drawn from a seed and really encoded by libavcodec (MPEG-4 Part 2,
340x256, GOP 12, no B-frames), so that its motion vectors and residuals are a codec's. The camera pans and
shakes, the light flickers, the sensor is noisy. A group is an actor: proportions, clothes, and a manner of
moving. Which actions need pose, which motion and which both is told in `_actions`.

Each clip is a function of (seed, action, actor, index) and of the parameters below, so that fewer clips or
actors are a subset of more, and so that the number of worker processes changes nothing. The same versions of
numpy and PyAV on the same kind of processor give the same bytes.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pkdlib._progress import tqdm
from pkdlib.data._manifest import Manifest
from pkdlib.data._workers import results
from pkdlib.data.datasets import Clip, Dataset, DatasetError, Split, split_by_group
from pkdlib.data.marionette._actions import ACTIONS, Action, rest
from pkdlib.data.marionette._figure import Actor, draw, draw_actor, pose
from pkdlib.data.marionette._props import Prop
from pkdlib.data.marionette._scene import FAMILIES, draw_scene, view
from pkdlib.video.transcode import encode

WIDTH, HEIGHT = 340, 256
NUM_SPLITS = 3
CLASSES = tuple(action.name for action in ACTIONS)
CITATION = "Marionette, the procedural action data set of pkdlib."
LICENCE = "MIT, as pkdlib; the clips are generated and hold no third party's material."


@dataclass(frozen=True)
class Difficulty:
    """How hard the clips are: declared here, set once from the backbones' validation accuracy.

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


DIFFICULTY = Difficulty()
# How often a scene is of its action's own family; declared with the difficulty, as the book's data page tells.
SCENE_BIAS = 0.8

# A change of how clips are drawn changes this number, so that no cache mixes the two.
_DRAWING = 1
# Namespaces of the seeds, so that an actor's chances never coincide with a clip's.
_ACTOR, _CLIP = 1, 2
_WALKING_ROOM = 100  # pixels of the picture's width that a walking figure may cross


def generate(folder: str | Path, **shape: Any) -> Dataset:
    """Make the data set, or what is still missing of it, in a folder of its own.

    Args:
        folder: Where the clips and their `manifest.json` go.
        **shape: As `describe` takes it.

    Returns:
        The data set, all its clips drawn.

    Raises:
        DatasetError: As `describe`, and if a clip cannot be written.
    """  # noqa: DOC502
    data = describe(folder, **shape)
    data.files()
    return data


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
        actions: Number of classes, the first so many of `CLASSES`, at least 2.
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
    return described("marionette", folder, shape, "scene_bias", parameters, recipe, workers)


def described(
    name: str,
    folder: str | Path,
    shape: Mapping[str, int],
    dial: str,
    drawing: Mapping[str, Any],
    recipe: "Callable[[int, int, int, int, int], Recipe]",
    workers: int,
) -> Dataset:
    """Describe a data set whose clips are drawn when they are asked for.

    Args:
        name: Of the data set.
        folder: Where the clips and their `manifest.json` go.
        shape: clips_per_pair, actors, actions, frames and seed, as for `describe`.
        dial: Which value of `drawing` is a probability.
        drawing: What else decides how clips are drawn, for the manifest.
        recipe: Makes a clip's recipe from seed, action, actor, index and frames.
        workers: Processes that draw and encode.

    Returns:
        The data set.

    Raises:
        DatasetError: As `describe` does.
    """
    problem = _problem({**shape, "workers": workers}, dial, drawing[dial])
    if problem:
        raise DatasetError(f"{name}: {problem}")
    classes, actors = CLASSES[: shape["actions"]], shape["actors"]
    parameters = {**shape, "actions": list(classes), **drawing}
    manifest = Manifest(Path(folder), parameters)
    recipes = [
        recipe(shape["seed"], action, actor, index, shape["frames"])
        for action in range(len(classes))
        for actor in range(actors)
        for index in range(shape["clips_per_pair"])
    ]

    def make(indices: Sequence[int]) -> None:
        missing = [recipes[index] for index in indices if not manifest.holds(recipes[index].file)]
        if missing:
            manifest.save()  # so that a folder that holds any clip says with which parameters it was made
            _make(missing, manifest, workers)

    @contextmanager
    def lend(indices: Sequence[int]) -> Iterator[list[Path]]:
        # What is lent lies apart, so that no other process reads what goes.
        wanted = [recipes[index] for index in indices]
        missing = [recipe for recipe in wanted if not manifest.holds(recipe.file)]
        with TemporaryDirectory(prefix=".lent-", dir=manifest.folder) as temporary:
            lent = Manifest(Path(temporary), parameters)
            if missing:
                _make(missing, lent, workers)
            yield [(lent if recipe in missing else manifest).path(recipe.file) for recipe in wanted]

    clips = tuple(
        Clip(Path(recipe.file).stem, manifest.path(recipe.file), recipe.action, _group(recipe.actor))
        for recipe in recipes
    )
    checksum = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()
    splits = _splits(clips, actors)
    return Dataset(name, classes, clips, splits, checksum, CITATION, LICENCE, make=make, lend=lend)


def home_family(action: int) -> str:
    """Return the family of scenes that belongs to an action.

    There are fewer families than actions, as swimming pools belong to several sports; the two actions of a
    confusable pair have different families.

    Args:
        action: Index into `CLASSES`.

    Returns:
        The family's name.
    """
    return FAMILIES[action % len(FAMILIES)]


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
class Recipe:
    """All that one clip is made from."""

    seed: int
    action: int
    actor: int
    index: int
    frames: int = 36
    difficulty: Difficulty = DIFFICULTY
    scene_bias: float = SCENE_BIAS

    @property
    def file(self) -> str:
        """The clip's path within the data set's folder: class/class_actor_index.mp4."""
        name = ACTIONS[self.action].name
        return f"{name}/{name}_{_group(self.actor)}_c{self.index:02d}.mp4"

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
            yield np.ascontiguousarray(picture.astype(np.uint8).transpose(1, 2, 0))


def _problem(numbers: Mapping[str, int], dial: str, probability: float) -> str:
    least = {"clips_per_pair": 1, "actors": NUM_SPLITS, "actions": 2, "frames": 1, "seed": 0, "workers": 1}
    for name, value in numbers.items():
        if value < least[name]:
            return f"{name} is {value}, must be at least {least[name]}"
    if numbers["actions"] > len(ACTIONS):
        return f"actions is {numbers['actions']}, there are {len(ACTIONS)}"
    if not 0 <= probability <= 1:
        return f"{dial} is {probability}, must be a probability"
    return ""


def _make(recipes: list[Recipe], manifest: Manifest, workers: int) -> None:
    make = partial(_make_clip, folder=manifest.folder)
    progress = tqdm(total=len(recipes), desc="drawing Marionette", unit="clip", disable=None)
    try:
        # Closed here, so that an interruption stops the workers at once.
        with progress, closing(results(make, recipes, workers, _killed)) as made:
            for recipe in made:
                manifest.add(recipe.file)
                progress.update()
    finally:
        manifest.save()


def _make_clip(recipe: Recipe, folder: Path) -> Recipe:
    target = folder / recipe.file
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        encode(recipe.render(), target)
    except OSError as error:
        raise DatasetError(f"cannot write {target}: {error}") from error
    return recipe


def _killed(recipe: Recipe) -> Recipe:
    raise DatasetError(f"the process that makes {recipe.file} is killed (too little memory?); run again to go on")


def _splits(clips: tuple[Clip, ...], actors: int) -> tuple[Split, ...]:
    tests = [[_group(actor) for actor in range(actors) if actor % NUM_SPLITS == k] for k in range(NUM_SPLITS)]
    return tuple(
        split_by_group(clips, validation=set(tests[(k + 1) % NUM_SPLITS][::2]), test=set(tests[k]))
        for k in range(NUM_SPLITS)
    )


def _group(actor: int) -> str:
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
