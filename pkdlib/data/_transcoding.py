"""Many videos transcoded at once into a folder with a manifest, with progress; what was made stays whatever happens."""

import contextlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from pkdlib._files import printable
from pkdlib._progress import tqdm
from pkdlib.data._manifest import Manifest
from pkdlib.data._workers import results
from pkdlib.data.datasets import DatasetError
from pkdlib.video.container import VideoError, open_stream, packets
from pkdlib.video.transcode import transcode

# A clip's path within the folder, the video, and what the manifest keeps to tell the video from a changed one.
Job = tuple[str, Path, dict[str, Any]]


def transcode_all(jobs: Sequence[Job], manifest: Manifest, title: str, workers: int) -> list[str]:
    """Transcode videos to the paper's form, and record each that is done, with its longest GOP as `original_gop`.

    Args:
        jobs: What to make of what.
        manifest: Of the folder to make it in.
        title: Of the progress bar.
        workers: Processes that transcode.

    Returns:
        For each video that cannot be read, or whose reading kills its process, a line that names it, sorted; all others
        are made.

    Raises:
        DatasetError: If the folder cannot be written, or no processes can be started.
    """  # noqa: DOC502
    if not jobs:
        return []
    manifest.save()
    origins = {file: origin for file, _, origin in jobs}
    tasks = [(file, video, manifest.path(file)) for file, video, _ in jobs]
    failures = []
    progress = tqdm(total=len(jobs), desc=title, unit="clip", disable=None)
    try:
        with progress, contextlib.closing(results(_transcode, tasks, workers, _killed)) as made:
            for file, problem, gop in made:
                if problem:
                    failures.append(problem)
                else:
                    manifest.add(file, origins[file], original_gop=gop)
                progress.update()
    finally:
        manifest.save()
    return sorted(failures)


def _transcode(task: tuple[str, Path, Path]) -> tuple[str, str, int]:
    file, video, target = task
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        transcode(video, target, fewest=2)  # motion needs two
        return file, "", _longest_gop(video)
    except VideoError as error:
        return file, printable(error), 0
    except OSError as error:
        raise DatasetError(f"cannot write {target}: {error}") from error


def _killed(task: tuple[str, Path, Path]) -> tuple[str, str, int]:
    file, video, _ = task
    problem = f"{video}: the process that transcodes it is killed (a fault of a codec, or too little memory)"
    return file, printable(problem), 0


def _longest_gop(video: Path) -> int:
    # Frames from a key frame to the next, or to the end; by the packets alone.
    with open_stream(video) as (container, stream):
        keys = [packet.is_keyframe for packet in packets(container, stream)]
    starts = [number for number, key in enumerate(keys) if key]
    return max((after - before for before, after in pairwise([*starts, len(keys)])), default=len(keys))
