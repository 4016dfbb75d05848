"""Backbones per modality, and the multi-exit network that can stop after any exit.

A backbone reads frames of one modality and has a stem, four stages and a head; a clip's logits are the mean of its
segments' (TSN). Internal classifiers (`exit_heads`) hang behind the first three stages. Exits are numbered from 1;
exit 4 is the network's own end.

Shapes: a clip is (segments, C, H, W), a batch (B, segments, C, H, W); logits are (B, classes).
"""

from collections.abc import Generator

import torch
from torch import Tensor, nn

from pkdlib.models import lite

MODALITIES = ("iframe", "motion", "residual")
CHANNELS = {"iframe": 3, "motion": 2, "residual": 3, "joint": 8}
NUM_EXITS = 4
SMALL_WIDTH = 24


class NetworkError(Exception):
    """A network that is not known; the message names those that are."""


class FeatureBackbone(nn.Module):
    """A network that can stop between its stages: what exits hang on.

    A kind of it has a generator `features(rows)`, which yields what each exit reads and at last what
    `classify(last, segments)` does, and computes a stage only when it is asked for; and `widths`, of what it yields.
    """

    def rows(self, clips: Tensor) -> tuple[Tensor, int]:
        """Lay the segments of all clips one after the other, as `features` reads them.

        Args:
            clips: (B, segments, ...).

        Returns:
            (B * segments, ...), and how many segments a clip has.
        """
        return clips.flatten(0, 1), clips.shape[1]

    def forward(self, clips: Tensor) -> Tensor:
        """Compute a batch's logits.

        Args:
            clips: (B, segments, C, H, W).

        Returns:
            (B, classes).
        """
        rows, segments = self.rows(clips)
        *_, last = self.features(rows)
        return self.classify(last, segments)

    def branches(self, last: Tensor, segments: int) -> dict[str, Tensor]:
        """Turn the last features into the clip logits of each modality, where a network joins several.

        Args:
            last: The last that `features` yields.
            segments: Segments a clip.

        Returns:
            Modality -> (B, classes); none of a network that reads one alone.
        """
        return {}


class Backbone(FeatureBackbone):
    """A residual network for one modality, in the parts between which exits can hang.

    Args:
        stem: From the input to the first stage's input.
        stages: Four modules, each with the number of its output channels.
        num_classes: Classes.
    """

    def __init__(self, *, stem: nn.Module, stages: list[tuple[nn.Module, int]], num_classes: int):
        """Assemble the parts and make a new head."""
        super().__init__()
        self.stem = stem
        self.stages = nn.ModuleList(stage for stage, _ in stages)
        self.widths = tuple(width for _, width in stages)
        self.head = nn.Linear(self.widths[-1], num_classes)

    def enter(self, frames: Tensor) -> Tensor:
        """Compute the stem.

        Args:
            frames: (N, C, H, W).

        Returns:
            (N, width, height, width), the first stage's input.
        """
        # Faster, but for a processor's batch norm of few channels in training.
        if not self.training or frames.is_cuda:
            frames = frames.contiguous(memory_format=torch.channels_last)
        return self.stem(frames)

    def features(self, frames: Tensor) -> Generator[Tensor, Tensor | None, None]:
        """Yield each stage's output, computing a stage only when it is asked for.

        Args:
            frames: (N, C, H, W).

        Yields:
            (N, width, height, width) of stages 1 to 4. `send` takes the rows (int64) that go on to the next stage, or
            None for all.
        """
        frames = self.enter(frames)
        for stage in self.stages:
            frames = stage(frames)
            rows = yield frames
            if rows is not None:
                frames = frames[rows]

    def classify(self, features: Tensor, segments: int) -> Tensor:
        """Turn the last stage's output into clip logits.

        Args:
            features: (B * segments, width, h, w).
            segments: Segments a clip.

        Returns:
            (B, classes).
        """
        return segment_mean(self.head(features.mean(dim=(2, 3))), segments)


class MultiExitNetwork(nn.Module):
    """A backbone with an internal classifier behind each place, but its end, where it can stop.

    Args:
        backbone: The trained network.
        exits: The internal classifiers.
    """

    def __init__(self, *, backbone: FeatureBackbone, exits: nn.ModuleList):
        """Join the two; the backbone is shared, not copied."""
        super().__init__()
        self.backbone = backbone
        self.exits = exits

    def iterate(self, clips: Tensor) -> Generator[Tensor, Tensor | None, None]:
        """Yield the logits of each exit in turn; whoever stops asking stops the computation.

        Whoever asks by `send` may say which clips go on: the next stage runs on those rows alone.

        Args:
            clips: (B, segments, C, H, W).

        Yields:
            (B, classes) for each exit in turn, of the clips that are left. `send` takes the indices (int64) of those
            that stay, or None for all.
        """
        rows, segments = self.backbone.rows(clips)
        features = self.backbone.features(rows)
        stage = next(features)
        for exit_ in self.exits:
            keep = yield exit_(stage, segments)
            # A clip's segments are rows one after the other.
            rows = None if keep is None else (keep[:, None] * segments + torch.arange(segments)).flatten()
            stage = features.send(rows)
        yield self.backbone.classify(stage, segments)

    def forward(self, clips: Tensor) -> tuple[Tensor, ...]:
        """Compute the logits of all exits.

        Args:
            clips: (B, segments, C, H, W).

        Returns:
            Tensors (B, classes), the last of the backbone's own end.
        """
        return tuple(self.iterate(clips))


class Block(nn.Module):
    """A path beside a shortcut, added: ResNet's block, of either kind.

    Args:
        path: From `in_channels` to `channels`.
        in_channels: Channels in.
        channels: Channels out.
        stride: Of the path and the shortcut.
    """

    def __init__(self, *, path: nn.Module, in_channels: int, channels: int, stride: int):
        """Make the shortcut, which is the identity where nothing changes."""
        super().__init__()
        self.path = path
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, features: Tensor) -> Tensor:
        """Add both paths.

        Args:
            features: (N, in_channels, h, w).

        Returns:
            (N, channels, h / stride, w / stride).
        """
        return torch.relu(self.path(features) + self.shortcut(features))


def basic_block(*, in_channels: int, channels: int, stride: int) -> Block:
    """Make two 3 x 3 convolutions beside a shortcut.

    Args:
        in_channels: Channels in.
        channels: Channels out.
        stride: Of the first convolution and the shortcut.

    Returns:
        The block.
    """
    path = nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
        nn.BatchNorm2d(channels),
    )
    return Block(path=path, in_channels=in_channels, channels=channels, stride=stride)


def bottleneck_block(*, in_channels: int, channels: int, stride: int) -> Block:
    """Make convolutions of 1 x 1, 3 x 3 and 1 x 1 beside a shortcut.

    Args:
        in_channels: Channels in.
        channels: Channels out; a quarter of them in between.
        stride: Of the 3 x 3 convolution and the shortcut.

    Returns:
        The block.
    """
    narrow = channels // 4
    path = nn.Sequential(
        nn.Conv2d(in_channels, narrow, 1, bias=False),
        nn.BatchNorm2d(narrow),
        nn.ReLU(),
        nn.Conv2d(narrow, narrow, 3, stride, 1, bias=False),
        nn.BatchNorm2d(narrow),
        nn.ReLU(),
        nn.Conv2d(narrow, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
    )
    return Block(path=path, in_channels=in_channels, channels=channels, stride=stride)


def small_backbone(*, modality: str, num_classes: int) -> Backbone:
    """Make the small network for CPUs: one architecture for all three modalities but for the input's channels.

    Args:
        modality: One of MODALITIES.
        num_classes: Classes.

    Returns:
        A network of four residual blocks of widths 24, 48, 96 and 192, newly initialised; 96 x 96 is a good input.
    """
    stem = _small_stem(CHANNELS[modality])
    stages, before = [], SMALL_WIDTH
    for index in range(4):
        after = SMALL_WIDTH * 2**index
        stages.append((basic_block(in_channels=before, channels=after, stride=1 if index == 0 else 2), after))
        before = after
    return Backbone(stem=stem, stages=stages, num_classes=num_classes)


def mixed_backbone(*, modality: str, num_classes: int) -> Backbone:
    """Make small networks in the paper's proportions: for I-frames bottleneck blocks, and twice as many, as wide again.

    ResNet-50 has twice the blocks of ResNet-18, bottlenecks instead of basic ones, and four times the channels between
    them. Motion and residuals have `small_backbone`.

    Args:
        modality: One of MODALITIES.
        num_classes: Classes.

    Returns:
        The network, newly initialised.
    """
    if modality != "iframe":
        return small_backbone(modality=modality, num_classes=num_classes)
    stages, before = [], SMALL_WIDTH
    for index in range(4):
        after = 4 * SMALL_WIDTH * 2**index
        first = bottleneck_block(in_channels=before, channels=after, stride=1 if index == 0 else 2)
        stages.append((nn.Sequential(first, bottleneck_block(in_channels=after, channels=after, stride=1)), after))
        before = after
    return Backbone(stem=_small_stem(CHANNELS[modality]), stages=stages, num_classes=num_classes)


def paper_backbone(*, modality: str, num_classes: int) -> Backbone:
    """Make the paper's network: ResNet-50 for I-frames, ResNet-18 for motion and residuals.

    Motion and residuals pass a batch norm first, and the motion network's first convolution takes two channels
    (CoViAR's `model.py`, which the reference keeps).

    Args:
        modality: One of MODALITIES.
        num_classes: Classes.

    Returns:
        The network, for 224 x 224 input, newly initialised.
    """
    from torchvision.models import resnet  # 160 MB of memory that only this size needs

    if modality == "iframe":
        net = resnet.resnet50()
        widths, input_norm = (256, 512, 1024, 2048), nn.Identity()
    else:
        net = resnet.resnet18()
        widths, input_norm = (64, 128, 256, 512), nn.BatchNorm2d(CHANNELS[modality])
    if modality == "motion":
        net.conv1 = nn.Conv2d(CHANNELS["motion"], 64, 7, 2, 3, bias=False)
    stem = nn.Sequential(input_norm, net.conv1, net.bn1, net.relu, net.maxpool)
    stages = zip((net.layer1, net.layer2, net.layer3, net.layer4), widths, strict=True)
    return Backbone(stem=stem, stages=list(stages), num_classes=num_classes)


def lite_backbone(*, modality: str, num_classes: int) -> Backbone:
    """Make EfficientNet-Lite0, for which there are weights from ImageNet that need no download (`pretrained`).

    Args:
        modality: `iframe`.
        num_classes: Classes.

    Returns:
        The network, newly initialised; it takes what the other networks for I-frames take, at any size.

    Raises:
        NetworkError: If it is to read anything else.
    """
    if modality != "iframe":
        raise NetworkError(f"a network of size 'lite' reads I-frames alone, not {modality!r}")
    return Backbone(stem=lite.stem(), stages=lite.stages(), num_classes=num_classes)


def backbone(*, modality: str, size: str, num_classes: int) -> Backbone:
    """Make a backbone of a size by name.

    Args:
        modality: One of MODALITIES.
        size: A key of BACKBONES.
        num_classes: Classes.

    Returns:
        The network, newly initialised.

    Raises:
        NetworkError: If there is no such size, or not for this modality.
    """
    if size not in BACKBONES:
        raise NetworkError(f"size = {size!r} is not known; the sizes are: {', '.join(BACKBONES)}")
    return BACKBONES[size](modality=modality, num_classes=num_classes)


def segment_mean(logits: Tensor, segments: int) -> Tensor:
    """Average the logits of each clip's segments.

    Args:
        logits: (B * segments, classes).
        segments: Segments a clip.

    Returns:
        (B, classes).
    """
    return logits.unflatten(0, (-1, segments)).mean(dim=1)


def _small_stem(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(channels),
        nn.Conv2d(channels, SMALL_WIDTH, 5, 2, 2, bias=False),
        nn.BatchNorm2d(SMALL_WIDTH),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    )


# A new size is a function with these keywords and a line here.
BACKBONES = {"small": small_backbone, "small-mix": mixed_backbone, "paper": paper_backbone, "lite": lite_backbone}
