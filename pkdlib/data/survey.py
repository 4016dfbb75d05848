"""What a folder of one's own clips holds, before anything is made of it: `pkd inspect DIR`."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from pkdlib._files import printable
from pkdlib.data.datasets import DatasetError
from pkdlib.data.folds import classes_of, divide
from pkdlib.data.sources import find
from pkdlib.video.container import VideoError, open_stream, packets

_MOST_NAMED = 20  # groups, and sizes
_PLACEHOLDER = 1  # bytes of what XviD leaves in place of a picture that it packed with another


@dataclass(frozen=True)
class ClipSummary:
    """What a video says of itself; nothing of it is decoded.

    Attributes:
        codec: libavcodec's name, or `unknown`.
        width: Pixels, as stored.
        height: Pixels.
        frames: Frames, by its packets.
        gops: Frames of each GOP, in the order of the file.
        bytes: Size of the file.
    """

    codec: str
    width: int
    height: int
    frames: int
    gops: tuple[int, ...]
    bytes: int


def summarise(path: Path) -> ClipSummary:
    """Read what a video says of itself.

    Args:
        path: The video.

    Returns:
        That.

    Raises:
        VideoError: If it cannot be opened, or holds no frame.
    """
    with open_stream(path) as (container, stream):
        keys = [packet.is_keyframe for packet in packets(container, stream) if packet.size > _PLACEHOLDER]
        if not keys:
            raise VideoError(f"{path}: holds no frame")
        starts = [number for number, key in enumerate(keys) if key]
        return ClipSummary(
            codec=stream.codec_context.name if stream.codec_context else "unknown",
            width=stream.width,
            height=stream.height,
            frames=len(keys),
            gops=tuple(after - before for before, after in pairwise([*starts, len(keys)])),
            bytes=path.stat().st_size,
        )


def survey(root: str | Path, pattern: str, num_folds: int) -> Iterator[tuple[str, str]]:
    """Sum up a folder of clips with one folder for each class.

    Args:
        root: The folder.
        pattern: Regular expression whose one group is, in a file's name, the clip's group; empty if it is not yet
            known.
        num_folds: Number of folds that the groups are to be cut into.

    Yields:
        What a line is about, and what it says: first what the names tell, then what the files do.

    Raises:
        DatasetError: If the folder holds no clips, or the pattern does not fit their names.
    """  # noqa: DOC502
    found = find(root, pattern or "(.*)")
    sources = found.sources
    yield "folder", printable(root)
    yield "classes", f"{len(classes_of(sources))}: {_counted(source.action for source in sources)}"
    if pattern:
        groups = Counter(source.group for source in sources)
        yield "groups", f"{len(groups)}: {_counted((source.group for source in sources), _MOST_NAMED)}"
        try:
            divide(sources, num_folds)
        except DatasetError as error:
            yield "folds", f"none: {error}"
        else:
            yield "folds", f"{num_folds}, each with clips of every class"
    else:
        yield "groups", "not known; --pattern tells them by the files' names"
    summaries, failures = [], []
    for source in sources:
        try:
            summaries.append(summarise(source.path))
        except VideoError as error:
            failures.append(str(error))
    yield "clips", f"{len(sources)}, of {sum(own.bytes for own in summaries) / 1e6:,.1f} MB in all"
    if summaries:
        yield "codecs", _counted(own.codec for own in summaries)
        yield "sizes", _counted((f"{own.width} x {own.height}" for own in summaries), _MOST_NAMED)
        yield "frames", f"{span(own.frames for own in summaries)} a clip"
        yield "GOPs", _gops(summaries)
    for failure in failures:
        yield "unreadable", printable(failure)
    for line in found.told():
        yield "left out", line


def span(numbers: Iterable[int]) -> str:
    """Say between which two numbers others lie.

    Args:
        numbers: At least one.

    Returns:
        The smallest and the largest, or the number if there is but one.
    """
    own = list(numbers)
    shortest, longest = min(own), max(own)
    return str(longest) if shortest == longest else f"{shortest} to {longest}"


def _gops(summaries: list[ClipSummary]) -> str:
    # By codec, since encoders have their own defaults, and a class that was encoded in another way gives itself away.
    lengths = defaultdict(list)
    for own in summaries:
        lengths[own.codec] += own.gops
    return ", ".join(f"{codec} of {span(own)} frames" for codec, own in sorted(lengths.items()) if own) or "none"


def _counted(words: Iterable[str], most: int | None = None) -> str:
    # In alphabetical order; of many different words only so many, the most frequent.
    counts = Counter(words)
    named = sorted(counts.most_common(most))
    others = f", and {len(counts) - len(named)} others" if len(counts) > len(named) else ""
    return ", ".join(f"{word} ({number})" for word, number in named) + others
