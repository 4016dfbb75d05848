"""Frames of clips as bytes: decoded once into a bank on disk, or out of the files whenever they are asked for.

Of a clip count some P-frames spread evenly over it, or all, each as the eight planes of its GOP's I-frame (3),
accumulated motion (2) and accumulated residual (3), as bytes by the rules of the paper's loader. A `FrameBank` and
`ClipFiles` give the same bytes in the same way: the first reads disk, the second spends a processor's time. A bank that
is packed takes a fifth of the disk, and some of that time.
"""

import contextlib
import dataclasses
import itertools
import math
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pkdlib import _files
from pkdlib._progress import tqdm
from pkdlib.data.datasets import DatasetError
from pkdlib.video import reader
from pkdlib.video.transforms import motion_bytes, residual_bytes

# What a network may read of a frame: one modality, or all three, joined in the order of the bank.
PLANES = {"iframe": slice(0, 3), "motion": slice(3, 5), "residual": slice(5, 8), "joint": slice(0, 8)}
PARTS = {"joint": ("iframe", "motion", "residual")}
PACKED = ".packed"  # the ending of a clip's file in a bank that is packed
_AT_ONCE = 300  # clips that are lent to be decoded


@dataclasses.dataclass(frozen=True)
class FrameBank:
    """Decoded candidate frames of a data set's clips, on disk.

    Args:
        paths: A file a clip, (frames, 8, height, width) uint8: numpy's own, or packed.
        labels: (clips,) int64.
    """

    paths: tuple[Path, ...]
    labels: Tensor

    def open(self, clip: int) -> "np.ndarray | PackedFrames":
        """Map a clip's frames into memory, or prepare to unpack them.

        Args:
            clip: The clip's index.

        Returns:
            (frames, 8, height, width) uint8. Drop it after use: pages that stay mapped count as this process's memory.
        """
        path = self.paths[clip]
        return PackedFrames(path) if path.suffix == PACKED else np.load(path, mmap_mode="r")


@dataclasses.dataclass(frozen=True)
class ClipFiles:
    """Compressed clips that are decoded anew whenever they are read.

    Args:
        paths: The files.
        labels: (clips,) int64.
        candidates: The most P-frames that count of a clip, spread evenly.
        short_side: Height that frames are reduced to, in pixels; widths keep the aspect.
        indices: A folder to keep the files' indices in, so that a file is searched for its frames once, and not in
            every epoch; None to keep none.
    """

    paths: tuple[Path, ...]
    labels: Tensor
    candidates: int
    short_side: int
    indices: Path | None = None

    def open(self, clip: int) -> "ClipFrames":
        """Open a clip; nothing is decoded yet.

        Args:
            clip: The clip's index.

        Returns:
            Its frames, which are read as a bank's array is.

        Raises:
            VideoError: If the clip is unreadable or holds no P-frame.
        """  # noqa: DOC502
        return ClipFrames(self.paths[clip], self.candidates, self.short_side, self.indices)


# Where training and measuring may read clips from.
Frames = FrameBank | ClipFiles


class PackedFrames:
    """The frames of a clip, packed without loss: each frame's modalities by themselves, and what repeats once.

    Red and blue are kept as differences from green, and each row as the difference from the one above it, which leaves
    small numbers for deflate.

    Args:
        path: A file of what `pack` gave.

    Attributes:
        shape: (frames, 8, height, width).
    """

    def __init__(self, path: Path):
        """Read where the file holds what."""
        self._content = path.read_bytes()
        head = np.frombuffer(self._content, np.int64, 3)
        self.shape = (int(head[0]), PLANES["joint"].stop, int(head[1]), int(head[2]))
        self._places = np.frombuffer(self._content, np.int64, self.shape[0] * 6, head.nbytes).reshape(-1, 3, 2)

    def __len__(self) -> int:
        """Return the number of frames."""
        return self.shape[0]

    def __getitem__(self, wanted: tuple[Sequence[int], slice]) -> np.ndarray:
        """Unpack frames.

        Args:
            wanted: Numbers of frames, and a slice of the planes, from where a modality begins to where one ends.

        Returns:
            (frames, planes, height, width) uint8.
        """
        numbers, planes = wanted
        frames = np.empty((len(numbers), planes.stop - planes.start, *self.shape[2:]), np.uint8)
        parts = {n: PLANES[part] for n, part in enumerate(PARTS["joint"]) if _holds(planes, PLANES[part])}
        for frame, number in zip(frames, numbers, strict=True):
            for part, own in parts.items():
                begin, end = self._places[number, part]
                content = zlib.decompress(memoryview(self._content)[begin:end])
                frame[own.start - planes.start : own.stop - planes.start].ravel()[:] = np.frombuffer(content, np.uint8)
        rows = np.moveaxis(frames, 2, 0)
        for above, row in itertools.pairwise(rows):  # of all frames at once, which numpy's cumsum takes one by one
            row += above
        for own in parts.values():
            first, last = own.start - planes.start, own.stop - planes.start
            if last - first == 3:
                frames[:, first:last:2] += frames[:, first + 1 : first + 2]
        return frames


def pack(frames: np.ndarray) -> bytes:
    """Pack a clip's frames, without loss.

    Args:
        frames: (frames, 8, height, width) uint8.

    Returns:
        What `PackedFrames` reads of a file.
    """
    places, kept, content = np.zeros((len(frames), 3, 2), np.int64), {}, []
    begin = 8 * (3 + places.size)
    for number, frame in enumerate(frames):
        for part, name in enumerate(PARTS["joint"]):
            planes = frame[PLANES[name]]
            if (raw := planes.tobytes()) not in kept:
                packed = _packed(planes)
                kept[raw] = (begin, begin + len(packed))
                begin += len(packed)
                content.append(packed)
            places[number, part] = kept[raw]
    head = np.array([len(frames), *frames.shape[2:]], np.int64)
    return b"".join([head.tobytes(), places.tobytes(), *content])


class ClipFrames:
    """The frames of a compressed clip, decoded where they are read.

    Args:
        path: The compressed clip.
        candidates: The most P-frames that count, spread evenly.
        short_side: Height that frames are reduced to, in pixels.
        indices: A folder to keep the file's index in, or None.

    Attributes:
        shape: (frames, 8, height, width).
    """

    def __init__(self, path: Path, candidates: int, short_side: int, indices: Path | None = None):
        """Index the file.

        Raises:
            VideoError: If the clip is unreadable or holds no P-frame.
        """
        self._video = reader.CompressedVideo(path, cache=indices)
        inter = [index for gop in self._video.gops for index in range(gop.start + 1, gop.start + gop.length)]
        if not inter:
            raise reader.VideoError(f"{path}: has no P-frame, so no motion and no residual to read")
        chosen = segment_centres(len(inter), min(candidates, len(inter)))
        self._places = [self._video.locate(inter[i]) for i in chosen]
        self.shape = (len(chosen), 8, *_reduced_size(self._video.height, self._video.width, short_side))

    def __len__(self) -> int:
        """Return the number of frames that count."""
        return len(self._places)

    def __getitem__(self, wanted: tuple[Sequence[int], slice]) -> np.ndarray:
        """Decode frames.

        Args:
            wanted: Numbers of frames, and a slice of the planes. Where that is one modality's, only this is decoded:
                motion without any picture, where the codec allows it.

        Returns:
            (frames, planes, height, width) uint8.
        """
        numbers, planes = wanted
        modality = next((name for name, own in PLANES.items() if own == planes), "joint")
        frames = _READERS[modality](self._video, [self._places[number] for number in numbers])
        size, own = self.shape[2:], PLANES[modality]
        found = np.empty((len(frames), own.stop - own.start, *size), np.uint8)
        for frame, target in zip(frames, found, strict=True):
            torch.cat(_reduced(frame, size), out=torch.from_numpy(target))
        return found if planes == own else found[:, planes]


def frame_bank(
    paths: Sequence[Path],
    labels: Sequence[int],
    folder: Path,
    *,
    candidates: int,
    short_side: int,
    workers: int = 1,
    packed: bool = False,
    lend: Callable[[Sequence[int]], contextlib.AbstractContextManager[Sequence[Path]]] | None = None,
    log: Callable[[str], None] = print,
) -> FrameBank:
    """Decode clips into a frame bank, once.

    Args:
        paths: The compressed clips.
        labels: Their classes.
        folder: Where the bank lies; files that are there already are kept.
        candidates: The most P-frames to keep of a clip, spread evenly.
        short_side: Height that frames are reduced to, in pixels; widths keep the aspect.
        workers: Threads.
        packed: Whether the bank is packed, to a fifth of the disk.
        lend: From clips' indices to their files, for the time of a block, where they are made when they are read.
        log: Takes one line that says how large the bank will be and where, if there is anything to decode.

    Returns:
        The bank.

    Raises:
        DatasetError: If the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    targets = tuple(
        folder / _files.derived(f"{index:05d}-{Path(path).stem}", PACKED if packed else ".npy")
        for index, path in enumerate(paths)
    )
    missing = [index for index, target in enumerate(targets) if not target.is_file()]
    lend = lend or (lambda indices: contextlib.nullcontext([paths[index] for index in indices]))
    if missing:
        with lend(missing[:1]) as first:
            size = len(missing) * size_of(first, candidates, short_side, packed=packed)
        log(f"decoding {len(missing):,} clips, once, to {folder}: about {size / 1e9:.2g} GB")
        progress = tqdm(total=len(missing), desc="decoding clips", unit="clip", disable=None)
        # Threads suffice: libavcodec and numpy release the interpreter's lock, and a process would import torch again.
        try:
            with ThreadPoolExecutor(workers) as pool, progress:
                for some in (missing[start : start + _AT_ONCE] for start in range(0, len(missing), _AT_ONCE)):
                    with lend(some) as lent:
                        tasks = [
                            (path, targets[index], candidates, short_side)
                            for path, index in zip(lent, some, strict=True)
                        ]
                        for _ in pool.map(_write_frames, tasks):
                            progress.update()
        except OSError as error:
            reason = error.strerror or f"the disk is full ({error})"
            raise DatasetError(f"cannot write decoded frames to {folder}: {reason}; choose another cache") from error
    return FrameBank(targets, torch.as_tensor(labels, dtype=torch.int64))


def size_of(paths: Sequence[Path], candidates: int, short_side: int, *, packed: bool = False) -> int:
    """Say how large a frame bank of clips will be, as if all had the frames of the first.

    Args:
        paths: The compressed clips, at least one.
        candidates: The most P-frames to keep of a clip.
        short_side: Height that frames are reduced to, in pixels.
        packed: Whether the bank is packed.

    Returns:
        The bytes of one clip's frames, times the clips.

    Raises:
        VideoError: If the first clip is unreadable or holds no P-frame.
    """  # noqa: DOC502
    if packed:
        return len(paths) * len(pack(decode_candidates(paths[0], candidates, short_side)))
    return len(paths) * math.prod(ClipFrames(paths[0], candidates, short_side).shape)


def decode_candidates(path: Path, candidates: int, short_side: int) -> np.ndarray:
    """Decode P-frames spread evenly over a clip, as bytes by the paper's rules.

    Motion is clip(trunc(127.5 / 20 * m) + 128) and a residual clip(r + 128), both to 0..255, at the clip's own size;
    then all are reduced alike.

    Args:
        path: The compressed clip.
        candidates: The most frames to keep.
        short_side: Height to reduce to.

    Returns:
        (frames, 8, short_side, width) uint8.

    Raises:
        VideoError: If the clip is unreadable or holds no P-frame.
    """  # noqa: DOC502
    frames = ClipFrames(path, candidates, short_side)
    return frames[range(len(frames)), PLANES["joint"]]


def segment_centres(num_frames: int, segments: int) -> list[int]:
    """Take the middle frame of each of equal segments (TSN's test sampling).

    Args:
        num_frames: Frames of the clip, at least one.
        segments: Number of segments.

    Returns:
        Frame indices, ascending.
    """
    return [int((i + 0.5) * num_frames / segments) for i in range(segments)]


def to_bytes(iframe: np.ndarray, motion: np.ndarray, residual: np.ndarray) -> tuple[np.ndarray, ...]:
    """Turn the three modalities of one frame into bytes by the rules of the paper's loader.

    Args:
        iframe: (H, W, 3) uint8.
        motion: (H, W, 2) int16, pixels.
        residual: (H, W, 3) int16.

    Returns:
        I-frame (H, W, 3), motion (H, W, 2) and residual (H, W, 3), uint8.
    """
    return iframe, motion_bytes(motion), residual_bytes(residual)


# Some frames' modalities, as bytes by the rules of the paper's loader.
_READERS: dict[str, Callable[[reader.CompressedVideo, list[tuple[int, int]]], list[tuple[np.ndarray, ...]]]] = {
    "iframe": lambda video, places: [(video.iframe(gop),) for gop, _ in places],
    "motion": lambda video, places: [(motion_bytes(video.motion(*place)),) for place in places],
    "residual": lambda video, places: [(residual_bytes(video.residual(*place)),) for place in places],
    "joint": lambda video, places: [to_bytes(*arrays) for arrays in zip(*video.samples(places), strict=True)],
}


def _reduced_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    scale = short_side / min(height, width)
    return round(height * scale), round(width * scale)


def _reduced(modalities: Sequence[np.ndarray], size: tuple[int, int]) -> list[Tensor]:
    # Each modality by itself, channels last: torch has a fast antialiasing kernel for such bytes.
    planes = [torch.from_numpy(array).permute(2, 0, 1) for array in modalities]
    if size == modalities[0].shape[:2]:
        return planes
    return [functional.interpolate(each[None], size, mode="bilinear", antialias=True)[0] for each in planes]


def _write_frames(task: tuple[Path, Path, int, int]) -> None:
    path, target, candidates, short_side = task
    frames = decode_candidates(path, candidates, short_side)

    def save(temporary: Path) -> None:
        if target.suffix == PACKED:
            temporary.write_bytes(pack(frames))
            return
        with open(temporary, "wb") as handle:  # given a handle, numpy appends no ending to the name
            np.save(handle, frames)

    _files.write_atomically(target, save)


def _packed(planes: np.ndarray) -> bytes:
    left = planes.copy()
    if len(left) == 3:
        left[::2] -= left[1]
    left[:, 1:] -= left[:, :-1].copy()
    # Of such small numbers a search for longer matches finds none worth eight times the time.
    deflate = zlib.compressobj(strategy=zlib.Z_RLE)
    return deflate.compress(left.tobytes()) + deflate.flush()


def _holds(planes: slice, own: slice) -> bool:
    return planes.start <= own.start and own.stop <= planes.stop
