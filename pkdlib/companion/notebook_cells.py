"""What a notebook's cells have defined: which names are parameters, and which the reader's own. And how they end."""

import ast
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pkdlib import _notebook

# Names that IPython or papermill put into a notebook's namespace themselves.
_FOREIGN_NAMES = frozenset({"In", "Out", "papermill"})
# What the cell begins with that papermill puts behind a notebook's own cell of parameters.
_INJECTED = "# Parameters"


def given_parameters(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Take the parameters from a notebook's `globals()`, whether or not there are any of these names.

    papermill only warns of a name that it does not know, and defines it all the same; so whatever is defined by the
    notebook's cell of parameters, known by its `profile`, or by the one that papermill puts behind it, counts, as each
    was executed last. Where IPython remembers no such cell, every flat value in the namespace does.

    Args:
        namespace: The notebook's `globals()`, in which IPython keeps what was executed as `In`.

    Returns:
        Name to value.
    """
    names = _defined_as_parameters(namespace.get("In", ()))
    names = names or {name for name, value in namespace.items() if _is_flat(name, value)}
    return {name: namespace[name] for name in namespace if name in names}


def answer_interruptions() -> None:
    """Let a cell that is interrupted end in one line, where IPython would show how deep in the code it was.

    Outside a notebook nothing is done.
    """
    if (shell := _notebook.shell()) is not None:
        shell.set_custom_exc((KeyboardInterrupt,), _interrupted)


def _interrupted(shell: Any, kind: type, error: BaseException, trace: types.TracebackType, **_: Any) -> None:
    print("interrupted; run the cell again, and it goes on from where it was last saved")


def _defined_as_parameters(cells: Sequence[str]) -> set[str]:
    # In the order in which they were executed, the same cell perhaps several times.
    own, injected = set(), set()
    for source in cells:
        names = _assigned(source)
        if source.startswith(_INJECTED):
            injected = names
        elif "profile" in names:
            own = names
    return own | injected


def _assigned(source: str) -> set[str]:
    try:
        statements = ast.parse(source).body
    except (SyntaxError, ValueError):  # such a cell defined nothing
        return set()
    assignments = [line for line in statements if isinstance(line, ast.Assign | ast.AnnAssign)]
    nodes = [node for line in assignments for node in ast.walk(line) if isinstance(node, ast.Name)]
    return {node.id for node in nodes if isinstance(node.ctx, ast.Store)}


def _is_flat(name: str, value: Any) -> bool:
    if name.startswith("_") or name in _FOREIGN_NAMES:
        return False
    return isinstance(value, str | int | float | bool | list | tuple | dict | set | types.NoneType | Path)
