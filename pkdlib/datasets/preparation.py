"""From an official data set's archives to its clips in the paper's form: `pkd data`.

Each step is skipped where its result is there, so the same command goes on where the last run ended, however it ended.
"""

import contextlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

from pkdlib.bitstream import VideoError
from pkdlib.datasets import Dataset, DatasetError
from pkdlib.datasets._manifest import Manifest
from pkdlib.datasets._workers import results
from pkdlib.datasets.archives import bsdtar, readable, unpack
from pkdlib.datasets.downloads import download
from pkdlib.datasets.official import (
    FORM,
    Lists,
    Official,
    Source,
    action_of,
    checked_lists,
    clip_file,
    listing,
    load,
    shared_groups,
)
from pkdlib.transcode import transcode

_VIDEO = ".avi"
_GB = 1e9

Log = Callable[[str], None]


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
        lists: The archive of the official lists, if it is already here.
        workers: Processes that transcode.
        log: Takes each line of the report.

    Returns:
        The data set.

    Raises:
        DatasetError: If a file cannot be had, read or written, if the lists are not the official ones, or if clips
            are missing or cannot be transcoded, which are named; all other clips are finished then.
    """
    root = Path(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        state(official, root, workers, log)
        listed = _read_lists(official, root, lists, log)
        manifest = Manifest(root / "clips", FORM)
        videos = _unpack_videos(official, root, archives, listed, manifest, log)
        _transcode_missing(listed, videos, manifest, workers, log)
    except OSError as error:
        raise DatasetError(f"cannot use {root}: {error}") from error
    dataset = load(official, root)
    report(dataset, log)
    return dataset


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
    log(f"cite: {official.citation}")
    log(f"licence: {official.licence}")
    for source in (official.videos, official.lists):
        log(f"source: {source.url} ({_size(source.size)})")
    log(
        f"disk: {archives + videos + clips:.1f} GB, of which {archives:.1f} for the archive, {videos:.1f} for the "
        f"original videos (both of no use afterwards) and about {clips:.1f} for the clips; {free:.1f} GB free in {root}"
    )
    minutes = max(1, round(official.core_minutes / workers))
    log(f"time: about {minutes} minutes to transcode with {workers} workers, once it is downloaded and unpacked")


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


def _read_lists(official: Official, root: Path, given: str | Path | None, log: Log) -> Lists:
    folder = root / "lists"
    if folder.is_dir():
        return checked_lists(official, folder)
    _unpack(Path(given) if given else _downloaded(official.lists, root, "--splits", log), folder, root)
    try:
        return checked_lists(official, folder)
    except DatasetError:
        shutil.rmtree(folder)  # so that the next run may take another archive
        raise


def _unpack_videos(
    official: Official, root: Path, given: Sequence[str | Path], listed: Lists, manifest: Manifest, log: Log
) -> dict[str, Path]:
    folder = root / "videos"
    videos = _find_videos(folder)
    if _lacking(listed, videos, manifest):
        archives = [Path(archive) for archive in given]
        if not archives and not videos:
            archives = [_downloaded(official.videos, root, "--archive", log)]
        for archive in archives:
            target = folder / archive.stem
            if target.exists():
                log(f"{archive.name} is not unpacked again, since there is {target}")
                continue
            folder.mkdir(exist_ok=True)
            _unpack(archive, target, root)
        videos = _find_videos(folder)
    if lacking := _lacking(listed, videos, manifest):
        raise DatasetError(f"{folder} lacks {_by_class(lacking, listed)}")
    unknown = sorted(videos.keys() - set(listed.names))
    if unknown:
        log(f"left out, since no official list names them: {listing(unknown, len(videos))}")
    return videos


def _lacking(listed: Lists, videos: dict[str, Path], manifest: Manifest) -> list[str]:
    return [name for name in listed.names if name not in videos and not manifest.whole(clip_file(name))]


def _downloaded(source: Source, root: Path, option: str, log: Log) -> Path:
    target = root / "archives" / Path(urlsplit(source.url).path).name
    if not target.exists():
        if target.suffix == ".rar":
            bsdtar(target)  # raises where it is absent, before gigabytes have come
        log(f"downloading {source.url}")
        try:
            download(source.url, target)
        except DatasetError as error:
            raise DatasetError(f"{error}; run again to go on, or give a file that you have with {option}") from error
    return target


def _unpack(archive: Path, target: Path, root: Path) -> None:
    try:
        unpack(archive, target)
    except DatasetError as error:
        if archive.parent != root / "archives":
            raise
        raise DatasetError(f"{error} (what was downloaded is kept; if it is damaged, remove it)") from error


def _find_videos(folder: Path) -> dict[str, Path]:
    videos: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() == _VIDEO and not path.name.startswith("."):
            action, clip = (readable(part.encode(errors="surrogateescape")) for part in (path.parent.name, path.stem))
            name = f"{action}/{clip}"
            if name in videos:
                raise DatasetError(f"{name} is there twice: {videos[name]} and {path}; remove one")
            videos[name] = path
    return videos


def _by_class(lacking: list[str], listed: Lists) -> str:
    whole = set(listed.classes) - {action_of(name) for name in set(listed.names) - set(lacking)}
    others = [name for name in lacking if action_of(name) not in whole]
    parts = [f"all clips of {', '.join(sorted(whole))}"] if whole else []
    return " and ".join(parts + ([listing(others, len(listed.names))] if others else []))


def _transcode_missing(listed: Lists, videos: dict[str, Path], manifest: Manifest, workers: int, log: Log) -> None:
    origins = {name: _origin(videos[name]) for name in listed.names if name in videos}
    jobs = []
    for name in tqdm(listed.names, desc="verifying clips", unit="clip", disable=None):
        file = clip_file(name)
        made = manifest.holds(file, origins[name]) if name in origins else manifest.whole(file)
        if made and manifest.intact(file):
            continue
        if name not in videos:
            raise DatasetError(f"{manifest.folder / file} is damaged, and its original video is no longer there")
        jobs.append((name, videos[name], manifest.folder / file))
    log(f"{len(listed.names) - len(jobs):,} of {len(listed.names):,} clips are there, their checksums right")
    if not jobs:
        return
    failures = []
    manifest.save()
    progress = tqdm(total=len(jobs), desc="transcoding", unit="clip", disable=None)
    try:
        with progress, contextlib.closing(results(_transcode, jobs, workers)) as made:
            for name, problem in made:
                if problem:
                    failures.append(f"{name}: {problem}")
                else:
                    manifest.add(clip_file(name), origins[name])
                progress.update()
    finally:
        manifest.save()
    for failure in sorted(failures):
        log(f"failed: {failure}")
    if failures:
        counted = f"{len(failures):,} of {len(listed.names):,} clips"
        raise DatasetError(f"{counted} cannot be transcoded (listed above); all others are made")


def _transcode(job: tuple[str, Path, Path]) -> tuple[str, str]:
    name, video, target = job
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        transcode(video, target)
    except VideoError as error:
        return name, str(error).encode(errors="replace").decode()
    except OSError as error:
        raise DatasetError(f"cannot write {target}: {error}") from error
    return name, ""


def _origin(video: Path) -> dict:
    state = video.stat()
    name = readable(video.name.encode(errors="surrogateescape"))
    return {"file": name, "bytes": state.st_size, "modified_ns": state.st_mtime_ns}


def _size(size: int) -> str:
    return f"{size / _GB:.1f} GB" if size > _GB else f"{size / 1e6:.1f} MB"
