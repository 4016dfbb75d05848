"""Figures of the committed studies, with a reader's own run laid over the study of the same data, as theirs."""

import json
from collections.abc import Callable, Sequence

import altair as alt
import pandas as pd

from pkdlib.companion import results
from pkdlib.companion.claims import verdicts
from pkdlib.companion.names import dataset_name, study_name

YOURS = "your run"
_THEIRS = f"datum.study === {json.dumps(YOURS)}"

Draw = Callable[[pd.DataFrame], alt.TopLevelMixin]
Summarise = Callable[[pd.DataFrame], pd.DataFrame]


def over_studies(
    draw: Draw, summarise: Summarise, table: str | Sequence[str], own: pd.DataFrame, dataset: str
) -> alt.TopLevelMixin:
    """Draw a figure of every committed study, of which a menu shows one, with a reader's own run over its own data.

    Args:
        draw: Of a chart, which keeps its frame's columns study and dataset.
        summarise: Makes of a result table what `draw` takes.
        table: Its name, or those of several whose rows it takes together; studies that lack one are left out.
        own: The same rows of the reader's own run; there may be none.
        dataset: Of that run.

    Returns:
        The chart with a menu of the studies. What is the reader's own is pale, and is shown with studies of its data
        set alone.
    """
    parts = _parts(summarise, [table] if isinstance(table, str) else table, own, dataset)
    chart = _marked(draw(pd.concat(parts.values(), ignore_index=True)))
    of = {title: part["dataset"].iloc[0] for title, part in parts.items() if title != YOURS}
    return _chosen(chart, list(of), f" || ({_THEIRS} && datum.dataset === {json.dumps(of)}[study])")


def one_by_one(draw: Draw, summarise: Summarise, table: str, own: pd.DataFrame, dataset: str) -> alt.TopLevelMixin:
    """Draw a figure of every committed study and of a reader's own run, of which a menu shows one at a time.

    It is for charts in which one would hide the other, such as heat maps.

    Args:
        draw: Of a chart, which keeps its frame's column study.
        summarise: Makes of a result table what `draw` takes.
        table: Its name; studies without it are left out.
        own: The same table of the reader's own run; it may be empty.
        dataset: Of that run.

    Returns:
        The chart with a menu of the studies, and last of the reader's own run.
    """
    parts = _parts(summarise, [table], own, dataset)
    return _chosen(draw(pd.concat(parts.values(), ignore_index=True)), list(parts), "")


def with_studies(table: str, own: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """Put a result table of every committed study and of a reader's own run under one another.

    Args:
        table: Its name; studies without it are left out.
        own: The same table of the reader's own run; it may be empty.
        dataset: Of that run.

    Returns:
        The rows, with the columns study (YOURS for the reader's own) and dataset.
    """
    return pd.concat(_parts(lambda rows: rows, [table], own, dataset).values(), ignore_index=True)


def _parts(summarise: Summarise, tables: Sequence[str], own: pd.DataFrame, dataset: str) -> dict[str, pd.DataFrame]:
    parts = {}
    for profile, name in results.published_sets(verdicts.MIN_SEEDS):
        found = results.published(profile, name)
        if all(table in found for table in tables):
            named = {"study": study_name(profile, name), "dataset": dataset_name(name)}
            rows = pd.concat([found[table] for table in tables], ignore_index=True)
            parts[named["study"]] = summarise(rows).assign(**named)
    if len(own):
        parts[YOURS] = summarise(own).assign(study=YOURS, dataset=dataset_name(dataset))
    return parts


def _chosen(chart: alt.TopLevelMixin, titles: list[str], others: str) -> alt.TopLevelMixin:
    # One study of the menu, and whatever else the expression lets through.
    if not titles:
        return chart
    menu = alt.binding_select(options=titles, name="Study: ")
    chosen = alt.param("study", value=titles[0], bind=menu)
    return _filtered(chart, f"datum.study === study{others}").add_params(chosen)


def _filtered(chart: alt.TopLevelMixin, which: str) -> alt.TopLevelMixin:
    # Vega-Lite reads the transforms of a concatenation's parts, and not its own.
    for parts in ("hconcat", "vconcat", "concat"):
        if (own := getattr(chart, parts, alt.Undefined)) is not alt.Undefined:
            setattr(chart, parts, [_filtered(part, which) for part in own])
            return chart
    return chart.transform_filter(which)


def _marked(chart: alt.TopLevelMixin) -> alt.TopLevelMixin:
    for parts in ("layer", "hconcat", "vconcat", "concat"):
        if (own := getattr(chart, parts, alt.Undefined)) is not alt.Undefined:
            setattr(chart, parts, [_marked(part) for part in own])
            return chart
    if (inner := getattr(chart, "spec", alt.Undefined)) is not alt.Undefined:
        chart.spec = _marked(inner)
        return chart
    return chart.encode(detail="study:N", opacity=alt.condition(_THEIRS, alt.value(0.4), alt.value(0.9)))
