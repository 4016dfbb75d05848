"""Sharpness that does not change with the scale of the weights.

Multiply the weights of one layer of a ReLU network and divide those of the next: it computes the same function, yet
its Hessian changes (Dinh et al., "Sharp minima can generalize for deep nets", ICML 2017). The measures here do not
change, since each weight is moved in proportion to its own size, or multiplied with its own derivative.

The adaptive measures are elementwise: a displacement is abs(theta) * e, for every parameter alike, those of batch norm
and biases too. A parameter that is zero does not move.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from pkdlib._progress import trange
from pkdlib.flatness.estimates import Estimate, accumulated, estimate_to_target, normal_vector
from pkdlib.flatness.objective import Objective
from pkdlib.flatness.operators import GaussNewton

# Length of the random displacement from which the ascent starts, relative to the radius: off a stationary point.
START = 0.01


def average_sharpness(
    objective: Objective,
    *,
    radius: float,
    target: float = 0.05,
    floor: float = 1e-4,
    max_probes: int = 200,
    seed: int = 0,
) -> Estimate:
    """Estimate by how much the loss rises on average when each weight is moved at random, relative to its own size.

    E[L(theta + abs(theta) * e)] - L(theta) with e_i ~ N(0, radius^2) independently: the adaptive average-case sharpness
    of Andriushchenko, Croce, Mueller, Hein and Flammarion, "A modern look at the relationship between sharpness and
    generalization", ICML 2023. To second order it is radius^2 / 2 sum_i theta_i^2 H_ii. A probe is a pair, e and -e,
    which cancels the gradient's part, and costs two passes forward. Holds four vectors of the parameters' size.

    Args:
        objective: The loss.
        radius: Standard deviation of each weight's displacement, relative to the weight.
        target: Standard error to reach, relative to the estimate.
        floor: Standard error that is small enough, whatever the estimate, in nats.
        max_probes: Number of pairs never to exceed; at least 2.
        seed: Seed of the displacements.

    Returns:
        The mean rise of the loss, in nats, with its standard error.
    """
    centre, scale = _centre_and_scale(objective, radius)
    generator = torch.Generator().manual_seed(seed)
    level = objective.loss()

    def draws() -> Iterator[list[float]]:
        for _ in range(max_probes):
            move = radius * scale * normal_vector(objective.size, generator, objective.device, objective.dtype)
            yield [(objective.loss(centre + move) + objective.loss(centre - move)) / 2 - level]

    return estimate_to_target(
        accumulated(draws()), target=target, floor=floor, max_probes=max_probes, description="average sharpness"
    )


def worst_sharpness(objective: Objective, *, radius: float, steps: int = 20, seed: int = 0) -> float:
    """Search for the largest rise of the loss when weights are moved relative to their own size, within a ball.

    max L(theta + abs(theta) * e) - L(theta) over norm(e) <= radius: the adaptive sharpness of Kwon, Kim, Park and Choi,
    "ASAM: adaptive sharpness-aware minimization for scale-invariant learning of deep neural networks", ICML 2021.
    Projected gradient ascent: with g the gradient by e, a step is e + radius g / norm(g), drawn back into the ball. The
    first step is ASAM's, but for a start a hundredth of the radius away in a random direction. What is returned
    is the highest point met, a lower bound of the maximum. Each step is one gradient pass. Holds five vectors of the
    parameters' size.

    Args:
        objective: The loss.
        radius: Of the ball.
        steps: Number of ascent steps.
        seed: Seed of the start.

    Returns:
        The rise of the loss, in nats; not below 0, which the centre gives.

    Raises:
        ValueError: If there is no step.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}: must be at least 1")
    centre, scale = _centre_and_scale(objective, radius)
    generator = torch.Generator().manual_seed(seed)
    level = objective.loss()
    move = normal_vector(objective.size, generator, objective.device, objective.dtype)
    move *= START * radius / move.norm()
    highest = level
    for _ in trange(steps, desc="worst-case sharpness", unit="step", disable=None):
        height, gradient = objective.loss_and_gradient(centre + scale * move)
        highest = max(highest, height)
        gradient *= scale
        length = gradient.norm()
        if length == 0:
            break
        move += radius / length * gradient
        move *= min(1.0, radius / float(move.norm()))
    return max(highest, objective.loss(centre + scale * move)) - level


def fisher_rao_norm(objective: Objective) -> float:
    """Compute the Fisher-Rao norm of the parameters, exactly.

    sqrt(theta' F theta) with F = 1/N sum_n E[g g'], g the gradient of the log-likelihood of a label, the expectation
    over labels drawn from the model's own softmax: the model version of Liang, Poggio, Rakhlin and Stokes,
    "Fisher-Rao metric, geometry, and complexity of neural networks", AISTATS 2019. (Their empirical version takes the
    data's labels instead, and vanishes with the training loss.) For cross-entropy F is the Gauss-Newton matrix, so one
    product gives it; equivalently, it is the root of the mean over samples of the variance, over the softmax, of the
    logits' derivative along theta. Holds two vectors of the parameters' size.

    Args:
        objective: The loss; for a part of the parameters, theta and F are that part's.

    Returns:
        The norm, in nats^(1/2).
    """
    centre = objective.point()
    squared = float(centre.double() @ (GaussNewton(objective) @ centre).double())
    return math.sqrt(max(squared, 0.0))


def _centre_and_scale(objective: Objective, radius: float) -> tuple[Tensor, Tensor]:
    if not radius > 0:
        raise ValueError(f"radius is {radius}: must be above 0, or the weights do not move")
    centre = objective.point()
    if not centre.any():
        raise ValueError("all parameters are zero, and a displacement relative to them moves nothing")
    return centre, centre.abs()
