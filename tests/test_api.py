"""The doors of the library: what each package offers, that it is loaded when it is asked for, and its examples."""

import ast
import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import pkdlib

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = [name for _, name, is_package in pkgutil.iter_modules(pkdlib.__path__) if is_package]
OFFERING = ["pkdlib", *(f"pkdlib.{name}" for name in PACKAGES if name != "companion")]


def told_to_type_checkers(package):
    """Public name -> where its import under TYPE_CHECKING says that it comes from."""
    tree = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and node.test.id == "TYPE_CHECKING"]
    assert all(alias.asname == alias.name for node in block.body for alias in node.names)
    return {alias.name: node.module for node in block.body for alias in node.names}


@pytest.mark.parametrize("name", OFFERING)
def test_what_a_package_offers_is_what_type_checkers_see(name):
    package = importlib.import_module(name)
    told = told_to_type_checkers(package)
    assert sorted(told) == package.__all__
    for public, home in told.items():
        assert getattr(package, public) is getattr(importlib.import_module(home), public)
    assert set(package.__all__) <= set(dir(package))
    # A module of the same name would take the place of what is offered as soon as it is imported.
    assert not set(package.__all__) & {module.name for module in pkgutil.iter_modules(package.__path__)}
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'nonsense'"):
        package.nonsense  # noqa: B018


@pytest.mark.parametrize("name", [*OFFERING, "pkdlib.companion"])
def test_a_package_says_where_to_start_reading(name):
    text = importlib.import_module(name).__doc__
    assert text.splitlines()[0].endswith(".") and text.splitlines()[1] == ""
    if name != "pkdlib":
        modules = {m.name for m in pkgutil.iter_modules(importlib.import_module(name).__path__)}
        unnamed = [own for own in modules if not own.startswith("_") and f"`{own}`" not in text]
        assert "\nBegin with `" in text and not unnamed


@pytest.mark.slow
def test_importing_the_library_costs_nothing():
    program = (
        "import sys, pkdlib, pkdlib.distillation, pkdlib.ensemble, pkdlib.models; from pkdlib import labels;"
        "heavy = {'torch', 'scipy', 'pandas', 'av', 'torchvision'} & sys.modules.keys(); print(heavy or 'light');"
        "from pkdlib import *; print('torch' in sys.modules, callable(tapped))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, encoding="utf-8")
    assert done.stdout.split() == ["light", "True", "True"], done.stderr


def test_about_twenty_names_stand_at_the_front_door():
    assert 15 <= len(pkdlib.__all__) <= 25


def examples_of(name):
    finder = doctest.DocTestFinder(recurse=False, exclude_empty=True)
    value = getattr(pkdlib, name)
    return [test for test in finder.find(value, name, globs={}) if test.examples]


@pytest.mark.parametrize("name", pkdlib.__all__)
def test_each_has_an_example_that_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (test,) = examples_of(name)
    assert name in "".join(example.source for example in test.examples)
    failed = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=failed.append)
    assert not failed, "".join(failed)


def documented():
    """Page -> the modules that it documents."""
    pages = (ROOT / "book" / "api").glob("*.md")
    return {page.stem: re.findall(r"automodule:: (\S+)", page.read_text(encoding="utf-8")) for page in pages}


def test_one_page_a_package_documents_its_public_modules():
    pages = documented()
    assert set(pages) == {"index", *PACKAGES}
    for package in PACKAGES:
        found = importlib.import_module(f"pkdlib.{package}")
        modules = [own.name for own in pkgutil.walk_packages(found.__path__, f"{found.__name__}.")]
        public = {own for own in modules if "._" not in own} | {found.__name__}
        assert set(pages[package]) == public
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    listed = [chapter["file"] for part in contents["parts"] for chapter in part["chapters"]]
    assert {f"book/api/{page}" for page in pages} <= set(listed)


def test_the_first_page_lists_the_names_at_the_front_door():
    text = (ROOT / "book" / "api" / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \{py:(?:func|class)\}`(\w+) <(pkdlib\.[\w.]+)>` \|", text, re.MULTILINE)
    assert sorted(name for name, _ in listed) == pkdlib.__all__
    for name, target in listed:
        module, _, own = target.rpartition(".")
        assert own == name and getattr(importlib.import_module(module), own) is getattr(pkdlib, name)
