"""Where networks train and are measured: the processor, or a GPU, and in which precision."""

import os
from contextlib import AbstractContextManager

import torch
from torch import nn

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class DeviceError(Exception):
    """A device that this machine lacks; the message says what to do."""


def prepare(device: str, threads: int, *, deterministic: bool = False) -> None:
    """Make torch ready for a device: float32 means float32, not TensorFloat-32, and threads are as many as asked for.

    Args:
        device: `cpu`, `cuda`, or a GPU by number, as `cuda:1`.
        threads: Of the processor.
        deterministic: Whether a GPU, too, must give the same bits each time; slower. A processor always does.

    Raises:
        DeviceError: If torch sees no such device.
    """
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = False
    if deterministic:  # cuBLAS reads it when it is first used
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if torch.are_deterministic_algorithms_enabled() != deterministic:  # it loads torch's compiler: 120 MB, and seconds
        torch.use_deterministic_algorithms(deterministic)
    if not _is_there(device):
        raise DeviceError(
            f"device = {device!r}: torch {torch.__version__} sees {torch.cuda.device_count()} GPUs here; "
            "take device = 'cpu', or install a build of torch for your GPU"
        )


def told(device: str) -> str:
    """Name a device for readers.

    Args:
        device: As `prepare` takes it.

    Returns:
        `the processor`, or the GPU and which.
    """
    if torch.device(device).type == "cpu":
        return "the processor"
    name = torch.cuda.get_device_name(device) if _is_there(device) else "which torch does not see here"
    return f"the GPU {device} ({name})"


def wait(device: str) -> None:
    """Wait until a device has done what it was told; a GPU goes on computing when a call returns.

    Args:
        device: As `prepare` takes it.
    """
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def place(module: nn.Module, device: str) -> nn.Module:
    """Move a network to a device, and lay its kernels out as convolutions are fastest.

    Args:
        module: The network; moved in place.
        device: As `prepare` takes it.

    Returns:
        The network, its kernels channels last. That trains ResNet-50 one and a half times as fast in bfloat16 on an
        H100 (`benchmarks/throughput.py`), and the small ones 1.3 times as fast on two cores
        (`benchmarks/layouts.py`).
    """
    return module.to(device, memory_format=torch.channels_last)


def fetch(module: nn.Module) -> nn.Module:
    """Undo `place`: move a network to the processor, its kernels laid out as files keep them.

    Args:
        module: The network; moved in place.

    Returns:
        The network.
    """
    return module.to("cpu", memory_format=torch.contiguous_format)


def autocast(device: str, precision: str) -> AbstractContextManager:
    """Open a context in which a network's matrix products and convolutions run at a precision.

    Args:
        device: As `prepare` takes it.
        precision: A key of PRECISIONS; weights, losses and batch-norm statistics stay float32.

    Returns:
        The context.
    """
    kind = torch.device(device).type
    return torch.autocast(kind, dtype=PRECISIONS[precision], enabled=precision != "float32")


def _is_there(device: str) -> bool:
    wanted = torch.device(device)
    return wanted.type == "cpu" or (wanted.index or 0) < torch.cuda.device_count()
