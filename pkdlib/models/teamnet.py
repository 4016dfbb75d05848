r"""TEAM-Net: one network for all three modalities, joined between their stages (Wang et al., 2021).

Three backbones run side by side. After the stem and stages 1 to 3 an aggregation module scales each one's channels and
places by what all three show. Exits read the vector that a module makes for that, so a network that leaves there has
not computed the module's gates. The network reads *joint* clips: the modalities' channels one after the other, in the
order of `backbones.MODALITIES`, as a frame bank keeps them.

The parts are those of the authors' code (villawang/TEAM-Net, `models/team_net.py`, commit eb19d52) and the exits those
of the paper's (Efstathia-Soufleri/PKD, `models/team_net_ic.py`, commit e227377): no layer of a module has a bias, the
gates of places are computed from streams whose channels are gated already, and an exit reads the vector behind its
ReLU. TEAM-Net's temporal shift is left out, as the paper ran without it.
"""

from collections.abc import Generator, Mapping, Sequence

import torch
from torch import Tensor, nn

from pkdlib.models import backbones
from pkdlib.models.backbones import (
    CHANNELS,
    MODALITIES,
    NUM_EXITS,
    FeatureBackbone,
    NetworkError,
    segment_mean,
)

SQUEEZE_RATIO = 4
DROPOUT = 0.5


class Aggregation(nn.Module):
    """Gates for streams' channels and places, each computed from all the streams.

    Args:
        channels: Of each stream.
    """

    def __init__(self, *, channels: Sequence[int]):
        """Make the layers; one convolution gives the maps of all streams, as one for each would."""
        super().__init__()
        self.width = sum(channels) // SQUEEZE_RATIO
        self.reduce = nn.Linear(sum(channels), self.width, bias=False)
        self.channel_gates = nn.ModuleList(nn.Linear(self.width, count, bias=False) for count in channels)
        self.place_gates = nn.Conv2d(len(channels), len(channels), 3, padding=1, bias=False)

    def squeeze(self, streams: Sequence[Tensor]) -> Tensor:
        r"""Reduce all streams to one vector, :math:`s = \mathrm{ReLU}(W [\bar x_1, \dots, \bar x_n])`.

        Args:
            streams: (N, channels, h, w) each, h and w the same for all.

        Returns:
            (N, width), a quarter as long as the channels are many.
        """
        return torch.relu(self.reduce(torch.cat([stream.mean(dim=(2, 3)) for stream in streams], dim=1)))

    def gate(self, streams: Sequence[Tensor], squeezed: Tensor) -> list[Tensor]:
        r"""Scale channels by :math:`\sigma(W_i s)`, then places by :math:`\sigma` of a convolution of the means.

        Args:
            streams: As `squeeze` takes them.
            squeezed: (N, width), from `squeeze`.

        Returns:
            The streams, scaled.
        """
        scaled = [
            stream * torch.sigmoid(layer(squeezed))[:, :, None, None]
            for stream, layer in zip(streams, self.channel_gates, strict=True)
        ]
        means = torch.cat([stream.mean(dim=1, keepdim=True) for stream in scaled], dim=1)
        maps = torch.sigmoid(self.place_gates(means)).split(1, dim=1)
        return [stream * places for stream, places in zip(scaled, maps, strict=True)]

    def forward(self, streams: Sequence[Tensor]) -> list[Tensor]:
        """Compute both.

        Args:
            streams: As `squeeze` takes them.

        Returns:
            The streams, scaled.
        """
        return self.gate(streams, self.squeeze(streams))


class TeamBackbone(FeatureBackbone):
    """Three backbones, joined after the stem and after stages 1 to 3; its logits are the sum of theirs.

    Args:
        backbones: Modality -> its network; before each one's last linear layer a dropout is put.
    """

    def __init__(self, *, backbones: Mapping[str, backbones.Backbone]):
        """Put dropout into the backbones and make the aggregation modules."""
        super().__init__()
        self.backbones = nn.ModuleDict({modality: backbones[modality] for modality in MODALITIES})
        stages = list(zip(*(backbone.stages for backbone in self.backbones.values()), strict=True))
        self.aggregations = nn.ModuleList(
            Aggregation(channels=[_first_convolution(stage).in_channels for stage in side_by_side])
            for side_by_side in stages
        )
        self.widths = tuple(aggregation.width for aggregation in self.aggregations)
        for backbone in self.backbones.values():
            backbone.head = nn.Sequential(nn.Dropout(DROPOUT), backbone.head)

    def features(self, frames: Tensor) -> Generator[Tensor, Tensor | None, None]:
        """Yield what the exits read and, last, what `classify` reads; a stage is computed only when it is asked for.

        Args:
            frames: (N, 8, H, W), the segments of joint clips one after the other.

        Yields:
            (N, width) of the modules after the stem, stage 1 and stage 2, then (N, all last stages' channels). `send`
            takes the rows (int64) that go on, or None for all.

        Raises:
            NetworkError: If there are more or fewer channels than joint clips have.
        """
        channels = [CHANNELS[modality] for modality in MODALITIES]
        if frames.shape[1] != sum(channels):
            parts = ", ".join(f"{modality} {count}" for modality, count in zip(MODALITIES, channels, strict=True))
            raise NetworkError(f"clips have {frames.shape[1]} channels; TEAM-Net reads {sum(channels)}: {parts}")
        backbones = list(self.backbones.values())
        streams = [
            backbone.enter(part) for backbone, part in zip(backbones, frames.split(channels, dim=1), strict=True)
        ]
        for number, aggregation in enumerate(self.aggregations):
            squeezed = aggregation.squeeze(streams)
            if number < NUM_EXITS - 1:
                rows = yield squeezed
                if rows is not None:
                    squeezed, *streams = (values[rows] for values in (squeezed, *streams))
            gated = aggregation.gate(streams, squeezed)
            streams = [backbone.stages[number](stream) for backbone, stream in zip(backbones, gated, strict=True)]
        yield torch.cat([stream.mean(dim=(2, 3)) for stream in streams], dim=1)

    def branches(self, features: Tensor, segments: int) -> dict[str, Tensor]:
        """Turn the last features into clip logits of each modality.

        Args:
            features: (B * segments, all last stages' channels).
            segments: Segments a clip.

        Returns:
            Modality -> (B, classes).
        """
        vectors = features.split([backbone.widths[-1] for backbone in self.backbones.values()], dim=1)
        return {
            modality: segment_mean(backbone.head(vector), segments)
            for (modality, backbone), vector in zip(self.backbones.items(), vectors, strict=True)
        }

    def classify(self, features: Tensor, segments: int) -> Tensor:
        """Turn the last features into clip logits.

        Args:
            features: (B * segments, all last stages' channels).
            segments: Segments a clip.

        Returns:
            (B, classes), the sum of the three modalities' logits.
        """
        return sum(self.branches(features, segments).values())


def team_backbone(*, size: str, num_classes: int) -> TeamBackbone:
    """Make TEAM-Net without exits.

    Args:
        size: A key of `backbones.BACKBONES`; `paper` is a ResNet-50 and two ResNet-18.
        num_classes: Classes.

    Returns:
        The network, newly initialised.

    Raises:
        NetworkError: If there is no such size.
    """  # noqa: DOC502
    by_modality = {
        modality: backbones.backbone(modality=modality, size=size, num_classes=num_classes) for modality in MODALITIES
    }
    return TeamBackbone(backbones=by_modality)


def _first_convolution(module: nn.Module) -> nn.Conv2d:
    return next(part for part in module.modules() if isinstance(part, nn.Conv2d))
