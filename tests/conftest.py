import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_clips():
    """The folder of real test clips, which is not part of the repository."""
    root = Path(os.environ.get("PKD_CLIPS", REPOSITORY.parent / "shared" / "clips"))
    if not root.is_dir():
        pytest.skip(f"no real test clips at {root} (set PKD_CLIPS)")
    return root
