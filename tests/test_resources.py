import email.message
import importlib.metadata

import pytest

from pkdlib import resources


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package folder as in site-packages, with no checkout around it."""
    package = tmp_path / "site-packages" / "pkdlib"
    (package / "_shipped" / "profiles").mkdir(parents=True)
    monkeypatch.setattr(resources, "_PACKAGE", package)
    return package


def test_a_checkout_gives_its_own_folders():
    root = resources.repository()
    assert (root / "pkdlib" / "resources.py").is_file()
    assert resources.folder("profiles") == root / "profiles"


def test_an_installed_wheel_gives_the_shipped_copy(installed):
    assert resources.repository() is None
    assert resources.folder("profiles") == installed / "_shipped" / "profiles"


def test_a_broken_installation_is_named(installed):
    with pytest.raises(FileNotFoundError, match="results is missing: install pkdlib again"):
        resources.folder("results")


def test_an_unknown_folder_lists_the_known_ones():
    with pytest.raises(ValueError, match="notebooks, profiles, results"):
        resources.folder("notebook")


def test_the_address_of_a_checkout_stands_in_its_pyproject():
    line = f'Repository = "{resources.repository_url()}"'
    assert line in (resources.repository() / "pyproject.toml").read_text()


def test_the_address_of_an_installed_wheel_stands_in_its_metadata(installed, monkeypatch):
    metadata = email.message.Message()
    metadata["Project-URL"] = "Documentation, https://docs.example.org"
    metadata["Project-URL"] = "Repository, https://example.org/one/two/"
    monkeypatch.setattr(importlib.metadata, "metadata", lambda name: metadata)
    assert resources.repository_url() == "https://example.org/one/two"


def test_a_missing_address_says_where_to_set_it(installed, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "metadata", missing)
    with pytest.raises(LookupError, match=r"\[project.urls\]"):
        resources.repository_url()
