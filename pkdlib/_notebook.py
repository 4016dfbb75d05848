"""The notebook that this process runs cells of, if it does: a shell of IPython's in a kernel of Jupyter's."""

import contextlib
import sys
from typing import Any


def shell() -> Any:
    """Find the shell that runs a notebook's cells.

    Returns:
        IPython's; None where there is none, or where it is a terminal's.
    """
    found = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return found if hasattr(found, "kernel") else None


def is_attended() -> bool:
    """Say whether somebody watches the cell that runs: whoever runs it says whether one can be asked for input.

    Returns:
        False under papermill and the like, and where no cell runs.
    """
    with contextlib.suppress(AttributeError, KeyError, LookupError):
        return bool(shell().kernel.get_parent("shell")["content"]["allow_stdin"])
    return False


def show_picture(png: bytes) -> None:
    """Show a picture below the cell that runs; elsewhere do nothing.

    Args:
        png: The picture's file.
    """
    if shell() is not None:
        from IPython.display import Image, display

        display(Image(png))
