"""The files of `profiles/`: values of parameters for one purpose, which a data set or a backbone may change."""

import functools
from typing import Any

from pkdlib import _resources


class ParameterError(Exception):
    """A parameter of an unknown name, a wrong type or an impossible value; the message says what would do."""


def read(profile: Any, *, dataset: Any, backbone: Any) -> dict[str, Any]:
    """Read what a profile says.

    Args:
        profile: Its name.
        dataset: The data set, for which it may say otherwise, such as more epochs where the clips are few.
        backbone: The backbone, for which it or every profile may say otherwise, such as a learning rate.

    Returns:
        Name to value.

    Raises:
        ParameterError: If there is no such profile.
    """
    folder = _resources.folder("profiles")
    path = folder / f"{profile}.yaml"
    if not isinstance(profile, str) or not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml") if "." not in file.stem))
        raise ParameterError(f"profile = {profile!r} is not known; the profiles are: {known}")
    # The later ones are for less, and count more.
    names = (
        profile,
        f"any.{backbone}",
        f"{profile}.{backbone}",
        f"{profile}.{dataset}",
        f"{profile}.{dataset}.{backbone}",
    )
    files = [path for path in (folder / f"{name}.yaml" for name in names) if path.is_file()]
    return {name: value for file in files for name, value in _values(file.read_text(encoding="utf-8")).items()}


@functools.lru_cache
def _values(text: str) -> dict[str, Any]:
    import yaml  # PyYAML comes with the extras; the base install has no profiles to read

    return yaml.safe_load(text)
