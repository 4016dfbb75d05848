"""Make any network of the study by what it reads: one for a modality, or TEAM-Net for joint clips."""

import functools
from collections.abc import Callable, Mapping

from pkdlib.models import backbones, exit_heads, teamnet
from pkdlib.models.backbones import MODALITIES, FeatureBackbone, MultiExitNetwork

# A network that reads something else is a function with the keywords size and num_classes, and a line here.
MAKERS: Mapping[str, Callable[..., FeatureBackbone]] = {
    **{modality: functools.partial(backbones.backbone, modality=modality) for modality in MODALITIES},
    "joint": teamnet.team_backbone,
}


def backbone(*, reads: str, size: str, num_classes: int) -> FeatureBackbone:
    """Make a network without exits.

    Args:
        reads: A key of MAKERS.
        size: A key of `backbones.BACKBONES`.
        num_classes: Classes.

    Returns:
        A network with new weights.

    Raises:
        NetworkError: If there is no such size.

    Example:
        >>> import torch
        >>> from pkdlib import backbone
        >>> network = backbone(reads="motion", size="small", num_classes=4)
        >>> network(torch.zeros(2, 3, 2, 96, 96)).shape  # two clips of three segments, each two channels of motion
        torch.Size([2, 4])
    """  # noqa: DOC502
    return MAKERS[reads](size=size, num_classes=num_classes)


def network(*, reads: str, size: str, kind: str, segments: int, num_classes: int) -> MultiExitNetwork:
    """Make a network with exits.

    Args:
        reads: As in `backbone`.
        size: As in `backbone`.
        kind: Of the internal classifiers, a key of `exit_heads.KINDS`.
        segments: Segments a clip.
        num_classes: Classes.

    Returns:
        A network with new weights, in eval mode.

    Raises:
        NetworkError: If there is no such size or kind.
    """  # noqa: DOC502
    trunk = backbone(reads=reads, size=size, num_classes=num_classes)
    exits = exit_heads.internal_classifiers(kind, backbone=trunk, segments=segments, num_classes=num_classes)
    return MultiExitNetwork(backbone=trunk, exits=exits).eval()
