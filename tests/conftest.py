import os
from pathlib import Path

import pytest

from pkdlib.companion import measure

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def peak_memory():
    """Leave in the file that PKD_PEAK names how much memory all processes of the tests took, as `make test` asks."""
    if "PKD_PEAK" not in os.environ:
        yield
        return
    file = Path(os.environ["PKD_PEAK"]).resolve()
    with measure.measured() as cost:
        yield
    file.write_text(f"{cost().peak_memory_mib or 0}\n", encoding="utf-8")


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
