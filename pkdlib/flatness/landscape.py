"""The loss along lines and planes through parameter space, for pictures.

Random directions are normalised filter by filter (Li, Xu, Taylor, Studer and Goldstein, "Visualizing the loss landscape
of neural nets", NeurIPS 2018): each filter of a random direction d is given the norm of the network's own,
d_ij <- d_ij norm(theta_ij) / norm(d_ij), where a filter is an output channel's slice of a weight. Biases and the
parameters of batch norm do not move, as there. A position of 1 thus moves every filter by its own norm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from pkdlib.flatness.estimates import normal_vector
from pkdlib.flatness.objective import Batch, Objective, checked_samples, mean_loss


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


def line(
    model: nn.Module,
    batches: Iterable[Batch],
    start: Mapping[str, Tensor],
    end: Mapping[str, Tensor],
    positions: Sequence[float],
) -> np.ndarray:
    """Compute the loss along the straight line between two trained states of one network.

    Everything that is a real number is interpolated, the running statistics of batch norm too, so that the ends are
    the two networks as they were trained and the loss in between does not depend on batches. (Recomputed statistics
    would give other networks at the ends. Interpolated ones can make a barrier look higher than it is.)

    Args:
        model: The network, in eval mode; its own weights play no part and stay as they are.
        batches: The samples, as (inputs, labels) batches of any sizes.
        start: A state dict of the network.
        end: Another.
        positions: 0 at the start, 1 at the end.

    Returns:
        (positions,), in nats.

    Raises:
        ValueError: If either is not a state dict of this network.
    """
    samples = checked_samples(model, batches)
    own = model.state_dict()
    for which, state in (("start", start), ("end", end)):
        wrong = [name for name in {*own, *state} if name not in own or name not in state]
        wrong += [name for name in state if name in own and state[name].shape != own[name].shape]
        if wrong:
            raise ValueError(f"`{which}` is not a state of this network: {sorted(wrong)[0]!r} is missing or differs")
    names = [name for name, value in own.items() if value.is_floating_point()]
    ends = [{name: state[name].to(own[name].device) for name in names} for state in (start, end)]
    return np.array(
        [
            mean_loss(model, samples, {name: torch.lerp(ends[0][name], ends[1][name], position) for name in names})
            for position in tqdm(positions, desc="line between networks", unit="point", disable=None)
        ]
    )
