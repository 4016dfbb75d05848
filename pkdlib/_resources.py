"""Where the notebooks, profiles and reference tables lie, in a checkout and in a wheel alike; and where runs go."""

import importlib.metadata
import tomllib
from pathlib import Path

FOLDERS = ("notebooks", "profiles", "results")
# Models for `pkd predict`, by the data that they were trained on -> folder in `results/`. Real actions come first:
# that is what most clips of one's own show.
MODELS = {"ucf101-25": "model-ucf101-25", "marionette": "model"}

_PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """Return the folder of what the library ships beside its code.

    Args:
        name: One of "notebooks", "profiles" and "results".

    Returns:
        The folder in the checkout that this package runs from, else the copy inside the installed wheel.

    Raises:
        ValueError: If `name` is none of the three.
        FileNotFoundError: If neither place has the folder, which means a broken installation.
    """
    if name not in FOLDERS:
        raise ValueError(f"no shipped folder is called {name!r}; there are {', '.join(FOLDERS)}")
    root = repository()
    path = root / name if root else _PACKAGE / "_shipped" / name
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is missing: install pkdlib again, or run from a complete checkout")
    return path


def models() -> dict[str, Path]:
    """List the models that come with the library.

    Returns:
        Name -> folder; the first answers where none is named.
    """
    places = {name: folder("results") / place for name, place in MODELS.items()}
    return {name: place for name, place in places.items() if (place / "model.json").is_file()}


def repository() -> Path | None:
    """Return the root of the checkout that this package runs from, or None in an installed wheel."""
    root = _PACKAGE.parent
    return root if _is_checkout(root) else None


def working_folder() -> Path:
    """Return the folder that runs, caches and builds lie in where they are named relatively.

    Returns:
        The root of the checkout that the current working directory lies in, so that a notebook run by Jupyter from
        `notebooks/` finds what papermill made at the root; outside any checkout, the current working directory.
    """
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if _is_checkout(folder)), here)


def in_checkout() -> bool:
    """Return whether the current working directory lies in a checkout, which `working_folder` is then the root of."""
    return _is_checkout(working_folder())


def place(path: Path | str) -> Path:
    """Find a folder of runs, caches or builds.

    Args:
        path: As it is named; relative to `working_folder`, unless it is absolute.

    Returns:
        An absolute path.
    """
    return working_folder() / path


def repository_url() -> str:
    """Return the repository's public address, which is set once, in pyproject.toml's `[project.urls]`.

    A checkout's own pyproject.toml comes first, since the metadata of an editable installation grow stale.

    Returns:
        The address, without a slash at its end.

    Raises:
        LookupError: If neither a checkout nor the installed metadata name the address.
    """  # noqa: DOC502
    return _url("Repository")


def book_url() -> str:
    """Return the address at which the book is published, likewise.

    Returns:
        The address, without a slash at its end.

    Raises:
        LookupError: If neither a checkout nor the installed metadata name the address.
    """  # noqa: DOC502
    return _url("Documentation")


def _url(name: str) -> str:
    root = repository()
    if root:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        address = project.get("urls", {}).get(name)
    else:
        address = _installed_url(name)
    if not address:
        raise LookupError(f"pkdlib's metadata name no {name}: set it in [project.urls] of pyproject.toml")
    return address.rstrip("/")


def _is_checkout(folder: Path) -> bool:
    # Somebody's own project may have a pyproject.toml and a folder of notebooks, too.
    return (folder / "pyproject.toml").is_file() and all((folder / name).is_dir() for name in ("notebooks", "pkdlib"))


def _installed_url(name: str) -> str | None:
    try:
        entries = importlib.metadata.metadata("pkdlib").get_all("Project-URL") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    named = dict(entry.split(", ", 1) for entry in entries)
    return named.get(name)
