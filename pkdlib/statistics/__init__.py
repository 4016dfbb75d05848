"""Differences between systems, with intervals that count runs and groups of clips, not clips.

Begin with `intervals`: the interval of a mean over runs and groups, and several at once. `differences` are what they
are taken of.
"""

from typing import TYPE_CHECKING

from pkdlib import _lazy

if TYPE_CHECKING:
    from pkdlib.statistics.intervals import Interval as Interval
    from pkdlib.statistics.intervals import accuracy_interval as accuracy_interval
    from pkdlib.statistics.intervals import group_differences as group_differences
    from pkdlib.statistics.intervals import max_t_interval as max_t_interval
    from pkdlib.statistics.intervals import planned_interval as planned_interval
    from pkdlib.statistics.intervals import run_interval as run_interval
    from pkdlib.statistics.intervals import smallest_effect as smallest_effect
    from pkdlib.statistics.intervals import two_way_interval as two_way_interval

__getattr__, __dir__, __all__ = _lazy.exports(
    __name__,
    {
        "intervals": (
            *("Interval", "accuracy_interval", "group_differences", "max_t_interval", "planned_interval"),
            *("run_interval", "smallest_effect", "two_way_interval"),
        ),
    },
)
