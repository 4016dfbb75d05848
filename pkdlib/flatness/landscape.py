"""The loss along directions and on planes through parameter space, for pictures.

Random directions are normalised filter by filter (Li, Xu, Taylor, Studer and Goldstein, "Visualizing the loss landscape
of neural nets", NeurIPS 2018): each filter of a random direction d is given the norm of the network's own,
d_ij <- d_ij norm(theta_ij) / norm(d_ij), where a filter is an output channel's slice of a weight. Biases and the
parameters of batch norm do not move, as there. A position of 1 thus moves every filter by its own norm.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pkdlib._progress import tqdm
from pkdlib.flatness.estimates import normal_vector
from pkdlib.flatness.objective import Objective


def filter_normalised_direction(objective: Objective, generator: torch.Generator) -> Tensor:
    """Draw a random direction whose filters have the norms of the network's own.

    Args:
        objective: The loss.
        generator: On the CPU.

    Returns:
        (P,), zero at parameters of one dimension, which are biases and batch norm's.

    Raises:
        ValueError: If the chosen parameters hold no filter.
    """
    direction = normal_vector(objective.size, generator, objective.device, objective.dtype)
    own = objective.values(objective.point())
    if all(value.ndim < 2 for value in own.values()):
        raise ValueError(
            f"none of {', '.join(own)} has filters (biases and batch norm do not move): name a part that has weights"
        )
    for name, part in objective.values(direction).items():
        if part.ndim < 2:
            part.zero_()
        else:
            rows, like = part.view(len(part), -1), own[name].reshape(len(part), -1)
            rows *= like.norm(dim=1, keepdim=True) / rows.norm(dim=1, keepdim=True)
    return direction


def slices(objective: Objective, positions: Sequence[float], *, directions: int = 10, seed: int = 0) -> np.ndarray:
    """Compute the loss along several random directions from the network.

    One pass forward a position and direction. Holds four vectors of the parameters' size.

    Args:
        objective: The loss.
        positions: Multiples of the direction.
        directions: Number of them.
        seed: Seed of the directions.

    Returns:
        (directions, positions), in nats; a band is taken over the rows.

    Raises:
        ValueError: If there is no direction.
    """
    if directions < 1:
        raise ValueError(f"directions is {directions}: must be at least 1")
    generator = torch.Generator().manual_seed(seed)
    centre = objective.point()
    losses = np.empty((directions, len(positions)))
    with tqdm(total=losses.size, desc="landscape slices", unit="point", disable=None) as progress:
        for row in range(directions):
            direction = filter_normalised_direction(objective, generator)
            for column, position in enumerate(positions):
                losses[row, column] = objective.loss(centre + position * direction)
                progress.update()
    return losses


def surface(objective: Objective, positions: Sequence[float], *, seed: int = 0) -> np.ndarray:
    """Compute the loss on the plane of two random directions, on a square grid.

    The directions are drawn independently; in so many dimensions they are nearly orthogonal. One pass forward a
    point. Holds five vectors of the parameters' size.

    Args:
        objective: The loss.
        positions: Multiples of either direction.
        seed: Seed of the directions.

    Returns:
        (positions, positions), in nats; the row says how far along the first direction, the column along the second.
    """
    generator = torch.Generator().manual_seed(seed)
    centre = objective.point()
    first = filter_normalised_direction(objective, generator)
    second = filter_normalised_direction(objective, generator)
    losses = np.empty((len(positions), len(positions)))
    for row, column in tqdm(list(np.ndindex(losses.shape)), desc="landscape surface", unit="point", disable=None):
        losses[row, column] = objective.loss(centre + positions[row] * first + positions[column] * second)
    return losses
