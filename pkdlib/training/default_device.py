"""The device that `auto` stands for; torch is loaded only where there may be a GPU."""

import ctypes
import sys
from pathlib import Path


def default_device() -> str:
    """Choose where networks train and are measured if nothing is said.

    Returns:
        `cuda` where torch sees a GPU, else `cpu`.
    """
    # torch takes seconds to load, which `pkd reproduce` leaves to the notebooks: without a driver it sees no GPU.
    if sys.modules.get("torch") is None and not _has_driver():
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _has_driver() -> bool:
    if Path("/dev/kfd").exists():  # AMD's, whose GPUs torch calls cuda, too
        return True
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
