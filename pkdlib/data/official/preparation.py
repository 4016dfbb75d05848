"""From an official data set's archives, or a folder of what is there of it, to clips in the paper's form: `pkd data`.

Each step is skipped where its result is there, so the same command goes on where the last run ended, however it ended.
"""

import difflib
import shlex
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from pkdlib._progress import tqdm
from pkdlib.data._manifest import Manifest
from pkdlib.data._transcoding import transcode_all
from pkdlib.data.datasets import Dataset, DatasetError
from pkdlib.data.official import originals, parts
from pkdlib.data.official.archives import readable
from pkdlib.data.official.official import (
    FEWEST_GROUPS,
    FORM,
    Lists,
    Official,
    action_of,
    assemble,
    clip_file,
    load,
    shared_groups,
    unfit_classes,
)
from pkdlib.data.official.originals import Log
from pkdlib.data.official.parts import Part

_GB = 1e9
_FEWEST_CLASSES = 2


def prepare(
    official: Official,
    root: str | Path,
    *,
    archives: Sequence[str | Path] = (),
    lists: str | Path | None = None,
    workers: int = 1,
    log: Log = print,
) -> Dataset:
    """Get, unpack, verify and transcode a data set, as far as that is not done.

    Args:
        official: Which one.
        root: The folder to prepare it in.
        archives: Archives of the videos that are already here; none are downloaded then.
        lists: The official lists, if they are already here: their archive, or the folder that it unpacks to.
        workers: Processes that transcode.
        log: Takes each line of the report.

    Returns:
        The data set.

    Raises:
        DatasetError: If a file cannot be had, read or written, if the lists are not the official ones, or if clips
            are missing or cannot be transcoded, which are named; all other clips are finished then.
    """
    root = Path(root)
    if part := parts.read(root):
        raise DatasetError(
            f"{root} holds {part.name}, a part of {official.title}: go on with `{part.command} --root {root}`, "
            "or choose another --root for the whole"
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        state(official, root, workers, log)
        listed = originals.read_lists(official, root, lists, log)
        manifest = Manifest(root / "clips", FORM)
        videos = originals.unpack_videos(official, root, archives, listed, manifest, log)
        _transcode_missing(listed, videos, manifest, workers, log)
    except OSError as error:
        raise DatasetError(f"cannot use {root}: {error}") from error
    return _finished(official, root, manifest, log)


def prepare_part(
    official: Official,
    root: str | Path,
    clips: str | Path,
    *,
    lists: str | Path | None = None,
    classes: Sequence[str] = (),
    workers: int = 1,
    log: Log = print,
) -> Dataset:
    """Make a data set of those original videos that are there, whole classes or a few clips of each.

    The official splits are what they list of them. A class of which a split has too little is left out, and named
    (`official.unfit_classes`). Nothing is written before it is clear that the rest makes a data set. If all videos are
    there, so is the data set, as if made from its archives.

    Args:
        official: Of which data set.
        root: The folder to prepare it in.
        clips: The folder of the original videos. They are known by their file names, wherever in it they lie.
        lists: The official lists, all of them: their archive, or the folder that it unpacks to; they are downloaded
            where not given.
        classes: Take these classes alone; empty takes all.
        workers: Processes that transcode.
        log: Takes each line of the report.

    Returns:
        The data set; its name tells that it is a part.

    Raises:
        DatasetError: If the lists are not the official ones or do not fit the videos, if too few classes are left, or
            if videos cannot be transcoded, which are named; all other clips are finished then.
    """
    root, folder = Path(root), Path(clips)
    try:
        originals.check_folder(folder, root / "clips")
        listed, found_in = originals.find_lists(official, root, lists, log)
        videos = originals.find_videos(folder, listed)
        taken = _take(official, listed, videos, classes, folder, log)
        part = _part(official, taken, folder, classes)
        assemble(official, taken, root, "", name=part.name if part else official.name)  # raises where a split is empty
        if part and parts.read(root) is None and _is_whole(root, listed):
            raise DatasetError(f"{root} holds the whole of {official.title}: choose another --root for a part of it")
        root.mkdir(parents=True, exist_ok=True)
        _state_part(official, root, taken, workers, log)
        originals.keep_lists(found_in, root / "lists")
        parts.record(root, part)
        manifest = Manifest(root / "clips", FORM)
        _transcode_missing(taken, videos, manifest, workers, log)
    except OSError as error:
        raise DatasetError(f"cannot use {root}: {error}") from error
    return _finished(official, root, manifest, log)


def state(official: Official, root: Path, workers: int, log: Log) -> None:
    """Say what preparing a data set takes, before it starts.

    Args:
        official: Which one.
        root: The folder to prepare it in.
        workers: Processes that transcode.
        log: Takes each line.
    """
    archives, videos, clips = (size / _GB for size in (official.videos.size, official.unpacked, official.transcoded))
    free = shutil.disk_usage(root).free / _GB
    splits = len(official.splits)
    log(f"{official.title}: {official.clips:,} clips, {official.classes} classes, {splits} official splits")
    _state_terms(official, log)
    for source in (official.videos, official.lists):
        log(f"source: {source.url} ({_size(source.size)})")
    log(
        f"disk: {archives + videos + clips:.1f} GB, of which {archives:.1f} for the archive, {videos:.1f} for the "
        f"original videos (both of no use afterwards) and about {clips:.1f} for the clips; {free:.1f} GB free in {root}"
    )
    minutes = max(1, round(official.core_minutes / workers))
    log(f"time: about {minutes} minutes to transcode with {workers} workers, once it is downloaded and unpacked")


def _finished(official: Official, root: Path, manifest: Manifest, log: Log) -> Dataset:
    dataset = load(official, root)
    _report_gops(dataset, manifest, log)
    report(dataset, log)
    return dataset


def _state_terms(official: Official, log: Log) -> None:
    log(f"cite: {official.citation}")
    log(f"licence: {official.licence}")


def _state_part(official: Official, root: Path, taken: Lists, workers: int, log: Log) -> None:
    share, free = len(taken.names) / official.clips, shutil.disk_usage(root).free / _GB
    log(
        f"{official.title}: {len(taken.classes)} of {official.classes} classes, {len(taken.names):,} of "
        f"{official.clips:,} clips, in {len(official.splits)} official splits"
    )
    _state_terms(official, log)
    log(f"disk: about {share * official.transcoded / _GB:.1f} GB for the clips; {free:.1f} GB free in {root}")
    log(f"time: about {share * official.core_minutes / workers:.1f} minutes to transcode with {workers} workers")


def report(dataset: Dataset, log: Log) -> None:
    """Say how many clips each split has, and what its parts share.

    Args:
        dataset: The data set.
        log: Takes a line for each split.
    """
    for number, split in enumerate(dataset.splits, 1):
        shared = shared_groups(dataset.clips, split)
        sizes = ", ".join(f"{len(getattr(split, part)):,} {part}" for part in ("train", "validation", "test"))
        overlap = "no group is in two parts"
        if shared:
            clips = sum(dataset.clips[index].group in shared for index in split.test)
            overlap = (
                f"as published, {clips:,} test clips have their group in another part too (groups: {len(shared):,})"
            )
        log(f"split {number}: {sizes}; {overlap}")


def _is_whole(root: Path, listed: Lists) -> bool:
    return (root / "clips").is_dir() and not originals.lacking(listed, {}, Manifest(root / "clips", FORM))


def _take(
    official: Official, listed: Lists, videos: dict[str, Path], classes: Sequence[str], folder: Path, log: Log
) -> Lists:
    there = listed.restricted(videos)
    if not there.names:
        raise DatasetError(
            f"{folder}: the official lists of {official.title} name none of its {len(videos):,} videos "
            f"({next(iter(videos.values()))}, for one)"
        )
    originals.report_unlisted(videos, listed, log)
    for action in classes:
        if action not in listed.classes:
            near = difflib.get_close_matches(action, listed.classes, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise DatasetError(f"--classes: {official.title} has no class {action!r}{hint}")
        if action not in there.classes:
            raise DatasetError(f"--classes: {folder} holds no clip of {action}")
    if classes:
        there = there.restricted(name for name in there.names if action_of(name) in classes)
    unfit = unfit_classes(official, there)
    reasons = "; ".join(f"{action} ({reason})" for action, reason in unfit.items())
    fit = there.restricted(name for name in there.names if action_of(name) not in unfit)
    if len(fit.classes) < _FEWEST_CLASSES:
        raise DatasetError(
            f"{folder}: too little of {official.title}: it takes {_FEWEST_CLASSES} classes that have test clips, and "
            f"training clips of {FEWEST_GROUPS} groups, in all official splits; there are {len(fit.classes)}"
            + (f", without {reasons}" if reasons else "")
        )
    if unfit:
        log(
            f"left out, since a class needs test clips, and training clips of {FEWEST_GROUPS} groups, in all splits: "
            f"{reasons}"
        )
    return fit


def _part(official: Official, taken: Lists, folder: Path, classes: Sequence[str]) -> Part | None:
    if len(taken.names) == official.clips:
        return None
    fewer = len(taken.classes) < official.classes
    name = f"{official.name}-{len(taken.classes)}" if fewer else f"{official.name}-{len(taken.names)}clips"
    words = ["pkd", "data", official.name, "--clips", str(folder.resolve())]
    if classes:
        words += ["--classes", ",".join(classes)]
    return Part(official.name, name, taken.names, shlex.join(words))


def _transcode_missing(listed: Lists, videos: dict[str, Path], manifest: Manifest, workers: int, log: Log) -> None:
    origins = {name: _origin(videos[name]) for name in listed.names if name in videos}
    jobs = []
    for name in tqdm(listed.names, desc="verifying clips", unit="clip", disable=None):
        file = clip_file(name)
        made = manifest.holds(file, origins[name]) if name in origins else manifest.whole(file)
        if made and manifest.intact(file):
            continue
        if name not in videos:
            raise DatasetError(f"{manifest.path(file)} is damaged, and its original video is no longer there")
        jobs.append((file, videos[name], origins[name]))
    log(f"{len(listed.names) - len(jobs):,} of {len(listed.names):,} clips are there, their checksums right")
    failures = transcode_all(jobs, manifest, "transcoding", workers)
    for failure in failures:
        log(f"failed: {failure}")
    if failures:
        counted = f"{len(failures):,} of {len(listed.names):,} clips"
        raise DatasetError(
            f"{counted} cannot be transcoded (listed above); all others are made: replace these videos, or remove them "
            "where a part will do, and run again"
        )


def _report_gops(dataset: Dataset, manifest: Manifest, log: Log) -> None:
    # Classes whose originals come from encoders of their own can be told apart by that.
    longer = defaultdict(set)
    for clip in dataset.clips:
        gop = manifest.note(clip_file(clip.name), "original_gop")
        if gop is not None:  # clips that an earlier version made have no such note
            longer[dataset.classes[clip.label]].add(gop > FORM["gop"])
    told = []
    for kinds, what in (
        ({False}, f"at most {FORM['gop']} frames in all clips"),
        ({True}, "longer in all clips"),
        ({False, True}, "both in the clips"),
    ):
        actions = [action for action in dataset.classes if longer.get(action) == kinds]
        if actions:
            told.append(f"{what} of {', '.join(actions)}")
    if told:
        log(f"GOPs of the originals, which transcoding evens, but not every trace of them: {'; '.join(told)}")


def _origin(video: Path) -> dict:
    state = video.stat()
    name = readable(video.name.encode(errors="surrogateescape"))
    return {"file": name, "bytes": state.st_size, "modified_ns": state.st_mtime_ns}


def _size(size: int) -> str:
    return f"{size / _GB:.1f} GB" if size > _GB else f"{size / 1e6:.1f} MB"
