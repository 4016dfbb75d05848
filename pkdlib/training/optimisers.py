"""How weights are stepped: optimisers, the groups of their parameters, and schedules of the learning rate."""

import fnmatch
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from pkdlib.training.tuning import Tuning

# The reference's Adam and SGD, and for fine-tuning AdamW. What is particular to some parameters stands in their group.
OPTIMISERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": functools.partial(torch.optim.Adam, eps=1e-3),
    "adamw": torch.optim.AdamW,
    "sgd": functools.partial(torch.optim.SGD, momentum=0.9),
}
WARM_UP = 0.1
LR_DECAY = 0.1


def parameter_groups(module: nn.Module, tuning: Tuning) -> list[dict[str, Any]]:
    """Split parameters by weight decay (that of matrices and kernels, none for biases and norms) and learning rate.

    Args:
        module: The network.
        tuning: Gives both.

    Returns:
        Groups for a torch optimiser, each with the `factor` of its learning rate.
    """
    alike: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        decay = tuning.weight_decay if parameter.ndim > 1 else 0.0
        factor = next((own for pattern, own in tuning.factors.items() if fnmatch.fnmatchcase(name, pattern)), 1.0)
        alike.setdefault((decay, factor), []).append(parameter)
    return [{"params": members, "weight_decay": decay, "factor": factor} for (decay, factor), members in alike.items()]


def lr_share(tuning: Tuning, progress: float) -> float:
    """Return the learning rate's share of its peak.

    Args:
        tuning: Gives the milestones at which it falls tenfold; where there are none it is `warm_cosine`'s.
        progress: Share of the epochs done, 0..1.

    Returns:
        0..1.
    """
    if not tuning.milestones:
        return warm_cosine(progress)
    return LR_DECAY ** sum(progress >= milestone - 1e-9 for milestone in tuning.milestones)


def warm_cosine(progress: float) -> float:
    """Return the learning rate's share of its peak: a linear warm-up, then a half cosine to 0.

    Args:
        progress: Share of the steps done, 0..1.

    Returns:
        0..1.
    """
    if progress < WARM_UP:
        return (progress + 0.01) / (WARM_UP + 0.01)
    return 0.5 * (1 + float(np.cos(np.pi * (progress - WARM_UP) / (1 - WARM_UP))))


def set_lr(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all groups.

    Args:
        optimiser: Of groups that `parameter_groups` made.
        lr: The rate, to be multiplied by a group's factor.
    """
    for group in optimiser.param_groups:
        group["lr"] = lr * group["factor"]
