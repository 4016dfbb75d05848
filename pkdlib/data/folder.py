"""One's own clips as a data set: a folder with one folder of videos for each class.

The layout is::

    root/
        running/   anna_1.mp4  anna_2.mp4  ben_1.avi ...
        jumping/   anna_1.mp4  ben_1.mp4 ...

A regular expression takes each clip's group out of its file name, here `^([a-z]+)_`; clips of a group (a
person, a recording, a film) never part. Every clip is transcoded once into a cache, in the paper's form.
"""

from collections.abc import Callable
from pathlib import Path

from pkdlib.data._manifest import Manifest
from pkdlib.data._transcoding import transcode_all
from pkdlib.data.datasets import Clip, Dataset, DatasetError
from pkdlib.data.folds import DEFAULT_FOLDS, classes_of, divide, fold_splits
from pkdlib.data.sources import Source, find

_FORM = {"codec": "MPEG-4 Part 2", "width": 340, "height": 256, "gop": 12}
_NAMED = 20  # of the clips that cannot be read, in the error itself

Log = Callable[[str], None]


def load(
    root: str | Path,
    cache: str | Path,
    *,
    pattern: str,
    name: str = "folder",
    num_folds: int = DEFAULT_FOLDS,
    seed: int = 0,
    citation: str = "",
    licence: str = "",
    workers: int = 1,
    log: Log = print,
) -> Dataset:
    """Read a folder of clips, transcoding into the cache what is not there yet.

    The groups are cut into `num_folds` disjoint test sets, as equal in clips and in classes as whole groups
    allow. Split k tests on fold k, validates on the next fold, and trains on the rest.

    Args:
        root: Folder with one folder for each class; whatever in it is no video is left out, and told.
        cache: Folder for the transcoded clips and their `manifest.json`.
        pattern: Regular expression with one group, searched for in each file name: the clip's group.
        name: The data set's name, for folders and tables.
        num_folds: Number of splits, at least 3.
        seed: Decides which of several equally good divisions into folds is taken.
        citation: How to cite the data.
        licence: Under which terms the data may be used.
        workers: Processes that transcode.
        log: Takes a line for what is left out, and for each clip that cannot be read.

    Returns:
        The data set; its labels are in the alphabetical order of the class folders.

    Raises:
        DatasetError: If the folder, the pattern or the number of folds does not make a data set, which is told before
            anything is made; if videos cannot be read (the others stay in the cache); or if the cache cannot be
            written.
    """  # noqa: DOC502
    found = find(root, pattern)
    folds = divide(found.sources, num_folds, seed)
    for line in found.told():
        log(f"left out: {line}")
    classes = classes_of(found.sources)
    manifest = Manifest(Path(cache), _FORM)
    _transcode_missing(found.sources, manifest, name, workers, log)
    clips = tuple(
        Clip(source.name, manifest.path(source.clip_file), classes.index(source.action), source.group)
        for source in found.sources
    )
    checksum = manifest.checksum([source.clip_file for source in found.sources])
    return Dataset(name, classes, clips, fold_splits(clips, folds), checksum, citation, licence)


def _transcode_missing(sources: list[Source], manifest: Manifest, name: str, workers: int, log: Log) -> None:
    missing = [source for source in sources if not manifest.holds(source.clip_file, source.origin)]
    failures = transcode_all(
        [(source.clip_file, source.path, source.origin) for source in missing], manifest, f"transcoding {name}", workers
    )
    for failure in failures:
        log(f"failed: {failure}")
    if failures:
        rest = f" and {len(failures) - _NAMED} more" if len(failures) > _NAMED else ""
        raise DatasetError(
            f"{len(failures):,} of {len(sources):,} clips cannot be read, mend or remove them (all others are made): "
            f"{'; '.join(failures[:_NAMED])}{rest}"
        )
