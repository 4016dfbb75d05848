"""TEAM-Net beside the three separate networks, from committed results of both: exit by exit, fused, and leaving early.

Costs are measured, so that systems stand side by side at equal GMAC. Only runs (split, seed) of both are compared: they
train and test on the same clips.
"""

from collections.abc import Iterator

import pandas as pd

from pkdlib.companion import results
from pkdlib.companion.book.page_tables.layout import with_interval
from pkdlib.companion.claims import aggregate, comparisons
from pkdlib.companion.names import KIND_NAMES, MODALITY_NAMES, study_name
from pkdlib.companion.presets import DEFAULT, LIGHT_KINDS
from pkdlib.statistics import intervals
from pkdlib.statistics.differences import Comparison, NotMeasured, Tables
from pkdlib.statistics.intervals import RUN

SECOND = "teamnet"
FINAL = 4  # a network's own end, behind its three internal classifiers
NAMES = {DEFAULT: "three networks", SECOND: "TEAM-Net"}
SYSTEMS = {"ce": "cross-entropy", "pkd": "PKD", "none": "bare, fewer segments"}
# What WISE is set against where fusion is compared.
_LABELS = " - ce, "  # in the name of a comparison with them
RIVALS = ("the last exit alone", "equal weights", "late fusion of bare networks, fitted weights")


def studies() -> Iterator[tuple[str, Tables]]:
    """Yield the committed results of both backbones, where a profile and data set has both.

    Yields:
        The data's name, and name -> table of both backbones, which the column backbone tells apart.
    """
    committed = results.published_sets()
    for profile, dataset in committed:
        if (f"{profile}-{SECOND}", dataset) in committed:
            first, second = (results.published(name, dataset) for name in (profile, f"{profile}-{SECOND}"))
            found = {name: pd.concat([first[name], second[name]]) for name in first if name in second}
            yield study_name(profile, dataset), {name: _of_both(table) for name, table in found.items()}


def exit_points(tables: Tables) -> pd.DataFrame:
    """Summarise every exit of the networks with light classifiers trained by PKD: its accuracy, and what leaving costs.

    Args:
        tables: Of `studies`.

    Returns:
        system, setting (the exit), gmac, accuracy, low, high (fractions in 0..1).
    """
    trials, exits = tables["trials"], tables["exits"]
    light = trials[trials["kind"].isin(LIGHT_KINDS) & (trials["method"] == "pkd") & (trials["lr_factor"] == 1)]
    ends = exits[exits["exit"] == FINAL]
    cost = tables["cost"][tables["cost"]["kind"].isin(LIGHT_KINDS)].groupby(["modality", "exit"])["gmac"].mean()
    rows = []
    counted = pd.concat([light, ends])
    for place, counts in counted[counted["part"] == "test"].groupby(["modality", "exit"]):
        name = f"{MODALITY_NAMES[place[0]]} network"
        rows.append({"system": name, "setting": place[1], "gmac": cost[place], **aggregate.fractions(counts)})
    return pd.DataFrame(rows)


def rules(tables: Tables) -> pd.DataFrame:
    """Summarise every rule that combines all exits, a cascade for each backbone and kind of classifiers.

    Args:
        tables: Of `studies`.

    Returns:
        The columns of `aggregate.rule_summary`; a cascade's name tells what running all of it costs.
    """
    cost = tables["cost"][tables["cost"]["exit"] == FINAL]
    whole = cost.groupby(["kind", *RUN])["gmac"].sum().groupby("kind").mean()
    parts = []
    for backbone, rows in tables["ensembles"].groupby("backbone"):
        for kind in KIND_NAMES:
            own = rows[rows["kind"].isin([kind, "none"])]
            if kind in set(own["kind"]):
                name = f"{NAMES[backbone]}, {whole[kind]:.3f} GMAC"
                parts.append(aggregate.rule_summary(own).assign(cascade=f"{name} ({KIND_NAMES[kind]})"))
    return pd.concat(parts, ignore_index=True)


def curves(tables: Tables) -> pd.DataFrame:
    """Choose the curves of light classifiers by cross-entropy and PKD, and of bare networks, of both backbones.

    Args:
        tables: Of `studies`.

    Returns:
        The rows of the table `early_exit` for these, with the column series.
    """
    chosen = aggregate.compared_methods(tables["early_exit"])
    chosen = chosen[chosen["kind"].isin([*LIGHT_KINDS, "none"])]
    return chosen.assign(series=chosen["backbone"].map(NAMES) + ", " + chosen["method"].map(SYSTEMS))


def gains(tables: Tables) -> pd.DataFrame:
    """Set out what PKD gains over cross-entropy on each backbone, the mean over the exits of each kind of classifiers.

    Args:
        tables: Of `studies`.

    Returns:
        backbone, classifiers, and the gain in points with its interval.
    """
    rows = []
    for backbone, trials in tables["trials"].groupby("backbone"):
        found = [part for part in comparisons.compare("ic-curriculum", {"trials": trials}) if _LABELS in part.name]
        of_kind = {part.name.partition(_LABELS)[2].partition(" classifiers")[0]: part for part in found}
        rows += [
            (NAMES[backbone], KIND_NAMES[kind], _interval(of_kind[kind])) for kind in KIND_NAMES if kind in of_kind
        ]
    return pd.DataFrame(rows, columns=["backbone", "classifiers", "PKD less cross-entropy, points"])


def fusion(tables: Tables) -> pd.DataFrame:
    """Set out what WISE over all exits gains over simpler fusion on each backbone.

    Args:
        tables: Of `studies`.

    Returns:
        A row a backbone, a column a rival: the gain in points with its interval.
    """
    rows = []
    for backbone, ensembles in tables["ensembles"].groupby("backbone"):
        found = comparisons.compare("wise-fusion", {"ensembles": ensembles})
        named = {part.name.split(" - ")[1]: part for part in found}
        rows.append({"WISE, in points": NAMES[backbone]} | {f"over {r}": _interval(named[r]) for r in RIVALS})
    return pd.DataFrame(rows)


def at_equal_cost(tables: Tables) -> pd.DataFrame:
    """Set out how much more accurate TEAM-Net is than the three networks at equal cost, leaving early and bare.

    Args:
        tables: Of `studies`.

    Returns:
        system, and the difference in points with its interval, or why there is none.
    """
    found = []
    for method, rows in curves(tables).groupby("method", sort=False):
        second, first = (rows[rows["backbone"] == backbone] for backbone in (SECOND, DEFAULT))
        name = SYSTEMS[method]
        try:
            found.append((name, _interval(comparisons.at_equal_cost(name, second, first))))
        except NotMeasured as reason:
            found.append((name, str(reason)))
    return pd.DataFrame(found, columns=["system", "TEAM-Net less the three networks at equal cost, points"])


def _of_both(table: pd.DataFrame) -> pd.DataFrame:
    backbones = table.groupby(RUN)["backbone"].transform("nunique")
    return table[backbones == len(NAMES)]


def _interval(comparison: Comparison) -> str:
    return with_interval(intervals.two_way_interval(comparison.tables[0]))
