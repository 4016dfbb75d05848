"""How much the tests try: a little at each change, much more with PKD_NIGHTLY=1, as the nightly workflow asks."""

import os

import pytest
from hypothesis import settings

NIGHTLY = os.environ.get("PKD_NIGHTLY") == "1"
# For a test that repeats, at length, what another tries shortly.
nightly = pytest.mark.skipif(not NIGHTLY, reason="takes long: with PKD_NIGHTLY=1")


def examples(count, **options):
    """Settings of Hypothesis: so many examples at each change."""
    return settings(max_examples=count * (10 if NIGHTLY else 1), **options)
