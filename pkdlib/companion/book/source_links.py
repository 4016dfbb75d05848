"""A Sphinx extension by which every name on an API page links to its lines in the repository.

Sphinx's own `viewcode` writes a page for each of some 140 modules instead.
"""

import functools
import importlib
import inspect
import operator
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config

from pkdlib import _resources


def source_address(domain: str, info: dict[str, str]) -> str | None:
    """Say where the source of a documented name can be read.

    Args:
        domain: Of the name; only Python's have a source here.
        info: Its `module`, and its `fullname` within it.

    Returns:
        The address of its file with its lines; None where it has no lines of its own, as an attribute has none.
    """
    if domain != "py" or not info["module"]:
        return None
    module = importlib.import_module(info["module"])
    try:
        found = inspect.unwrap(functools.reduce(_inside, info["fullname"].split("."), module))
        lines, first = inspect.getsourcelines(found)
        path = Path(inspect.getsourcefile(found) or "").relative_to(Path(__file__).resolve().parents[3])
    except (AttributeError, TypeError, OSError, ValueError):
        return None
    return f"{_resources.repository_url()}/blob/main/{path.as_posix()}#L{first}-L{first + len(lines) - 1}"


def _inside(place: object, name: str) -> object:
    found = operator.attrgetter(name)(place)
    return found.fget if isinstance(found, property) else found


def _choose(app: Sphinx, config: Config) -> None:
    config.linkcode_resolve = source_address


def setup(app: Sphinx) -> dict[str, bool]:
    """Switch Sphinx's `linkcode` on with these addresses.

    Args:
        app: Sphinx, which calls this.

    Returns:
        What Sphinx asks of an extension.
    """
    app.setup_extension("sphinx.ext.linkcode")
    app.connect("config-inited", _choose)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
