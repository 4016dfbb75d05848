"""The data set that the parameters name, made ready where it is not; nothing here needs torch."""

import functools
from pathlib import Path

from pkdlib.companion import folders
from pkdlib.companion.parameters import Parameters
from pkdlib.companion.runs import fingerprints, store
from pkdlib.data import folder, ut_interaction
from pkdlib.data.datasets import Dataset, DatasetError
from pkdlib.data.marionette import marionette, marionette_1
from pkdlib.data.official import hmdb51, official, ucf101
from pkdlib.video.transcode import transcode

_GENERATED = {"marionette": marionette.describe, "marionette_1": marionette_1.describe}
_OFFICIAL = {spec.name: spec for spec in (ucf101.SPEC, hmdb51.SPEC)}


@functools.cache
def dataset(p: Parameters) -> Dataset:
    """Describe or load the data set, once; what is made of clips lies in the cache under the code that makes it.

    Args:
        p: The parameters.

    Returns:
        The data set, its clips in the paper's form; those of Marionette are drawn when their files are asked for.

    Raises:
        DatasetError: If the data cannot be used.
    """
    cache = folders.cache_folder(p)
    if p.dataset in _GENERATED:
        shape = {name.removeprefix("marionette_"): value for name, value in p.only("marionette_").items()}
        shape.pop({"marionette": "scene_bias", "marionette_1": "appearance"}[p.dataset])  # the other's dial
        place = cache / f"{p.dataset}-{store.digest([shape, *drawn(p).values()])}"
        return _GENERATED[p.dataset](place, **shape, workers=p.threads)
    if not p.root:
        raise DatasetError(f"dataset = {p.dataset!r} needs the parameter root: the folder that holds its clips")
    if p.dataset in _OFFICIAL:
        return official.load(_OFFICIAL[p.dataset], Path(p.root))
    made = fingerprints.fingerprint(transcode)
    place = cache / f"{p.dataset}-{store.digest([str(Path(p.root).resolve()), made])}"
    if p.dataset == "ut_interaction":
        return ut_interaction.load(Path(p.root), place, workers=p.threads)
    if not p.pattern:
        raise DatasetError("dataset = 'folder' needs the parameter pattern: a regular expression with one group")
    return folder.load(Path(p.root), place, pattern=p.pattern, num_folds=p.folds, workers=p.threads)


def drawn(p: Parameters) -> dict[str, dict[str, str]]:
    """Digest the code that draws the clips, where they are drawn: other clips are told apart by their checksums.

    Args:
        p: The parameters.

    Returns:
        `clips`: as `fingerprints.fingerprint`; nothing of a data set that is not drawn.
    """
    if p.dataset not in _GENERATED:
        return {}
    describe = _GENERATED[p.dataset]
    return {"clips": fingerprints.fingerprint(describe, without=("_files", "_processes", "_progress"))}
