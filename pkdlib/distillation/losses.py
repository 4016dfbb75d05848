"""What an exit's logits cost beside its teacher's: a loss is any function of both, and of a temperature."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

# From the student's and the teacher's logits, (..., B, classes) each, and T to (...), the mean over the batch.
Loss = Callable[[Tensor, Tensor, float], Tensor]


def soft_cross_entropy(logits: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    r"""Compute the distillation loss :math:`-T^2 \frac{1}{B} \sum_b \sum_c p_{bc} \log \mathrm{softmax}(z_b / T)_c`.

    The factor :math:`T^2` keeps the gradient's size (Hinton et al., 2015); the reference trains at T = 1.

    Args:
        logits: z, (..., B, classes), the student's.
        teacher: t, (..., B, classes), the teacher's logits; p is softmax(t / T).
        temperature: T.

    Returns:
        (...), the mean over the batch.

    Example:
        A student that answers as its teacher still pays the teacher's entropy, here that of a fair coin.

        >>> import torch
        >>> from pkdlib import distillation
        >>> even = torch.zeros(5, 2)
        >>> round(distillation.soft_cross_entropy(even, even).item(), 4)
        0.6931
    """
    return cross_entropy(logits / temperature, functional.softmax(teacher / temperature, dim=-1)) * temperature**2


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Compute the cross-entropy against probabilities.

    Args:
        logits: (..., B, classes).
        targets: (..., B, classes), probabilities; one-hot for labels.

    Returns:
        (...), the mean over the batch, in nats.
    """
    return -(targets * functional.log_softmax(logits, dim=-1)).sum(dim=-1).mean(dim=-1)
