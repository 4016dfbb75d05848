"""Where the parameters' runs, data and executed notebooks lie: the rule is `_resources.working_folder`'s."""

from pathlib import Path

from pkdlib import _resources
from pkdlib.companion.parameters import Parameters
from pkdlib.companion.runs import store
from pkdlib.data.official import parts


def run_folder(p: Parameters) -> Path:
    """Return the folder of the parameters' runs.

    Args:
        p: The parameters.

    Returns:
        `runs/<profile>/<dataset>`; a profile with changed values has a digest behind its name, a folder of one's own
        clips one of its place; a part of an official data set has its own name.
    """
    name = parts.name_of(p.dataset, p.root)
    if p.dataset == "folder":
        name += "-" + store.digest([str(Path(p.root).resolve()), p.pattern, p.folds])[:8]
    return _resources.place(p.runs) / p.variant / name


def shipped_folder(p: Parameters) -> Path:
    """Return the folder of the runs that come with the library for these parameters' profile and data, if any do.

    Args:
        p: The parameters.

    Returns:
        The folder, beside the committed tables.
    """
    return _resources.folder("results") / p.profile / parts.name_of(p.dataset, p.root) / "runs"


def cache_folder(p: Parameters) -> Path:
    """Return the folder of generated, transcoded and decoded data.

    Args:
        p: The parameters.

    Returns:
        The folder.
    """
    return _resources.place(p.cache)


def sentence(p: Parameters) -> str:
    """Name the working folder, where runs or cache lie there for want of a checkout.

    Args:
        p: The parameters.

    Returns:
        A sentence; empty inside a checkout, and where both are named absolutely.
    """
    if _resources.in_checkout() or all(Path(name).is_absolute() for name in (p.runs, p.cache)):
        return ""
    return f"Runs and cache lie in the working folder, {_resources.working_folder()}, which is in no checkout."
