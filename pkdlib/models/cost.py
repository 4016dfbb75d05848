"""Multiply-accumulates of networks, measured by running them.

The unit is the GMAC, 1e9 multiply-accumulates, as in the paper's tables of the CoViAR variant. (Some of the
works it compares with divide by 2^30, which makes the same network look 7 % cheaper.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from torch.utils.flop_counter import FlopCounterMode

GMAC = 1e9


def macs(module: Callable[..., Any], *inputs: Any) -> int:
    """Count the multiply-accumulates of one call `module(*inputs)`.

    Convolutions and matrix products are counted: half of what `torch.utils.flop_counter` measures, which
    takes a multiplication and an addition for two operations. Everything else (normalisation, activations,
    pooling, biases) is not counted, as is usual for such figures. The count is of the whole call: give a
    batch of one for the cost of one clip.

    Args:
        module: A module or any other callable. A module is run in eval mode; its training mode is restored.
        *inputs: What it is called with.

    Returns:
        The number of multiply-accumulates.
    """
    with evaluation_mode(module), torch.no_grad(), _counter() as counter:
        module(*inputs)
    return _macs_so_far(counter)


@dataclass(frozen=True)
class ExitCosts:
    """What leaving a multi-exit network costs, in multiply-accumulates; one entry an exit, the final last.

    Attributes:
        cumulative: Cost to leave at each exit, with the internal classifiers (ICs) passed on the way.
        own: Cost of each exit's IC alone; 0 for the final exit, which is the backbone's own end.
        bare: Cost of the backbone to its end, without any IC.
    """

    cumulative: tuple[int, ...]
    own: tuple[int, ...]
    bare: int


def exit_costs(network: nn.Module, sample_input: Any) -> ExitCosts:
    """Measure what leaving `network` at each of its exits costs.

    The network is run once, one exit after another, so that an exit is charged exactly what was computed
    before its logits were there.

    Args:
        network: A multi-exit network: `network.iterate(x)` yields the logits of each exit lazily,
            `network.exits` is the `ModuleList` of its ICs, `network.backbone` the network without them.
        sample_input: Input of the network; the costs are those of all of it, so give a batch of one clip.

    Returns:
        The costs of all exits and of the bare backbone.

    Example:
        >>> import torch
        >>> from pkdlib import backbone, exit_costs, light_classifiers
        >>> from pkdlib.models import MultiExitNetwork
        >>> trunk = backbone(reads="residual", size="small", num_classes=4)
        >>> network = MultiExitNetwork(backbone=trunk, exits=light_classifiers(trunk, 4, 1))
        >>> costs = exit_costs(network, torch.zeros(1, 1, 3, 96, 96))
        >>> [round(own / costs.bare, 2) for own in costs.cumulative]
        [0.42, 0.61, 0.81, 1.0]
    """
    own: list[int] = []
    counter = _counter()
    with evaluation_mode(network), torch.no_grad(), counter, _each_call_counted(network.exits, counter, own):
        cumulative = [_macs_so_far(counter) for _ in network.iterate(sample_input)]
    own += [0] * (len(cumulative) - len(own))
    return ExitCosts(tuple(cumulative), tuple(own), macs(network.backbone, sample_input))


@contextmanager
def evaluation_mode(module: Any) -> Iterator[None]:
    """Hold a module in eval mode, then give each of its parts the training mode it had.

    Part by part, because a network may train one part while another (a frozen backbone) stays in eval mode.

    Args:
        module: The module; any other object is left alone.

    Yields:
        Nothing.
    """
    modes = {part: part.training for part in module.modules()} if isinstance(module, nn.Module) else {}
    try:
        for part in modes:
            part.training = False
        yield
    finally:
        for part, training in modes.items():
            part.training = training


@contextmanager
def _each_call_counted(modules: nn.ModuleList, counter: FlopCounterMode, counts: list[int]) -> Iterator[None]:
    # Hooks see each module's cost between entry and return, whatever its input is.
    before: list[int] = []

    def enter(*_: Any) -> None:
        before.append(_macs_so_far(counter))

    def leave(*_: Any) -> None:
        counts.append(_macs_so_far(counter) - before.pop())

    handles = [module.register_forward_pre_hook(enter) for module in modules]
    handles += [module.register_forward_hook(leave) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _counter() -> FlopCounterMode:
    from torch.utils.flop_counter import FlopCounterMode  # loads Triton: 80 MB of memory that only counting needs

    return FlopCounterMode(display=False)


def _macs_so_far(counter: FlopCounterMode) -> int:
    return counter.get_total_flops() // 2
