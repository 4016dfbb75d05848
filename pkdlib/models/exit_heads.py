"""Internal classifiers (ICs): the small heads that hang in the places where a backbone can stop.

Three kinds: the paper's (convolution, batch norm, 4 x 4 average pool, linear), which cost as much as much of the
network; light ones (global average pool, linear), which cost next to nothing; and, of TEAM-Net, the paper's single
linear layers on its squeezed vectors.

Several classifiers of one shape that read the same features can be *stacked*: computed at once, each as it would be
alone. A convolution's output channels do not see one another, nor do batch norm's, and the linear layers are one
batched product.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pkdlib.models.backbones import FeatureBackbone, NetworkError, segment_mean

# The reference pools an IC's features to 4 x 4 before its linear layer.
POOLED_SIDE = 4
# Channels and kernel of the reference's convolutions, by the widths of the backbone's stages: ResNet-50 and ResNet-18.
PAPER_PLANS = {
    (256, 512, 1024, 2048): ((64, 3), (256, 3), (1024, 3)),
    (64, 128, 256, 512): ((64, 7), (128, 3), (256, 3)),
}


# From a backbone, the number of classes and that of segments to new classifiers.
Maker = Callable[[FeatureBackbone, int, int], nn.ModuleList]


class InternalClassifier(nn.Module):
    """A body that reduces a stage's output to a vector, and one linear layer.

    Args:
        body: From (N, C, h, w) to (N, features, ...), flattened behind it.
        features: Length of the vector.
        num_classes: Classes.
    """

    def __init__(self, *, body: nn.Module, features: int, num_classes: int):
        """Make the linear layer."""
        super().__init__()
        self.body = body
        self.head = nn.Linear(features, num_classes)

    def forward(self, features: Tensor, segments: int) -> Tensor:
        """Compute clip logits from a stage's output.

        Args:
            features: (B * segments, C, h, w).
            segments: Segments a clip.

        Returns:
            (B, classes).
        """
        return self.gather(self.head(self.body(features).flatten(1)), segments)

    def gather(self, rows: Tensor, segments: int) -> Tensor:
        """Make one row of the segments of a clip, their mean.

        Args:
            rows: (B * segments, values).
            segments: Segments a clip.

        Returns:
            (B, values).
        """
        return segment_mean(rows, segments)


class SqueezedClassifier(InternalClassifier):
    """An exit of TEAM-Net: one linear layer on the squeezed vectors of a clip's segments, one after the other.

    Args:
        width: Of a squeezed vector.
        segments: Segments a clip.
        num_classes: Classes.
    """

    def __init__(self, *, width: int, segments: int, num_classes: int):
        """Make the layer."""
        super().__init__(body=Unchanged(), features=width * segments, num_classes=num_classes)
        self.segments = segments

    def forward(self, features: Tensor, segments: int) -> Tensor:
        """Compute clip logits from squeezed vectors.

        Args:
            features: (B * segments, width).
            segments: Segments a clip.

        Returns:
            (B, classes).
        """
        return self.head(self.gather(features, segments))

    def gather(self, rows: Tensor, segments: int) -> Tensor:
        """Lay the segments of a clip one after the other.

        Args:
            rows: (B * segments, width).
            segments: Segments a clip.

        Returns:
            (B, segments * width).

        Raises:
            NetworkError: If these are not the segments that the exit was made for.
        """
        if segments != self.segments:
            raise NetworkError(f"exit: made for clips of {self.segments} segments, not {segments}")
        return rows.unflatten(0, (-1, segments)).flatten(1)


class ConvolutionalBody(nn.Sequential):
    """The body of the reference's internal classifier; no activation stands between its layers, as there.

    Args:
        in_channels: Channels of the stage's output.
        channels: Channels after the convolution.
        kernel_size: 3, or the reference's 7 (padded by 1, too) behind ResNet-18's first stage.
    """

    def __init__(self, in_channels: int, channels: int, kernel_size: int):
        """Make the layers."""
        super().__init__(
            nn.Conv2d(in_channels, channels, kernel_size, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            GridPool(POOLED_SIDE),
        )

    def widened(self, times: int) -> "ConvolutionalBody":
        """Make room for several bodies side by side, as so many more channels.

        Args:
            times: How many.

        Returns:
            A new body.
        """
        convolution = self[0]
        return ConvolutionalBody(convolution.in_channels, times * convolution.out_channels, convolution.kernel_size[0])


class GridPool(nn.AdaptiveAvgPool2d):
    """An average pool to a square of cells, which has a deterministic gradient where torch is told to want one."""

    def forward(self, planes: Tensor) -> Tensor:
        """Average over the cells.

        Args:
            planes: (N, C, h, w).

        Returns:
            (N, C, side, side).
        """
        if not torch.are_deterministic_algorithms_enabled():
            return super().forward(planes)
        # On a GPU torch's own gradient adds up in any order; that of two matrix products does not.
        return _cells(planes, -2, self.output_size) @ (planes @ _cells(planes, -1, self.output_size).T)


class Fixed:
    """A body that has nothing to learn, so that any number of classifiers share one."""

    def widened(self, times: int) -> "Fixed":
        """Return the body itself.

        Args:
            times: How many share it.

        Returns:
            This body.
        """
        return self


class GlobalPool(Fixed, nn.AdaptiveAvgPool2d):
    """The body of a light internal classifier."""

    def __init__(self):
        """Pool to one value a channel."""
        super().__init__(1)

    def forward(self, features: Tensor) -> Tensor:
        """Average over everything but samples and channels.

        Args:
            features: Planes (N, C, h, w), volumes (N, C, t, h, w), tokens (N, T, C), or vectors (N, C).

        Returns:
            (N, C), with axes of length 1 behind it for planes.
        """
        if features.ndim == 4:
            return super().forward(features)
        axes = {3: (1,), 5: (2, 3, 4)}.get(features.ndim)
        return features.mean(dim=axes) if axes else features


class Unchanged(Fixed, nn.Identity):
    """The body of a classifier that reads what a network gives it as it is."""


class Stack(nn.Module):
    """Classifiers of one shape on the same features, computed together.

    Args:
        members: At least one; their present weights are copied.
    """

    def __init__(self, members: Sequence[InternalClassifier]):
        """Lay the members' weights side by side."""
        super().__init__()
        self._pattern = [copy.deepcopy(members[0])]  # in a list, so that its weights are not the stack's
        self.body = members[0].body.widened(len(members))
        bodies = [member.body.state_dict() for member in members]
        joined = {name: _join([body[name] for body in bodies]) for name in bodies[0]}
        self.body.load_state_dict(joined)
        self.weight = nn.Parameter(torch.stack([member.head.weight.detach() for member in members]))
        self.bias = nn.Parameter(torch.stack([member.head.bias.detach() for member in members]))

    def forward(self, features: Tensor, segments: int) -> Tensor:
        """Compute every member's clip logits.

        Args:
            features: As the members take them.
            segments: Segments a clip.

        Returns:
            (members, B, classes).
        """
        reduced = self._pattern[0].gather(self.body(features).flatten(1), segments)
        own = reduced.unflatten(1, (-1, self.weight.shape[2]))  # (B, members, features); one for all if they share it
        return torch.matmul(own.transpose(0, 1), self.weight.transpose(1, 2)) + self.bias[:, None]

    def unstack(self) -> list[InternalClassifier]:
        """Take the members out with their present weights.

        Returns:
            New classifiers, in order.
        """
        count = len(self.weight)
        members = [copy.deepcopy(self._pattern[0]) for _ in range(count)]
        bodies = {name: _divide(value, count) for name, value in self.body.state_dict().items()}
        for number, member in enumerate(members):
            member.body.load_state_dict({name: parts[number] for name, parts in bodies.items()})
            member.head.load_state_dict({"weight": self.weight[number], "bias": self.bias[number]})
            member.train(self.training)
        return members


def paper_classifiers(backbone: FeatureBackbone, num_classes: int, segments: int) -> nn.ModuleList:
    """Make the reference's three internal classifiers for a backbone.

    ResNet-18 keeps a stage's width, with a kernel of 7 x 7 padded by 1 behind the first stage; ResNet-50 takes 64, 256
    and 1024 channels. Other backbones' classifiers keep the stage's width.

    Args:
        backbone: The network that they hang on.
        num_classes: Classes.
        segments: Any number will do.

    Returns:
        Three new classifiers.
    """
    widths = backbone.widths[:-1]
    plan = PAPER_PLANS.get(backbone.widths, tuple((width, 3) for width in widths))
    return nn.ModuleList(
        InternalClassifier(
            body=ConvolutionalBody(width, channels, kernel),
            features=channels * POOLED_SIDE**2,
            num_classes=num_classes,
        )
        for width, (channels, kernel) in zip(widths, plan, strict=True)
    )


def light_classifiers(backbone: FeatureBackbone, num_classes: int, segments: int) -> nn.ModuleList:
    """Make light internal classifiers for a backbone: the mean over places or tokens, and one linear layer.

    Args:
        backbone: A network whose stages yield what `GlobalPool` takes.
        num_classes: Classes.
        segments: Any number will do.

    Returns:
        New classifiers, one for each place, but the end, where the backbone can stop.

    Example:
        >>> import torch
        >>> from pkdlib import backbone, light_classifiers
        >>> from pkdlib.models import MultiExitNetwork
        >>> trunk = backbone(reads="iframe", size="small", num_classes=4)
        >>> network = MultiExitNetwork(backbone=trunk, exits=light_classifiers(trunk, 4, 3))
        >>> [tuple(logits.shape) for logits in network(torch.zeros(2, 3, 3, 96, 96))]
        [(2, 4), (2, 4), (2, 4), (2, 4)]
    """
    return nn.ModuleList(
        InternalClassifier(body=GlobalPool(), features=width, num_classes=num_classes) for width in backbone.widths[:-1]
    )


def squeezed_classifiers(backbone: FeatureBackbone, num_classes: int, segments: int) -> nn.ModuleList:
    """Make the three exits of a TEAM-Net.

    Args:
        backbone: A network that yields squeezed vectors.
        num_classes: Classes.
        segments: Segments a clip, which is read by exits made for this number alone.

    Returns:
        Three new classifiers.
    """
    return nn.ModuleList(
        SqueezedClassifier(width=width, segments=segments, num_classes=num_classes) for width in backbone.widths[:-1]
    )


def internal_classifiers(kind: str, *, backbone: FeatureBackbone, num_classes: int, segments: int = 1) -> nn.ModuleList:
    """Make the internal classifiers of a kind by name.

    Args:
        kind: A key of KINDS.
        backbone: The network that they hang on.
        num_classes: Classes.
        segments: Segments a clip; the squeezed kind is made for one number of them, the others take any.

    Returns:
        Three new classifiers.

    Raises:
        NetworkError: If there is no such kind.
    """
    if kind not in KINDS:
        raise NetworkError(f"kind = {kind!r} is not known; the internal classifiers are: {', '.join(KINDS)}")
    return KINDS[kind](backbone, num_classes, segments)


def _cells(planes: Tensor, axis: int, side: int) -> Tensor:
    # (side, length): each row averages over the places that torch's adaptive pool gives to a cell.
    length = planes.shape[axis]
    places, cell = torch.arange(length, device=planes.device), torch.arange(side, device=planes.device)[:, None]
    inside = (places >= cell * length // side) & (places < -(-(cell + 1) * length // side))
    return inside.to(planes.dtype) / inside.sum(dim=1, keepdim=True)


def _join(values: list[Tensor]) -> Tensor:
    return torch.cat(values) if values[0].ndim else values[0]  # batch norm's count of batches is the same for all


def _divide(value: Tensor, parts: int) -> Sequence[Tensor]:
    return value.chunk(parts) if value.ndim else [value] * parts


# A new kind is a function like these and a line here; a body that learns says how it is widened for a stack.
KINDS = {"paper": paper_classifiers, "light": light_classifiers, "squeezed": squeezed_classifiers}
