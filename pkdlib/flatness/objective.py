"""The loss that flatness is a property of: a network's mean cross-entropy on stated samples, as a function.

    L(theta) = 1/N sum_n CE(f(x_n; theta), y_n)

theta in R^P are all parameters of a network or a named part of them, flattened in the network's order. The network
is in eval mode, so that L does not depend on how the samples are batched, and is never written to: other points are
evaluated by handing the network other values for one call.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

# (inputs, labels): a tensor of shape (batch, ...) or a tuple of such, and int64 (batch,).
Batch = tuple[Tensor | tuple[Tensor, ...], Tensor]


class Objective:
    """The mean cross-entropy over all samples as a function of a vector of parameters.

    Held: the samples on the network's device; in any pass, the activations of one batch beside a few vectors of
    the parameters' size.

    Attributes:
        model: The network.
        batches: The samples, on its device.
        parameters: Name -> parameter, those that L is a function of.
        num_samples: N.
        size: P.
    """

    def __init__(self, model: nn.Module, batches: Iterable[Batch], parameters: Sequence[str] | None = None):
        """Check the network, the samples and the parameters.

        Refused with a ValueError: a part of the network in training mode, no samples, a loss that is not finite, an
        unknown part, and parameters that take no gradient or have no effect on the loss, since rows of zeros in a
        Hessian would pass for flatness.

        Args:
            model: Called as `model(inputs)` for each batch; returns logits (batch, classes).
            batches: The samples, as (inputs, labels) batches of any sizes.
            parameters: Names of parameters, or of modules for all parameters in them; all parameters if None.
        """
        self.model = model
        self.parameters = _choose(model, parameters)
        self.batches = checked_samples(model, batches)
        self.num_samples = count_samples(self.batches)
        self.size = sum(p.numel() for p in self.parameters.values())
        self.loss()
        self._require_dependence()

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return next(iter(self.parameters.values())).device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the parameters."""
        return next(iter(self.parameters.values())).dtype

    def point(self) -> Tensor:
        """Return the network's own parameters.

        Returns:
            theta, a copy of shape (P,).
        """
        return torch.cat([p.detach().flatten() for p in self.parameters.values()])

    def values(self, point: Tensor) -> dict[str, Tensor]:
        """Cut a vector into parameters.

        Args:
            point: (P,).

        Returns:
            Name -> a view of its part, in the parameter's shape.
        """
        parts = point.split([p.numel() for p in self.parameters.values()])
        return {name: part.view_as(p) for (name, p), part in zip(self.parameters.items(), parts, strict=True)}

    def loss(self, point: Tensor | None = None) -> float:
        """Compute L.

        Args:
            point: Where, (P,); at the network's own parameters if None.

        Returns:
            L, in nats.
        """
        return mean_loss(self.model, self.batches, {} if point is None else self.values(point))

    def loss_and_gradient(self, point: Tensor) -> tuple[float, Tensor]:
        """Compute L and its gradient.

        Args:
            point: Where, (P,).

        Returns:
            L, in nats, and its gradient (P,).
        """
        point = point.detach().requires_grad_()
        total, gradient = 0.0, torch.zeros_like(point)
        for inputs, labels in self.batches:
            with torch.enable_grad():
                logits = functional_call(self.model, self.values(point), (inputs,))
                batch_loss = nn.functional.cross_entropy(logits, labels, reduction="sum") / self.num_samples
            gradient += torch.autograd.grad(batch_loss, point)[0]
            total += float(batch_loss.detach())
        return require_finite(total), gradient

    def _require_dependence(self) -> None:
        inputs, labels = self.batches[0]
        with torch.enable_grad():
            batch_loss = nn.functional.cross_entropy(self.model(inputs), labels)
            gradient = torch.autograd.grad(batch_loss, list(self.parameters.values()), allow_unused=True)
        unused = [name for name, g in zip(self.parameters, gradient, strict=True) if g is None]
        if unused:
            raise ValueError(
                f"the loss does not depend on {len(unused)} of {len(self.parameters)} parameters (the first: "
                f"{unused[0]!r}): name a part of the model without them in `parameters`"
            )


def checked_samples(model: nn.Module, batches: Iterable[Batch]) -> list[Batch]:
    """Move samples to a network's device, if a loss on them is well defined.

    Args:
        model: The network.
        batches: The samples, as (inputs, labels) batches of any sizes.

    Returns:
        The batches on the device.

    Raises:
        ValueError: If a part of the network is in training mode, or normalises by the batch even in eval mode, since
            the loss would then depend on how samples are batched, or on chance; if there are no samples.
    """
    for name, part in model.named_modules():
        if isinstance(part, _BatchNorm) and (part.training or part.running_mean is None):
            raise ValueError(
                f"the batch norm {name!r} normalises by the batch at hand, so the loss depends on the batches: "
                "call model.eval() first, and give it running statistics if it has none"
            )
    training = [name for name, part in model.named_modules() if part.training]
    if training:
        raise ValueError(
            f"{len(training)} parts of the model are in training mode (the last: {training[-1]!r}): call model.eval()"
        )
    device = next((p.device for p in model.parameters()), torch.device("cpu"))

    def move(x: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
        return tuple(map(move, x)) if isinstance(x, tuple) else x.to(device)

    moved = [(move(inputs), labels.to(device)) for inputs, labels in batches]
    if not count_samples(moved):
        raise ValueError("no samples: `batches` is empty, and flatness is a property of a loss on samples")
    return moved


def count_samples(batches: Iterable[Batch]) -> int:
    """Count samples.

    Args:
        batches: (inputs, labels) batches.

    Returns:
        How many.
    """
    return sum(len(labels) for _, labels in batches)


def mean_loss(model: nn.Module, batches: Sequence[Batch], values: Mapping[str, Tensor]) -> float:
    """Compute the mean cross-entropy of a network with other values for some of its parameters and buffers.

    Args:
        model: The network, which stays as it is.
        batches: Of `checked_samples`.
        values: Name -> value for this call.

    Returns:
        The mean over samples (not over batches), in nats.
    """
    with torch.no_grad():
        sums = [
            float(nn.functional.cross_entropy(functional_call(model, values, (x,)), y, reduction="sum"))
            for x, y in batches
        ]
    return require_finite(sum(sums) / count_samples(batches))


def require_finite(value: float) -> float:
    """Refuse a loss that is not finite.

    Args:
        value: The loss.

    Returns:
        The same.

    Raises:
        ValueError: If it is not finite.
    """
    if not math.isfinite(value):
        raise ValueError(
            f"the loss on these samples is {value}: check the inputs and the trained weights, "
            "or move the weights less far from them"
        )
    return value


def _choose(model: nn.Module, names: Sequence[str] | None) -> dict[str, nn.Parameter]:
    # Those called `names` or inside the modules called so, in the model's order.
    everything = dict(model.named_parameters())
    chosen = everything
    if names is not None:
        parts = [{p for p in everything if f"{p}.".startswith(f"{name}.")} for name in names]
        for name, part in zip(names, parts, strict=True):
            if not part:
                known = ", ".join(dict.fromkeys(p.split(".")[0] for p in everything))
                raise ValueError(f"`parameters`: the model has none at {name!r}; its top-level parts: {known}")
        chosen = {name: p for name, p in everything.items() if any(name in part for part in parts)}
    if not chosen:
        raise ValueError("no parameters to differentiate by: the model, or the list `parameters`, is empty")
    frozen = [name for name, p in chosen.items() if not p.requires_grad]
    if frozen:
        raise ValueError(
            f"{len(frozen)} of {len(chosen)} parameters take no gradient (the first: {frozen[0]!r}): "
            "unfreeze them, or name a part of the model without them in `parameters`"
        )
    return chosen
