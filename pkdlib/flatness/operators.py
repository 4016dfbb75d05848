"""Curvature of the loss as linear operators, which are never formed: only their products with vectors are.

With J_n the Jacobian of the logits f(x_n; theta) by the parameters and S_n = diag(p_n) - p_n p_n' the Hessian of the
cross-entropy by the logits, p_n = softmax(f(x_n; theta)):

- the Hessian, 1/N sum_n d^2 CE_n / d theta^2, which can have negative eigenvalues;
- the Gauss-Newton matrix, 1/N sum_n J_n' S_n J_n, the Hessian less the curvature of the logits themselves, positive
  semidefinite, and for cross-entropy equal to the Fisher information matrix under the model's own labels;
- the input Hessian, the same second derivative by each sample's input in place of the parameters.

All take an `Objective`, go batch by batch and hold the activations of one batch, with those of its gradient.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from pkdlib.flatness.objective import Objective

with warnings.catch_warnings():
    # A dependency of curvlinops uses torch.jit.script, and so does torch's forward mode; recent torch warns of it.
    warnings.filterwarnings("ignore", message=".*torch.jit.script")
    from curvlinops import GGNLinearOperator, HessianLinearOperator

    with forward_ad.dual_level():  # the first dual number loads what forward mode compiles
        forward_ad.make_dual(torch.zeros(1), torch.zeros(1))


class _OfObjective:
    """What curvlinops needs to know of an objective."""

    def __init__(self, objective: Objective):
        """Wrap an objective.

        Args:
            objective: The loss.
        """
        self._names = list(objective.parameters)
        super().__init__(
            objective.model,
            nn.CrossEntropyLoss(),
            list(objective.parameters.values()),
            objective.batches,
            # Eval mode and a fixed list of batches make it deterministic; checking costs several products.
            check_deterministic=False,
            num_data=objective.num_samples,
            batch_size_fn=lambda inputs: len(inputs[0] if isinstance(inputs, tuple) else inputs),
        )


class Hessian(_OfObjective, HessianLinearOperator):
    """The Hessian of an objective: `Hessian(objective) @ v` for v of shape (P,) or (P, K).

    It differentiates the gradient once more (reverse over reverse); the K products of a matrix share one gradient,
    whose graph is held. curvlinops' own product goes forward over reverse under `vmap`. Same result, but on small
    networks on a CPU it takes 1.3 times (large batches) to 8 times (tiny ones) as long.
    """

    def _matmat_batch(self, X: Tensor | tuple[Tensor, ...], y: Tensor, M: list[Tensor]) -> list[Tensor]:
        with torch.enable_grad():
            with _AffineBatchNorm():
                logits = self._model_func(X)
            batch_loss = self._loss_func(logits, y)
            gradient = torch.autograd.grad(batch_loss, self._params, create_graph=True)
        count = M[0].shape[-1]
        columns = [
            torch.autograd.grad(
                gradient,
                self._params,
                [m[..., column] for m in M],
                retain_graph=column < count - 1,
                materialize_grads=True,
            )
            for column in range(count)
        ]
        return [torch.stack(parts, dim=-1) for parts in zip(*columns, strict=True)]


class GaussNewton(_OfObjective, GGNLinearOperator):
    """The Gauss-Newton matrix of an objective: `GaussNewton(objective) @ v` for v of shape (P,) or (P, K).

    One pass forward carries J v along (forward mode) and is the one gone back through for J' (S J v). curvlinops'
    own product passes forward twice and takes about 1.4 times as long.
    """

    def _matmat_batch(self, X: Tensor | tuple[Tensor, ...], y: Tensor, M: list[Tensor]) -> list[Tensor]:
        columns = [self._product(X, [m[..., column] for m in M]) for column in range(M[0].shape[-1])]
        return [torch.stack(parts, dim=-1) for parts in zip(*columns, strict=True)]

    def _product(self, inputs: Tensor | tuple[Tensor, ...], vector: list[Tensor]) -> tuple[Tensor, ...]:
        with torch.enable_grad(), forward_ad.dual_level():
            duals = map(forward_ad.make_dual, self._params, vector)
            logits, change = forward_ad.unpack_dual(
                functional_call(self._model_func, dict(zip(self._names, duals, strict=True)), (inputs,))
            )
        probabilities = logits.detach().softmax(dim=-1)
        weighted = probabilities * change.detach()
        weighted = (weighted - probabilities * weighted.sum(dim=-1, keepdim=True)) / len(logits)
        return torch.autograd.grad(logits, self._params, weighted)


class InputHessian:
    """The curvature of each sample's loss with respect to its input.

    With H_n = d^2 CE(f(x_n; theta), y_n) / d x_n^2, this is the block-diagonal matrix of the H_n / N. Its trace is
    thus the mean over samples of tr H_n; `spectra.mean_top_eigenvalue` averages their top eigenvalues. Networks of
    convolutions, ReLUs, max pooling and batch norm in eval mode are piecewise linear in their input; there H_n has
    no negative eigenvalue and at most (classes - 1) positive ones.

    H_n has the unit of 1 / x^2, so that inputs of other units have other curvatures. Per standard deviation of the
    inputs, that is by x / deviation, it is deviation^2 H_n.

    Attributes:
        shape: Twice the number of input values of all samples.
        device: Of the inputs.
        dtype: Of the inputs.
    """

    def __init__(self, objective: Objective, deviation: float = 1.0):
        """Wrap an objective, whose parameters play no part.

        Args:
            objective: The loss.
            deviation: What inputs are measured in; 1 leaves them as they are.
        """
        self._objective, self._squared = objective, deviation**2
        flat = [_flat_inputs(inputs) for inputs, _ in objective.batches]
        self.shape = (sum(x.numel() for x in flat),) * 2
        self.device, self.dtype = flat[0].device, flat[0].dtype

    def __matmul__(self, vector: Tensor) -> Tensor:
        """Multiply.

        Args:
            vector: In the order of all samples' inputs, one after the other, (shape[0],) or (shape[0], K).

        Returns:
            The same shape.
        """
        columns, begin = vector.reshape(self.shape[0], -1), 0
        product = torch.empty_like(columns)
        for inputs, multiply in self.per_batch():
            end = begin + inputs.numel()
            for column in range(columns.shape[1]):
                product[begin:end, column] = multiply(columns[begin:end, column].reshape(inputs.shape)).flatten()
            begin = end
        return product.view(vector.shape) / self._objective.num_samples

    def per_batch(self) -> Iterator[tuple[Tensor, Callable[[Tensor], Tensor]]]:
        """Go through the batches, keeping each one's graph only until the next.

        Yields:
            The batch's inputs (B, D) and a function from vectors v_n, (B, D), one a sample, to deviation^2 H_n v_n,
            (B, D).
        """
        for inputs, labels in self._objective.batches:
            flat = _flat_inputs(inputs).requires_grad_()
            with torch.enable_grad():
                with _AffineBatchNorm():
                    logits = self._objective.model(_like(inputs, flat))
                # Samples do not mix in eval mode: the gradient of the sum has each sample's own in its row.
                total = nn.functional.cross_entropy(logits, labels, reduction="sum")
                (gradient,) = torch.autograd.grad(total, flat, create_graph=True)

            def multiply(vectors: Tensor, gradient: Tensor = gradient, flat: Tensor = flat) -> Tensor:
                (product,) = torch.autograd.grad(gradient, flat, vectors, retain_graph=True, materialize_grads=True)
                return self._squared * product

            yield flat.detach(), multiply


class _AffineBatchNorm(TorchFunctionMode):
    """Computes batch norm in eval mode as the affine map that it is, which is faster to differentiate twice."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is nn.functional.batch_norm:
            func = _affine_batch_norm
        return func(*args, **(kwargs or {}))


def _affine_batch_norm(
    x: Tensor, mean: Tensor, variance: Tensor, *, weight: Tensor | None, bias: Tensor | None, eps: float, **_: Any
) -> Tensor:
    scale = torch.rsqrt(variance + eps)
    if weight is not None:
        scale = scale * weight
    shift = -mean * scale
    if bias is not None:
        shift = shift + bias
    by_channel = (-1, *[1] * (x.ndim - 2))
    return torch.addcmul(shift.view(by_channel), x, scale.view(by_channel))


def _flat_inputs(inputs: Tensor | tuple[Tensor, ...]) -> Tensor:
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    return torch.cat([x.detach().flatten(1) for x in tensors], dim=1)


def _like(inputs: Tensor | tuple[Tensor, ...], flat: Tensor) -> Tensor | tuple[Tensor, ...]:
    if isinstance(inputs, Tensor):
        return flat.view_as(inputs)
    parts = flat.split([math.prod(x.shape[1:]) for x in inputs], dim=1)
    return tuple(part.reshape(x.shape) for part, x in zip(parts, inputs, strict=True))
