"""What leaving at each exit costs, counted in multiply-accumulates: of a run's networks and of the paper's."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from pkdlib.companion.presets import Network
from pkdlib.companion.workspace import Run, dataset
from pkdlib.early_exit import policies
from pkdlib.models import cost, registry
from pkdlib.models.backbones import CHANNELS, MultiExitNetwork
from pkdlib.models.exit_heads import Maker


def of(run: Run, make: Maker, networks: Mapping[str, Network]) -> dict[str, cost.ExitCosts]:
    """Measure what leaving at each exit costs for a clip of the run's segments and size.

    Args:
        run: Which.
        make: Makes its internal classifiers.
        networks: What each reads -> network.

    Returns:
        What each network reads -> costs, in multiply-accumulates.
    """
    p = run.parameters
    sizes = tuple((reads, network.size) for reads, network in networks.items())
    return exit_costs(sizes, make, len(dataset(p).classes), p.segments, p.input_size)


@functools.cache
def exit_costs(
    wanted: tuple[tuple[str, str], ...], make: Maker, num_classes: int, segments: int, input_size: int
) -> dict[str, cost.ExitCosts]:
    """Measure what leaving at each exit of some networks costs.

    Args:
        wanted: What each network reads, and its size, a key of `backbones.BACKBONES`.
        make: Makes its internal classifiers.
        num_classes: Classes.
        segments: TSN segments.
        input_size: Side of the input, in pixels.

    Returns:
        What each network reads -> costs of a clip, in multiply-accumulates.
    """
    measured = {}
    with torch.device("meta"):  # nothing is computed: shapes suffice to count
        for reads, size in wanted:
            backbone = registry.backbone(reads=reads, size=size, num_classes=num_classes)
            network = MultiExitNetwork(backbone=backbone, exits=make(backbone, num_classes, segments)).eval()
            clip = torch.zeros(1, segments, CHANNELS[reads], input_size, input_size)
            measured[reads] = cost.exit_costs(network, clip)
    return measured


def cascade_costs(run: Run, make: Maker, order: Sequence[str], networks: Mapping[str, Network]) -> np.ndarray:
    """Return what leaving at each exit of a cascade costs.

    Args:
        run: Which.
        make: Makes its internal classifiers.
        order: The networks, in the order in which they are visited.
        networks: What each reads -> network.

    Returns:
        (exits,) GMAC a clip.
    """
    measured = {modality: figures.cumulative for modality, figures in of(run, make, networks).items()}
    return policies.cascade_costs(measured, order) / cost.GMAC
