"""From compressed videos to tensors: TSN segments, the paper's normalisations, one geometry for all modalities.

A clip is decoded once into a *frame bank*: some P-frames spread evenly over it, each as the eight channels of its GOP's
I-frame (3), accumulated motion (2) and accumulated residual (3). Crop and flip act on the eight channels together,
so the three modalities cannot get different geometries.

What is random in a sample is a function of (seed, epoch, clip), never of a worker's state or of the order.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from pkdlib import bitstream, runs
from pkdlib.views import BYTE_CENTRE, IMAGENET_MEAN, IMAGENET_STD, motion_bytes, residual_bytes

# What a network may read of a frame: one modality, or all three, joined in the order of the bank.
PLANES = {"iframe": slice(0, 3), "motion": slice(3, 5), "residual": slice(5, 8), "joint": slice(0, 8)}
PARTS = {"joint": ("iframe", "motion", "residual")}
# Where among its planes the motion's x is, which a flip negates.
MOTION_X = {"motion": 0, "joint": 3}
# Multi-scale crop (TSN; the reference uses the fourth scale for I-frames only, where all three must agree here).
CROP_SCALES = (1.0, 0.875, 0.75)
MAX_DISTORTION = 1
# The paper's crop of 224 from a short side of 256, kept at any input size.
CROP_FROM = 256 / 224


@dataclasses.dataclass(frozen=True)
class FrameBank:
    """Decoded candidate frames of a data set's clips, on disk.

    Args:
        paths: A file a clip, (frames, 8, height, width) uint8.
        labels: (clips,) int64.
    """

    paths: tuple[Path, ...]
    labels: Tensor

    def open(self, clip: int) -> np.ndarray:
        """Map a clip's frames into memory.

        Args:
            clip: The clip's index.

        Returns:
            (frames, 8, height, width) uint8. Drop it after use: pages that stay mapped count as this process's memory.
        """
        return np.load(self.paths[clip], mmap_mode="r")


def frame_bank(
    paths: Sequence[Path],
    labels: Sequence[int],
    folder: Path,
    *,
    candidates: int,
    short_side: int,
    workers: int = 1,
) -> FrameBank:
    """Decode clips into a frame bank, once.

    Args:
        paths: The compressed clips.
        labels: Their classes.
        folder: Where the bank lies; files that are there already are kept.
        candidates: The most P-frames to keep of a clip, spread evenly.
        short_side: Height that frames are reduced to, in pixels; widths keep the aspect.
        workers: Threads.

    Returns:
        The bank.

    Raises:
        RunError: If the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    targets = tuple(folder / f"{index:05d}-{Path(path).stem}.npy" for index, path in enumerate(paths))
    missing = [
        (path, target, candidates, short_side)
        for path, target in zip(paths, targets, strict=True)
        if not target.is_file()
    ]
    if missing:
        progress = tqdm(total=len(missing), desc="decoding clips", unit="clip", disable=None)
        # Threads suffice: libavcodec and numpy release the interpreter's lock, and a process would import torch again.
        try:
            with ThreadPoolExecutor(workers) as pool, progress:
                for _ in pool.map(_write_frames, missing):
                    progress.update()
        except OSError as error:
            reason = error.strerror or f"the disk is full ({error})"
            raise runs.RunError(f"cannot write decoded frames to {folder}: {reason}; choose another cache") from error
    return FrameBank(targets, torch.as_tensor(labels, dtype=torch.int64))


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
    with bitstream.CompressedVideo(path) as video:
        frames = _READERS["joint"](video, _candidates(video, candidates))
    return np.stack([_reduced(modalities, short_side) for modalities in frames])


def read_clip(path: Path, modality: str, *, candidates: int, size: int, segments: int) -> Tensor:
    """Read of a clip what a network tests, decoding only the frames and the modality that it sees.

    Args:
        path: The compressed clip.
        modality: A key of PLANES. Motion alone is read without decoding a picture, where the codec allows it.
        candidates: Frames that a frame bank would keep of it.
        size: Side of the input.
        segments: TSN segments.

    Returns:
        (segments, C, size, size) float32, what `test_batch` gives of a frame bank.

    Raises:
        VideoError: If the clip is unreadable or holds no P-frame.
    """  # noqa: DOC502
    with bitstream.CompressedVideo(path) as video:
        places = _candidates(video, candidates)
        chosen = [places[i] for i in segment_centres(len(places), segments)]
        frames = _READERS[modality](video, chosen)
    planes = torch.from_numpy(np.stack([_reduced(frame, round(size * CROP_FROM)) for frame in frames]))[None]
    geometry = central_geometry(*planes.shape[3:])
    return normalise(apply_geometry(planes, [geometry], size, modality), modality)[0]


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


def normalise(planes: Tensor, modality: str) -> Tensor:
    """Apply the paper's normalisation of a modality.

    I-frames: (x / 255 - mean) / std of ImageNet. Residuals: (x / 255 - 0.5) / std. Motion: x / 255 - 0.5.

    Args:
        planes: (..., C, H, W), 0..255.
        modality: A key of PLANES; each part of joint planes is normalised as its own modality.

    Returns:
        float32 of the same shape.
    """
    if modality in PARTS:
        return torch.cat([normalise(planes[..., PLANES[part], :, :], part) for part in PARTS[modality]], dim=-3)
    scaled = planes / 255
    if modality == "motion":
        return scaled - 0.5
    std = scaled.new_tensor(IMAGENET_STD).view(3, 1, 1)
    if modality == "residual":
        return (scaled - 0.5) / std
    return (scaled - scaled.new_tensor(IMAGENET_MEAN).view(3, 1, 1)) / std


def segment_centres(num_frames: int, segments: int) -> list[int]:
    """Take the middle frame of each of equal segments (TSN's test sampling).

    Args:
        num_frames: Frames of the clip, at least one.
        segments: Number of segments.

    Returns:
        Frame indices, ascending.
    """
    return [int((i + 0.5) * num_frames / segments) for i in range(segments)]


def segment_draws(num_frames: int, segments: int, rng: np.random.Generator) -> list[int]:
    """Draw one frame from each of equal segments (TSN's training sampling).

    Args:
        num_frames: Frames of the clip, at least one.
        segments: Number of segments.
        rng: Source of the draws.

    Returns:
        Frame indices, ascending.
    """
    edges = np.linspace(0, num_frames, segments + 1)
    return [min(int(rng.uniform(low, high)), num_frames - 1) for low, high in itertools.pairwise(edges)]


@dataclasses.dataclass(frozen=True)
class Geometry:
    """A crop and a flip, the same for all modalities and segments of a clip.

    Args:
        top: Of the crop, in pixels.
        left: Of the crop.
        height: Of the crop.
        width: Of the crop.
        flip: Mirror left and right, which also negates the motion's x.
    """

    top: float
    left: float
    height: float
    width: float
    flip: bool


def draw_geometry(height: int, width: int, rng: np.random.Generator) -> Geometry:
    """Draw a multi-scale crop and a flip (TSN's augmentation, as the paper's).

    Args:
        height: Of the frame, in pixels.
        width: Of the frame.
        rng: Source of the draws.

    Returns:
        The geometry.
    """
    short = min(height, width)
    pairs = [
        (a, b) for i, a in enumerate(CROP_SCALES) for j, b in enumerate(CROP_SCALES) if abs(i - j) <= MAX_DISTORTION
    ]
    scale_y, scale_x = pairs[rng.integers(len(pairs))]
    crop_height, crop_width = round(short * scale_y), round(short * scale_x)
    top = int(rng.integers(height - crop_height + 1))
    left = int(rng.integers(width - crop_width + 1))
    return Geometry(top, left, crop_height, crop_width, bool(rng.random() < 0.5))


def central_geometry(height: int, width: int) -> Geometry:
    """Return the test crop: the centre, 224/256 of the short side, unflipped.

    Args:
        height: Of the frame, in pixels.
        width: Of the frame.

    Returns:
        The geometry.
    """
    side = min(height, width) / CROP_FROM
    return Geometry((height - side) / 2, (width - side) / 2, side, side, False)


def apply_geometry(planes: Tensor, geometries: Sequence[Geometry], size: int, modality: str) -> Tensor:
    """Crop, resize and flip a batch of byte planes, bilinearly.

    Args:
        planes: (B, segments, C, H, W) uint8 or float32, 0..255.
        geometries: B geometries.
        size: Side of the result.
        modality: A key of PLANES; the motion's x is negated about 128 where its clip is flipped, as the reference does.

    Returns:
        (B, segments, C, size, size) float32, 0..255 (a flipped motion may reach 256).
    """
    height, width = planes.shape[-2:]
    theta = torch.zeros(len(geometries), 2, 3)
    for row, g in zip(theta, geometries, strict=True):
        row[0, 0] = (-1 if g.flip else 1) * g.width / width
        row[0, 2] = 2 * (g.left + g.width / 2) / width - 1
        row[1, 1] = g.height / height
        row[1, 2] = 2 * (g.top + g.height / 2) / height - 1
    batch, segments, channels = planes.shape[:3]
    theta = theta.to(planes.device)
    grid = functional.affine_grid(theta, [batch, segments * channels, size, size], align_corners=False)
    stacked = planes.to(torch.float32).flatten(1, 2)
    result = functional.grid_sample(stacked, grid, padding_mode="border", align_corners=False)
    result = result.unflatten(1, (segments, channels))
    if modality in MOTION_X:
        flipped, x = torch.tensor([g.flip for g in geometries], device=result.device), MOTION_X[modality]
        result[flipped, :, x] = 2 * BYTE_CENTRE - result[flipped, :, x]
    return result


def training_batch(
    bank: FrameBank,
    indices: Sequence[int],
    *,
    modalities: Sequence[str],
    size: int,
    segments: int,
    seed: int,
    epoch: int,
    device: str = "cpu",
) -> dict[str, Tensor]:
    """Read a batch with random segments' frames, crops and flips, the same for all modalities.

    Args:
        bank: Decoded frames.
        indices: Clips.
        modalities: What to read, keys of PLANES.
        size: Side of the input.
        segments: TSN segments.
        seed: Of the run.
        epoch: Of the training.
        device: Where the batch is wanted; the frames go there as bytes.

    Returns:
        Modality -> (B, segments, C, size, size) float32, normalised.
    """
    opened, positions, geometries = [], [], []
    for clip in indices:
        frames = bank.open(clip)
        rng = np.random.default_rng((seed, epoch, clip))
        opened.append(frames)
        positions.append(segment_draws(len(frames), segments, rng))
        geometries.append(draw_geometry(*frames.shape[2:], rng))
    return _batch(opened, positions, geometries, modalities, size, device)


def test_batch(
    bank: FrameBank,
    indices: Sequence[int],
    *,
    modalities: Sequence[str],
    size: int,
    segments: int,
    device: str = "cpu",
) -> dict[str, Tensor]:
    """Read a batch with the segments' middle frames and the central crop.

    Args:
        bank: Decoded frames.
        indices: Clips.
        modalities: What to read, keys of PLANES.
        size: Side of the input.
        segments: TSN segments.
        device: Where the batch is wanted; the frames go there as bytes.

    Returns:
        Modality -> (B, segments, C, size, size) float32, normalised.
    """
    opened = [bank.open(clip) for clip in indices]
    positions = [segment_centres(len(frames), segments) for frames in opened]
    geometries = [central_geometry(*frames.shape[2:]) for frames in opened]
    return _batch(opened, positions, geometries, modalities, size, device)


# Some frames' modalities, as bytes by the rules of the paper's loader.
_READERS: dict[str, Callable[[bitstream.CompressedVideo, list[tuple[int, int]]], list[tuple[np.ndarray, ...]]]] = {
    "iframe": lambda video, places: [(video.iframe(gop),) for gop, _ in places],
    "motion": lambda video, places: [(motion_bytes(video.motion(*place)),) for place in places],
    "residual": lambda video, places: [(residual_bytes(video.residual(*place)),) for place in places],
    "joint": lambda video, places: [to_bytes(*arrays) for arrays in zip(*video.samples(places), strict=True)],
}


def _candidates(video: bitstream.CompressedVideo, candidates: int) -> list[tuple[int, int]]:
    inter = [index for gop in video.gops for index in range(gop.start + 1, gop.start + gop.length)]
    if not inter:
        raise bitstream.VideoError(f"{video.path}: has no P-frame, so no motion and no residual to read")
    return [video.locate(inter[i]) for i in segment_centres(len(inter), min(candidates, len(inter)))]


def _batch(opened, positions, geometries, modalities, size, device) -> dict[str, Tensor]:
    batch = {}
    for modality in modalities:
        chosen = [frames[wanted, PLANES[modality]] for frames, wanted in zip(opened, positions, strict=True)]
        planes = torch.from_numpy(np.stack(chosen)).to(device)
        batch[modality] = normalise(apply_geometry(planes, geometries, size, modality), modality)
    return batch


def _reduced(modalities: Sequence[np.ndarray], short_side: int) -> np.ndarray:
    # Each modality by itself, channels last: torch has a fast antialiasing kernel for such bytes.
    height, width = modalities[0].shape[:2]
    scale = short_side / min(height, width)
    size = (round(height * scale), round(width * scale))
    planes = [torch.from_numpy(array).permute(2, 0, 1)[None] for array in modalities]
    if size != (height, width):
        planes = [functional.interpolate(plane, size, mode="bilinear", antialias=True) for plane in planes]
    return torch.cat(planes, dim=1)[0].contiguous().numpy()


def _write_frames(task: tuple[Path, Path, int, int]) -> None:
    path, target, candidates, short_side = task
    frames = decode_candidates(path, candidates, short_side)

    def save(temporary: Path) -> None:
        with open(temporary, "wb") as handle:  # given a handle, numpy appends no ending to the name
            np.save(handle, frames)

    runs.write_atomically(target, save)
