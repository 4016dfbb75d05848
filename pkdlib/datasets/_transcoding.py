"""Many videos transcoded at once into a folder with a manifest, with progress; what was made stays whatever happens."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pkdlib.container import VideoError
from pkdlib.datasets import DatasetError
from pkdlib.datasets._manifest import Manifest
from pkdlib.datasets._workers import results
from pkdlib.files import printable
from pkdlib.transcode import transcode

# A clip's path within the folder, the video, and what the manifest keeps to tell the video from a changed one.
Job = tuple[str, Path, dict[str, Any]]


def transcode_all(jobs: Sequence[Job], manifest: Manifest, title: str, workers: int) -> list[str]:
    """Transcode videos to the paper's form, and record each that is done.

    Args:
        jobs: What to make of what.
        manifest: Of the folder to make it in.
        title: Of the progress bar.
        workers: Processes that transcode.

    Returns:
        For each video that cannot be read a line that names it, sorted; all others are made.

    Raises:
        DatasetError: If the folder cannot be written, or a process is killed.
    """  # noqa: DOC502
    if not jobs:
        return []
    manifest.save()
    origins = {file: origin for file, _, origin in jobs}
    tasks = [(file, video, manifest.path(file)) for file, video, _ in jobs]
    failures = []
    progress = tqdm(total=len(jobs), desc=title, unit="clip", disable=None)
    try:
        with progress, contextlib.closing(results(_transcode, tasks, min(workers, len(tasks)))) as made:
            for file, problem in made:
                if problem:
                    failures.append(problem)
                else:
                    manifest.add(file, origins[file])
                progress.update()
    finally:
        manifest.save()
    return sorted(failures)


def _transcode(task: tuple[str, Path, Path]) -> tuple[str, str]:
    file, video, target = task
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        transcode(video, target, fewest=2)  # motion needs two
    except VideoError as error:
        return file, printable(error)
    except OSError as error:
        raise DatasetError(f"cannot write {target}: {error}") from error
    return file, ""
