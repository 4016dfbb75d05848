"""A data set of Marionette's clips, each of which is drawn when its file is first asked for."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pkdlib._progress import tqdm
from pkdlib.data._manifest import Manifest
from pkdlib.data._workers import results
from pkdlib.data.datasets import Clip, Dataset, DatasetError, Split, split_by_group
from pkdlib.data.marionette._actions import ACTIONS
from pkdlib.data.marionette._recipe import Recipe, group
from pkdlib.video.transcode import encode

NUM_SPLITS = 3
CLASSES = tuple(action.name for action in ACTIONS)
CITATION = "Marionette, the procedural action data set of pkdlib."
LICENCE = "MIT, as pkdlib; the clips are generated and hold no third party's material."


def described(
    name: str,
    folder: str | Path,
    shape: Mapping[str, int],
    dial: str,
    drawing: Mapping[str, Any],
    recipe: Callable[[int, int, int, int, int], Recipe],
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
        Clip(Path(recipe.file).stem, manifest.path(recipe.file), recipe.action, group(recipe.actor))
        for recipe in recipes
    )
    checksum = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()
    splits = _splits(clips, actors)
    return Dataset(name, classes, clips, splits, checksum, CITATION, LICENCE, make=make, lend=lend)


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
    tests = [[group(actor) for actor in range(actors) if actor % NUM_SPLITS == k] for k in range(NUM_SPLITS)]
    return tuple(
        split_by_group(clips, validation=set(tests[(k + 1) % NUM_SPLITS][::2]), test=set(tests[k]))
        for k in range(NUM_SPLITS)
    )
