"""What leaving at each exit costs, counted in multiply-accumulates: of a run's networks and of the paper's."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from pkdlib.companion.presets import Network
from pkdlib.companion.workspace import Run, dataset
from pkdlib.early_exit import policies
from pkdlib.models import cost, registry
from pkdlib.models.backbones import CHANNELS


def of(run: Run, kind: str, networks: Mapping[str, Network]) -> dict[str, cost.ExitCosts]:
    """Measure what leaving at each exit costs for a clip of the run's segments and size.

    Args:
        run: Which.
        kind: Of the internal classifiers.
        networks: What each reads -> network.

    Returns:
        What each network reads -> costs, in multiply-accumulates.
    """
    p = run.parameters
    sizes = tuple((reads, network.size) for reads, network in networks.items())
    return exit_costs(sizes, kind, len(dataset(p).classes), p.segments, p.input_size)


@functools.cache
def exit_costs(
    wanted: tuple[tuple[str, str], ...], kind: str, num_classes: int, segments: int, input_size: int
) -> dict[str, cost.ExitCosts]:
    """Measure what leaving at each exit of some networks costs.

    Args:
        wanted: What each network reads, and its size, a key of `backbones.BACKBONES`.
        kind: Of the internal classifiers.
        num_classes: Classes.
        segments: TSN segments.
        input_size: Side of the input, in pixels.

    Returns:
        What each network reads -> costs of a clip, in multiply-accumulates.
    """
    shape = {"kind": kind, "segments": segments, "num_classes": num_classes}
    with torch.device("meta"):  # nothing is computed: shapes suffice to count
        return {
            reads: cost.exit_costs(
                registry.network(reads=reads, size=size, **shape),
                torch.zeros(1, segments, CHANNELS[reads], input_size, input_size),
            )
            for reads, size in wanted
        }


def cascade_costs(run: Run, kind: str, order: Sequence[str], networks: Mapping[str, Network]) -> np.ndarray:
    """Return what leaving at each exit of a cascade costs.

    Args:
        run: Which.
        kind: Of the internal classifiers.
        order: The networks, in the order in which they are visited.
        networks: What each reads -> network.

    Returns:
        (exits,) GMAC a clip.
    """
    measured = {modality: figures.cumulative for modality, figures in of(run, kind, networks).items()}
    return policies.cascade_costs(measured, order) / cost.GMAC
