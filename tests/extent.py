"""How much the tests try: a little at each change, much more with PKD_NIGHTLY=1, as the nightly workflow asks."""

import os

from hypothesis import settings

NIGHTLY = os.environ.get("PKD_NIGHTLY") == "1"


def examples(count, **options):
    """Settings of Hypothesis: so many examples at each change, without a limit on the time that one takes."""
    return settings(max_examples=count * (10 if NIGHTLY else 1), deadline=None, **options)
