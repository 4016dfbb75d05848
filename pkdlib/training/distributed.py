"""Several processes on one machine that train one network together, as `torchrun` starts them; most often there is one.

What they agree on passes through `torch.distributed`: NCCL between GPUs, Gloo between processors.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


def launched() -> bool:
    """Say whether `torchrun` started this process.

    Returns:
        Whether it did.
    """
    return distributed.is_torchelastic_launched()


@contextlib.contextmanager
def joined(device: str) -> Iterator[None]:
    """Join the other processes that `torchrun` started, for as long as the context is open; if it did not, do nothing.

    Args:
        device: As `devices.prepare` takes it.

    Yields:
        Nothing.
    """
    if not launched():
        yield
        return
    gpu = torch.device(device).type == "cuda"
    distributed.init_process_group("nccl" if gpu else "gloo")
    if gpu:
        torch.cuda.set_device(own_device(device))
    try:
        yield
    finally:
        distributed.destroy_process_group()


def own_device(device: str) -> str:
    """Give each process its own GPU.

    Args:
        device: As `devices.prepare` takes it.

    Returns:
        The same outside `joined`, and on a processor.
    """
    alone = count() == 1 or torch.device(device).type != "cuda"
    return device if alone else f"cuda:{os.environ['LOCAL_RANK']}"


def count() -> int:
    """Count the processes that train together.

    Returns:
        1 outside `joined`.
    """
    return distributed.get_world_size() if distributed.is_initialized() else 1


def number() -> int:
    """Return this process's number among them, from 0; number 0 writes the files.

    Returns:
        0 outside `joined`.
    """
    return distributed.get_rank() if distributed.is_initialized() else 0


def tell(message: Any) -> Any:
    """Tell all processes what the first one says; all must call this together.

    Args:
        message: Anything picklable; of the other processes it is not looked at.

    Returns:
        The first one's message.
    """
    box = [message]
    if count() > 1:
        distributed.broadcast_object_list(box)
    return box[0]


def gathered(message: Any) -> list[Any]:
    """Collect what each process says; all must call this together.

    Args:
        message: Anything picklable.

    Returns:
        The messages of all, by the processes' numbers.
    """
    box = [message] * count()
    if count() > 1:
        distributed.all_gather_object(box, message)
    return box


def shared(network: nn.Module) -> nn.Module:
    """Let the processes' gradients be averaged whenever this network's are computed.

    Args:
        network: The same in all processes.

    Returns:
        What to call in its place; the network itself where there is one process. Each process keeps batch statistics of
        its own, see `average_statistics`.
    """
    if count() == 1:
        return network
    with warnings.catch_warnings():
        # Newer torch would have another name for it, which torch 2.5 does not know.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return DistributedDataParallel(network, broadcast_buffers=False)


def holding(network: nn.Module, last: bool) -> contextlib.AbstractContextManager:
    """Open a context in which gradients are gathered but not yet averaged between the processes.

    Args:
        network: Of `shared`.
        last: Whether they are to be averaged after all: the last part of a batch.

    Returns:
        The context.
    """
    waits = isinstance(network, DistributedDataParallel) and not last
    return network.no_sync() if waits else contextlib.nullcontext()


def total(figures: Tensor) -> Tensor:
    """Add up figures over the processes.

    Args:
        figures: The same shape in all.

    Returns:
        The sums.
    """
    if count() > 1:
        figures = figures.clone()
        distributed.all_reduce(figures)
    return figures


def average_gradients(network: nn.Module) -> None:
    """Replace gradients that were computed without `shared` by their mean over the processes.

    Args:
        network: All of whose parameters have gradients.
    """
    if count() > 1:
        for parameter in network.parameters():
            parameter.grad = total(parameter.grad) / count()


def average_statistics(network: nn.Module) -> None:
    """Replace the running statistics of batch norm by their mean over the processes.

    Args:
        network: Changed in place.
    """
    for buffer in network.buffers():
        if buffer.is_floating_point():
            buffer.copy_(total(buffer) / count())
