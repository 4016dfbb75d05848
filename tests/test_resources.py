import email.message
import importlib.metadata

import pytest

from pkdlib import _resources
from pkdlib.companion import folders, reproduce
from pkdlib.companion.parameters import Parameters


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package folder as in site-packages, with no checkout around it."""
    package = tmp_path / "site-packages" / "pkdlib"
    (package / "_shipped" / "profiles").mkdir(parents=True)
    monkeypatch.setattr(_resources, "_PACKAGE", package)
    return package


def test_a_checkout_gives_its_own_folders():
    root = _resources.repository()
    assert (root / "pkdlib" / "_resources.py").is_file()
    assert _resources.folder("profiles") == root / "profiles"


def test_an_installed_wheel_gives_the_shipped_copy(installed):
    assert _resources.repository() is None
    assert _resources.folder("profiles") == installed / "_shipped" / "profiles"


def test_a_broken_installation_is_named(installed):
    with pytest.raises(FileNotFoundError, match="results is missing: install pkdlib again"):
        _resources.folder("results")


def test_an_unknown_folder_lists_the_known_ones():
    with pytest.raises(ValueError, match="notebooks, profiles, results"):
        _resources.folder("notebook")


def test_the_address_of_a_checkout_stands_in_its_pyproject():
    line = f'Repository = "{_resources.repository_url()}"'
    assert line in (_resources.repository() / "pyproject.toml").read_text(encoding="utf-8")


def test_the_address_of_an_installed_wheel_stands_in_its_metadata(installed, monkeypatch):
    metadata = email.message.Message()
    metadata["Project-URL"] = "Documentation, https://docs.example.org"
    metadata["Project-URL"] = "Repository, https://example.org/one/two/"
    monkeypatch.setattr(importlib.metadata, "metadata", lambda name: metadata)
    assert _resources.repository_url() == "https://example.org/one/two"


def test_a_missing_address_says_where_to_set_it(installed, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "metadata", missing)
    with pytest.raises(LookupError, match=r"\[project.urls\]"):
        _resources.repository_url()


@pytest.fixture
def checkout(tmp_path):
    """What tells a checkout: its parts, not its name."""
    root = tmp_path / "anything"
    for name in ("notebooks", "pkdlib", "benchmarks/deep"):
        (root / name).mkdir(parents=True)
    (root / "pyproject.toml").touch()
    return root


@pytest.mark.parametrize("where", [".", "notebooks", "benchmarks/deep"])
def test_inside_a_checkout_runs_and_caches_lie_at_its_root(checkout, where, monkeypatch):
    monkeypatch.chdir(checkout / where)  # of papermill, of Jupyter, of a reader's shell
    p = Parameters.for_profile("smoke")
    assert folders.run_folder(p) == checkout / "runs" / "smoke" / "marionette"
    assert folders.cache_folder(p) == checkout / "cache"
    assert reproduce.output_folder(p) == folders.run_folder(p)
    assert reproduce.output_folder(Parameters.for_profile("quick")) == checkout / "_build" / "executed"
    assert folders.sentence(p) == ""


def test_outside_a_checkout_they_lie_in_the_working_folder_which_is_named(checkout, tmp_path, monkeypatch):
    # One's own project may have notebooks and a pyproject.toml, too.
    (checkout / "pkdlib").rmdir()
    monkeypatch.chdir(checkout / "notebooks")
    p = Parameters.for_profile("smoke", cache=str(tmp_path / "cache"))
    assert folders.run_folder(p) == checkout / "notebooks" / "runs" / "smoke" / "marionette"
    assert folders.cache_folder(p) == tmp_path / "cache"
    assert str(checkout / "notebooks") in folders.sentence(p) and "\n" not in folders.sentence(p)
    absolute = Parameters.for_profile("smoke", runs=str(tmp_path / "runs"), cache=str(tmp_path / "cache"))
    assert folders.run_folder(absolute) == tmp_path / "runs" / "smoke" / "marionette"
    assert folders.sentence(absolute) == ""
