"""How far some work is: tqdm's bar in a terminal, and in a notebook one line, which goes when the work is done.

A kernel's standard error is no terminal, so that tqdm, asked to keep silent there, says nothing in a notebook.
"""

from collections.abc import Iterable
from typing import Any

import tqdm as tqdm_

from pkdlib import _notebook

# What an output says of itself that only tells how far some work was.
MARK = {"pkdlib": "progress"}
_IN_WORDS = "{desc}, {unit} {n_fmt} of {total_fmt}, {remaining} left"
_ENDLESS = "{desc}, {unit} {n_fmt}"
_AT_FIRST, _SPACING = 1.0, 0.25  # seconds before a line is shown, and between two of them
_UNATTENDED = 60.0  # both, where nobody watches


class tqdm(tqdm_.tqdm):
    """Tqdm's own, which in a kernel shows its line on the page.

    Where somebody watches, the line changes in its place, and goes when the work is done. Where nobody can be asked,
    as under papermill, there is one a minute.

    Args:
        iterable: As tqdm takes it.
        **options: As there; `disable` None is silent where standard error is no terminal, but not in a kernel.
    """

    def __init__(self, iterable: Iterable | None = None, **options: Any):
        """Begin to count."""
        if _notebook.shell() is not None and options.get("disable") is None:
            attended = _notebook.is_attended()
            first, spacing = (_AT_FIRST, _SPACING) if attended else (_UNATTENDED, _UNATTENDED)
            total = options.get("total") or (len(iterable) if hasattr(iterable, "__len__") else None)
            options |= {"file": _Line() if attended else _Lines(), "disable": False, "leave": False, "position": 0}
            options |= {"delay": first, "mininterval": spacing, "maxinterval": spacing}
            options["bar_format"] = _IN_WORDS if total else _ENDLESS
        super().__init__(iterable, **options)


def trange(*arguments: int, **options: Any) -> tqdm:
    """Count through a range.

    Args:
        *arguments: As `range` takes them.
        **options: As `tqdm` takes them.

    Returns:
        The numbers, with progress.
    """
    return tqdm(range(*arguments), **options)


class _Line:
    # What tqdm writes to, as a line on the page; blanks, with which it wipes its last line, are shown as nothing.
    def __init__(self) -> None:
        self._handle, self._shown = None, ""

    def write(self, text: str) -> None:
        line = text.strip()
        if line == self._shown:
            return
        self._shown = line
        bundle = {"text/plain": line}
        if self._handle is None:
            from IPython.display import DisplayHandle

            self._handle = DisplayHandle()
            self._handle.display(bundle, raw=True, metadata=MARK)
        else:
            self._handle.update(bundle, raw=True, metadata=MARK)

    def flush(self) -> None:
        pass


class _Lines(_Line):
    # The same where nothing on the page can change any more: each line by itself.
    def write(self, text: str) -> None:
        self._handle = None
        if text.strip():
            super().write(text)
