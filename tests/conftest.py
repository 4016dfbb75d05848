import os
import shutil
from pathlib import Path

import filelock
import pytest
from hypothesis import settings

from pkdlib.companion.runs import measure

REPOSITORY = Path(__file__).resolve().parents[1]
# Whole files go to the workers, one after the other: those that take longest begin, so that no worker waits at the end.
FIRST = (
    *("test_notebooks.py", "test_end_to_end.py", "test_reproduce.py", "test_tables.py", "test_notebooks_elsewhere.py"),
    *("test_distributed.py", "test_notebook_edits.py", "test_conclusions.py", "test_advantages.py"),
    *("test_links.py", "test_browser.py"),  # what they look at is made by the first
)

# No example has a limit on its time: on a busy machine any may take long.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


def pytest_xdist_auto_num_workers():
    """Start a worker more than there are cores, for one often waits: for a browser, a lock or a killed process."""
    return len(os.sched_getaffinity(0)) + 1 if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1) + 1


def pytest_configure(config):
    """Give each process of the tests one thread: there are more processes than cores."""
    if config.getoption("numprocesses", None):
        os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items):
    """Put files in the order in which they begin, and leave the order within them."""
    place = {name: number for number, name in enumerate(FIRST, -len(FIRST))}
    items.sort(key=lambda item: place.get(item.path.name, 0))


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session):
    """Leave in the file that PKD_PEAK names how much memory all processes of the tests took, as `make test` asks."""
    if "PKD_PEAK" not in os.environ or hasattr(session.config, "workerinput"):
        return (yield)
    file = Path(os.environ["PKD_PEAK"]).resolve()
    with measure.measured() as cost:
        result = yield
    file.write_text(f"{cost().peak_memory_mib or 0}\n", encoding="utf-8")
    return result


@pytest.fixture(scope="session")
def shared_clips():
    """The folder of real test clips, which is not part of the repository."""
    root = Path(os.environ.get("PKD_CLIPS", REPOSITORY.parent / "shared" / "clips"))
    if not root.is_dir():
        pytest.skip(f"no real test clips at {root} (set PKD_CLIPS)")
    return root


@pytest.fixture(scope="session")
def ucf101_mini(shared_clips):
    """24 real clips of UCF-101 (four classes, six groups of each), and the folder of its official lists."""
    clips, lists = shared_clips / "ucf101_mini", shared_clips.parent / "ucf101" / "lists"
    if not (clips.is_dir() and lists.is_dir()):
        pytest.skip(f"no clips of UCF-101 at {clips}, or no official lists at {lists}")
    return clips, lists


@pytest.fixture(scope="session")
def smoke_root(tmp_path_factory):
    """A folder laid out like a checkout, which all workers share, and the lock to hold while writing there."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # each worker has a folder of its own in it
    return root / "smoke", filelock.FileLock(root / "smoke.lock")


@pytest.fixture(scope="session")
def smoke(smoke_root):
    """The parameters of the one run of all pages at the smoke profile."""
    from pkdlib.companion.parameters import Parameters

    root, _ = smoke_root
    return Parameters.for_profile("smoke", runs=str(root / "runs"), cache=str(root / "cache"))


@pytest.fixture(scope="session")
def smoke_page(smoke_root, smoke):
    """Give the executed notebook of a number, of that one run: what one page has trained, the next ones find."""
    from pkdlib.companion import reproduce
    from pkdlib.companion.book import build

    root, lock = smoke_root

    def page(number):
        (source,) = reproduce.notebooks([number])
        target = root / build.EXECUTED / "notebooks" / f"{source.stem}.ipynb"
        with lock:
            if not target.is_file():
                values = {"profile": "smoke", "runs": smoke.runs, "cache": smoke.cache}
                reproduce.run_notebook(source, target, values, REPOSITORY)
        return target

    return page


@pytest.fixture(scope="session")
def smoke_book(smoke_root, smoke_page):
    """The folder of the book that `pkd book` builds of that run, with warnings as errors."""
    from pkdlib import cli
    from pkdlib.companion import reproduce
    from pkdlib.companion.book import build

    root, lock = smoke_root
    for source in reproduce.notebooks():
        smoke_page(source.stem)
    with lock:
        if not (root / build.OUTPUT / "index.html").is_file():
            for name in ("_config.yml", "_toc.yml"):
                shutil.copy(REPOSITORY / name, root)
            shutil.copytree(REPOSITORY / "book", root / "book", dirs_exist_ok=True)
            assert cli.main(["book", "--root", str(root)]) == 0
    return root / build.OUTPUT
