"""The official lists and the original videos of an official data set: found, unpacked or downloaded."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from pkdlib.data._manifest import Manifest
from pkdlib.data.datasets import DatasetError
from pkdlib.data.official.archives import bsdtar, readable, unpack
from pkdlib.data.official.downloads import download
from pkdlib.data.official.official import Lists, Official, Source, action_of, checked_lists, clip_file, listing
from pkdlib.data.sources import SUFFIXES

Log = Callable[[str], None]


def read_lists(official: Official, root: Path, given: str | Path | None, log: Log) -> Lists:
    """Find the official lists, and keep them in the prepared folder.

    Args:
        official: Of which data set.
        root: The prepared folder.
        given: Their archive, or the folder that it unpacks to; None downloads them where they are not there.
        log: Takes a line for what is downloaded.

    Returns:
        The lists.

    Raises:
        DatasetError: If they cannot be had, or are not the official ones.
    """  # noqa: DOC502
    listed, folder = find_lists(official, root, given, log)
    keep_lists(folder, root / "lists")
    return listed


def find_lists(official: Official, root: Path, given: str | Path | None, log: Log) -> tuple[Lists, Path]:
    """Find the official lists in the prepared folder, or in one that is given, which is left as it is.

    Args:
        official: Of which data set.
        root: The prepared folder.
        given: Their archive, or the folder that it unpacks to; None downloads them where they are not there.
        log: Takes a line for what is downloaded.

    Returns:
        The lists, and where they lie.

    Raises:
        DatasetError: If they cannot be had, or are not the official ones.
    """
    folder = root / "lists"
    for there in (folder, Path(given or folder)):
        if there.is_dir():
            return checked_lists(official, there), there
    _unpack(Path(given) if given else _downloaded(official.lists, root, "--lists", log), folder, root)
    try:
        return checked_lists(official, folder), folder
    except DatasetError:
        shutil.rmtree(folder)  # so that the next run may take another archive
        raise


def keep_lists(folder: Path, target: Path) -> None:
    """Copy official lists; the copy appears only when it is whole.

    Args:
        folder: Where they lie.
        target: The folder to make.
    """
    if folder == target:
        return
    temporary = target.with_name(f".{target.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)  # of a run that was killed
    for file in folder.rglob("*.txt"):
        copy = temporary / file.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    temporary.rename(target)


def check_folder(folder: Path, made: Path) -> None:
    """Check that a folder holds videos, apart from where clips are made.

    Args:
        folder: Of the original videos.
        made: Where clips are made.

    Raises:
        DatasetError: If it does not.
    """
    if not folder.is_dir():
        raise DatasetError(f"there is no folder {folder}")
    here, there = folder.resolve(), made.resolve()
    if there.is_relative_to(here) or here.is_relative_to(there):
        raise DatasetError(f"{folder} and {made}, where clips are made, lie in each other: choose another --root")
    if next(_videos_in(folder), None) is None:
        raise DatasetError(f"{folder} holds no videos: expected <class>/<clip>.avi, as the archives unpack")


def find_videos(folder: Path, listed: Lists) -> dict[str, Path]:
    """Find original videos by the names in the lists, wherever in a folder they lie.

    Args:
        folder: Where to look.
        listed: The official lists.

    Returns:
        A clip's name in the lists, or else `class/clip` -> its video.

    Raises:
        DatasetError: If a video is there twice.
    """
    # A file's name tells the clip wherever it lies, unless two classes have one of that name.
    names, files = set(listed.names), Counter(name.partition("/")[2] for name in listed.names)
    alone = {name.partition("/")[2]: name for name in listed.names if files[name.partition("/")[2]] == 1}
    videos: dict[str, Path] = {}
    for path in _videos_in(folder):
        action, clip = (readable(part.encode(errors="surrogateescape")) for part in (path.parent.name, path.stem))
        name = f"{action}/{clip}"
        name = name if name in names else alone.get(clip, name)
        if name in videos:
            raise DatasetError(f"{name} is there twice: {videos[name]} and {path}; remove one")
        videos[name] = path
    return videos


def unpack_videos(
    official: Official, root: Path, given: Sequence[str | Path], listed: Lists, manifest: Manifest, log: Log
) -> dict[str, Path]:
    """Find the original videos of all clips that are still to be made, unpacking and downloading what is not there.

    Args:
        official: Of which data set.
        root: The prepared folder.
        given: Archives of the videos that are already here; none are downloaded then.
        listed: The official lists.
        manifest: Of the clips that are made.
        log: Takes a line for what is downloaded or left out.

    Returns:
        A clip's name in the lists -> its video.

    Raises:
        DatasetError: If an archive cannot be had or unpacked, or videos are missing.
    """
    folder = root / "videos"
    videos = find_videos(folder, listed)
    if lacking(listed, videos, manifest):
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
        videos = find_videos(folder, listed)
    if missing := lacking(listed, videos, manifest):
        raise DatasetError(f"{folder} lacks {_by_class(missing, listed)}")
    report_unlisted(videos, listed, log)
    return videos


def lacking(listed: Lists, videos: dict[str, Path], manifest: Manifest) -> list[str]:
    """Name the clips that are neither made nor can be.

    Args:
        listed: The official lists.
        videos: A clip's name -> its video.
        manifest: Of the clips that are made.

    Returns:
        Their names.
    """
    return [name for name in listed.names if name not in videos and not manifest.whole(clip_file(name))]


def report_unlisted(videos: dict[str, Path], listed: Lists, log: Log) -> None:
    """Say which videos no official list names.

    Args:
        videos: A clip's name -> its video.
        listed: The official lists.
        log: Takes the line.
    """
    unknown = sorted(videos.keys() - set(listed.names))
    if unknown:
        log(f"left out, since no official list names them: {listing(unknown, len(videos))}")


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


def _videos_in(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file():
            yield path


def _by_class(missing: list[str], listed: Lists) -> str:
    whole = set(listed.classes) - {action_of(name) for name in set(listed.names) - set(missing)}
    others = [name for name in missing if action_of(name) not in whole]
    parts = [f"all clips of {', '.join(sorted(whole))}"] if whole else []
    return " and ".join(parts + ([listing(others, len(listed.names))] if others else []))
