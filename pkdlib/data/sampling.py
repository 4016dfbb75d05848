"""From compressed videos to tensors: TSN segments, the paper's normalisations, one geometry for all modalities.

Crop and flip act on all planes of a clip together, so the three modalities cannot get different geometries. Frames stay
bytes until they are on the device that wants them: `draw` reads them, which another process may do, `finish` makes
tensors of them.

What is random in a sample is a function of (seed, epoch, clip), never of a worker's state or of the order.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pkdlib.data.frame_cache import PARTS, PLANES, ClipFrames, Frames, segment_centres
from pkdlib.video.transforms import BYTE_CENTRE, IMAGENET_MEAN, IMAGENET_STD

# Where among its planes the motion's x is, which a flip negates.
MOTION_X = {"motion": 0, "joint": 3}

# Multi-scale crop (TSN; the reference uses the fourth scale for I-frames only, where all three must agree here).
CROP_SCALES = (1.0, 0.875, 0.75)
MAX_DISTORTION = 1
# The paper's crop of 224 from a short side of 256, kept at any input size.
CROP_FROM = 256 / 224


def read_clip(path: Path, modality: str, *, candidates: int, size: int, segments: int) -> Tensor:
    """Read of a clip what a network tests, decoding only the frames and the modality that it sees.

    Args:
        path: The compressed clip.
        modality: A key of PLANES. Motion alone is read without decoding a picture, where the codec allows it.
        candidates: Frames that a frame bank would keep of it.
        size: Side of the input.
        segments: TSN segments.

    Returns:
        (segments, C, size, size) float32, what `evaluation_batch` gives of a frame bank.

    Raises:
        VideoError: If the clip is unreadable or holds no P-frame.
    """  # noqa: DOC502
    frames = ClipFrames(path, candidates, round(size * CROP_FROM))
    return finish(_read_centres([frames], [modality], segments), size)[modality][0]


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
        return scaled.sub_(0.5)
    std = scaled.new_tensor(IMAGENET_STD).view(3, 1, 1)
    if modality == "residual":
        return scaled.sub_(0.5).div_(std)
    return scaled.sub_(scaled.new_tensor(IMAGENET_MEAN).view(3, 1, 1)).div_(std)


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


@dataclasses.dataclass(frozen=True)
class Drawn:
    """What a batch is made of, read but not yet cropped.

    Args:
        planes: Modality -> (B, segments, C, H, W) uint8.
        geometries: A clip's each.
    """

    planes: dict[str, Tensor]
    geometries: list[Geometry]

    def pin_memory(self) -> "Drawn":
        """Move the frames to where a GPU can fetch them while it works.

        Returns:
            The same, pinned.
        """
        return Drawn({modality: planes.pin_memory() for modality, planes in self.planes.items()}, self.geometries)


def draw(
    frames: Frames, indices: Sequence[int], *, modalities: Sequence[str], segments: int, seed: int, epoch: int
) -> Drawn:
    """Read random segments' frames of clips, and draw crops and flips.

    Args:
        frames: The clips.
        indices: Which of them.
        modalities: What to read, keys of PLANES.
        segments: TSN segments.
        seed: Of the run.
        epoch: Of the training.

    Returns:
        All that is random of the batch, and all that is read.
    """
    opened, positions, geometries = [], [], []
    for clip in indices:
        own = frames.open(clip)
        rng = np.random.default_rng((seed, epoch, clip))
        opened.append(own)
        positions.append(segment_draws(len(own), segments, rng))
        geometries.append(draw_geometry(*own.shape[2:], rng))
    return _read(opened, positions, geometries, modalities)


def finish(drawn: Drawn, size: int, device: str = "cpu") -> dict[str, Tensor]:
    """Crop, resize, flip and normalise.

    Args:
        drawn: What was read.
        size: Side of the input.
        device: Where the batch is wanted; the frames go there as bytes.

    Returns:
        Modality -> (B, segments, C, size, size) float32, normalised.
    """
    batch = {}
    for modality, planes in drawn.planes.items():
        there = planes.to(device, non_blocking=True)
        batch[modality] = normalise(apply_geometry(there, drawn.geometries, size, modality), modality)
    return batch


def evaluation_batch(
    frames: Frames,
    indices: Sequence[int],
    *,
    modalities: Sequence[str],
    size: int,
    segments: int,
    device: str = "cpu",
) -> dict[str, Tensor]:
    """Read a batch with the segments' middle frames and the central crop.

    Args:
        frames: The clips.
        indices: Which of them.
        modalities: What to read, keys of PLANES.
        size: Side of the input.
        segments: TSN segments.
        device: Where the batch is wanted.

    Returns:
        Modality -> (B, segments, C, size, size) float32, normalised.
    """
    return finish(_read_centres([frames.open(clip) for clip in indices], modalities, segments), size, device)


def _read_centres(opened, modalities, segments) -> Drawn:
    positions = [segment_centres(len(own), segments) for own in opened]
    geometries = [central_geometry(*own.shape[2:]) for own in opened]
    return _read(opened, positions, geometries, modalities)


def _read(opened, positions, geometries, modalities) -> Drawn:
    # All modalities at once: a clip that is decoded here is decoded once.
    own = [PLANES[modality] for modality in modalities]
    span = slice(min(planes.start for planes in own), max(planes.stop for planes in own))
    arrays = [frames[wanted, span] for frames, wanted in zip(opened, positions, strict=True)]
    planes = {
        modality: torch.from_numpy(
            np.stack([array[:, wanted.start - span.start : wanted.stop - span.start] for array in arrays])
        )
        for modality, wanted in zip(modalities, own, strict=True)
    }
    return Drawn(planes, geometries)
