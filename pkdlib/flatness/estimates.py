"""Quantities estimated from random probes: how many are enough, and how sure the mean is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pkdlib._progress import tqdm

# Below this number of probes their own spread is too badly known to stop by it.
FEWEST_PROBES = 10


@dataclass(frozen=True)
class Estimate:
    """A quantity estimated from random probes.

    Attributes:
        value: The estimate, the mean over the probes.
        standard_error: Standard error of that mean.
        probes: Number of probes drawn.
        converged: Whether the standard error came down to its target.
    """

    value: float
    standard_error: float
    probes: int
    converged: bool


def estimate_to_target(
    running: Iterable[Sequence[float]], *, target: float, floor: float, max_probes: int, description: str
) -> Estimate:
    """Draw probes until the standard error reaches `target` times the estimate, or `floor`.

    Args:
        running: After each few further probes, one estimate for each probe so far, whose mean is the estimate; up to
            max_probes.
        target: Standard error to reach, relative to the estimate.
        floor: Standard error that is small enough, whatever the estimate.
        max_probes: Number of probes never to exceed; at least 2, for a standard error.
        description: Of what is estimated, beside the progress bar.

    Returns:
        The estimate; its standard error is that of independent probes.

    Raises:
        ValueError: If max_probes is below 2.
    """
    if max_probes < 2:
        raise ValueError(f"max_probes is {max_probes}: a standard error needs at least 2 probes")
    samples: Sequence[float] = ()
    with tqdm(total=max_probes, desc=description, unit="probe", disable=None) as progress:
        for samples in running:
            progress.update(len(samples) - progress.n)
            if len(samples) >= FEWEST_PROBES and _summary(samples, target, floor).converged:
                break
    return _summary(samples, target, floor)


def accumulated(draws: Iterable[Sequence[float]]) -> Iterator[list[float]]:
    """Gather independent probes for `estimate_to_target`.

    Args:
        draws: Estimates, one a probe, a few at a time.

    Yields:
        The list of all draws so far.
    """
    samples: list[float] = []
    for draw in draws:
        samples.extend(draw)
        yield samples


def normal_vector(size: int, generator: torch.Generator, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Draw a standard normal vector on the CPU, so that every device sees the same.

    Args:
        size: Its length.
        generator: On the CPU.
        device: Where to move it.
        dtype: What to round it to.

    Returns:
        (size,).
    """
    return torch.randn(size, generator=generator, dtype=torch.float64).to(device, dtype)


def _summary(samples: Sequence[float], target: float, floor: float) -> Estimate:
    value = float(np.mean(samples))
    error = float(np.std(samples, ddof=1)) / math.sqrt(len(samples))
    return Estimate(value, error, len(samples), error <= max(target * abs(value), floor))
