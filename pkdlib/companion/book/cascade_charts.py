"""Charts of combined exits and of early exit: WISE, trade-offs of accuracy and cost, the audit of the protocol.

Conventions are those of `charts`.
"""

import altair as alt
import pandas as pd

from pkdlib.companion.book import encodings
from pkdlib.companion.book.encodings import RULES, SERIES_COLOURS
from pkdlib.companion.names import EXIT_LABELS, SERIES_NAMES

# The switches of the protocol that are no choice of their own.
_CLEAN, _TOGETHER = "clean", "all together"


def accuracy_by_prefix(ensembles: pd.DataFrame) -> alt.FacetChart:
    """Draw the accuracy of every rule by the number of exits visited, a panel per method.

    Args:
        ensembles: Counts per group with the columns kind, method, rule, prefix, part, clips, correct; the test part of
            the paper's classifiers is drawn, pooled over runs and groups. Rules of prefix 0 (late fusion of bare
            backbones) are lines across. There may be several studies.

    Returns:
        A chart with one column per method.
    """
    test = ensembles[(ensembles["part"] == "test") & (ensembles["kind"] != "light") & ensembles["rule"].isin(RULES)]
    whose = encodings.kept(test)
    pooled = test.groupby([*whose, "method", "rule", "prefix"], sort=False, as_index=False)[["correct", "clips"]].sum()
    pooled["accuracy"] = 100 * pooled["correct"] / pooled["clips"]
    fusion = pooled[pooled["prefix"] == 0].drop(columns=["method", "prefix"])
    lines = pooled[pooled["prefix"] > 0]
    places = lines[[*whose, "method", "prefix"]].drop_duplicates()
    across = fusion.merge(places, **({"on": whose} if whose else {"how": "cross"}))
    frame = pd.concat([lines, across], ignore_index=True)
    frame["rule"] = frame["rule"].map(SERIES_NAMES)
    frame["method"] = frame["method"].map(SERIES_NAMES)
    present = set(frame["rule"])
    rules = [SERIES_NAMES[rule] for rule in RULES if SERIES_NAMES[rule] in present]
    base = alt.Chart(frame).encode(
        x=alt.X("prefix:Q", title="exits visited", axis=alt.Axis(tickMinStep=1)),
        y=alt.Y("accuracy:Q", title="accuracy (%)", scale=alt.Scale(zero=False)),
        color=encodings.series_colour("rule", rules, columns=3),
    )
    tips = ["rule:N", "prefix:Q", *encodings.tips(frame, accuracy="accuracy (%)")]
    points = base.mark_point(size=45).encode(shape=encodings.series_shape("rule", rules), tooltip=tips)
    panel = alt.layer(base.mark_line(opacity=0.6), points).properties(width=290, height=260)
    return panel.facet(column=alt.Column("method:N", title=None, sort=encodings.series(frame["method"])))


def wise_weights(weights: pd.DataFrame) -> alt.VConcatChart:
    """Draw the learned weight of every member exit in the ensemble of every prefix of exits.

    Args:
        weights: One row per run with the columns split, seed, method, prefix (the number of exits visited),
            member ("residual-1" ...) and weight. Runs are averaged, those of each study by themselves.

    Returns:
        A heat map per method and network: a larger weight has a stronger colour; negative ones have a red edge.
    """
    cell = [*encodings.kept(weights), "method", "prefix", "member"]
    frame = weights.groupby(cell, sort=False, as_index=False)["weight"].mean()
    frame[["modality", "exit"]] = frame["member"].str.rsplit("-", n=1, expand=True)
    frame["exit"] = frame["exit"].astype(int).map(EXIT_LABELS)
    frame["size"] = frame["weight"].abs()
    frame["text"] = frame["weight"].map(lambda value: f"{value:.2f}".replace("-0.00", "0.00"))
    # A network's first exit appears in the prefix that ends with it, which gives the order of visiting.
    visited = list(frame.groupby("modality")["prefix"].min().sort_values().index)
    panels = []
    for method, rows in frame.groupby("method", sort=False):
        base = alt.Chart(rows).encode(
            x=alt.X("exit:N", title=None, sort=list(EXIT_LABELS.values()), axis=alt.Axis(labelAngle=0, grid=False)),
            y=alt.Y("prefix:O", title="exits visited", axis=alt.Axis(grid=False)),
        )
        cells = base.mark_rect(strokeWidth=1.5, cornerRadius=2).encode(
            color=encodings.modality_colour(),
            # The strongest cell stays pale enough for its number to be read in either theme.
            fillOpacity=alt.FillOpacity("size:Q", scale=alt.Scale(range=[0.03, 0.5]), legend=None),
            stroke=alt.condition("datum.weight < -0.005", alt.value(SERIES_COLOURS[4]), alt.value("transparent")),
            tooltip=["prefix:O", "exit:N", alt.Tooltip("weight:Q", format=".3f")],
        )
        layered = alt.layer(cells, base.mark_text().encode(text="text:N"))
        panel = layered.properties(width=alt.Step(46), height=alt.Step(26))
        # Where methods are compared each stands under its name.
        titled = {"title": SERIES_NAMES[method]} if frame["method"].nunique() > 1 else {}
        panels.append(panel.facet(column=encodings.modality_facet(rows, order=visited), **titled))
    return alt.vconcat(*panels)


def accuracy_by_rule(summary: pd.DataFrame) -> alt.FacetChart:
    """Draw the accuracy of every rule that combines all exits, a panel per cascade.

    Args:
        summary: One row per (cascade, rule), in the order of drawing, with the columns accuracy, low and high.

    Returns:
        A point and an interval per row.
    """
    frame = encodings.per_cent(summary, "accuracy", "low", "high")
    # Names of neighbours do not run into each other, nor out of a picture that is as narrow as a phone.
    frame["cascade"] = frame["cascade"].map(encodings.heading)
    base = alt.Chart(frame).encode(
        y=alt.Y(
            "rule:N", title=None, sort=list(dict.fromkeys(frame["rule"])), axis=alt.Axis(labelLimit=260, minExtent=190)
        ),
        color=alt.value(SERIES_COLOURS[3]),
    )
    x = alt.X("low:Q", title="accuracy (%)", scale=alt.Scale(zero=False))
    tips = ["rule:N", *encodings.tips(frame, accuracy="accuracy (%)", low="from (%)", high="to (%)")]
    intervals = base.mark_rule(strokeWidth=3, opacity=0.6).encode(x=x, x2="high:Q")
    points = base.mark_point(size=70).encode(x="accuracy:Q", tooltip=tips)
    panel = alt.layer(intervals, points).properties(width=220, height=alt.Step(22))
    header = alt.Header(labelExpr=encodings.LINES)
    return panel.facet(column=alt.Column("cascade:N", title=None, header=header))


def accuracy_against_cost(curves: pd.DataFrame) -> alt.LayerChart:
    """Draw accuracy against measured cost, one line per series, one point per setting.

    Args:
        curves: One row per run, group and setting with the columns split, seed, series, setting, gmac (per clip),
            accuracy, clips; perhaps study and dataset. Runs and groups are averaged, each weighted by its clips.

    Returns:
        A chart of the means.
    """
    frame = curves.copy()
    frame["gmac"] *= frame["clips"]
    frame["accuracy"] *= frame["clips"] * 100
    sums = frame.groupby([*encodings.kept(frame), "series", "setting"], sort=False)[["gmac", "accuracy", "clips"]].sum()
    means = sums[["gmac", "accuracy"]].div(sums["clips"], axis=0).reset_index()
    names = list(dict.fromkeys(means["series"]))
    base = alt.Chart(means).encode(
        x=alt.X("gmac:Q", title="cost (GMAC per clip)", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=8)),
        y=alt.Y("accuracy:Q", title="accuracy (%)", scale=alt.Scale(zero=False)),
        color=encodings.series_colour("series", names, columns=2),
    )
    tips = ["series:N", "setting:Q", *encodings.tips(means, gmac="GMAC per clip", accuracy="accuracy (%)")]
    points = base.mark_point().encode(shape=encodings.series_shape("series", names), tooltip=tips)
    return alt.layer(base.mark_line(opacity=0.6).encode(order="gmac:Q"), points).properties(width=560, height=320)


def front(points: pd.DataFrame, cost: str, title: str) -> alt.LayerChart:
    """Draw operating points with intervals, and the Pareto front of their means.

    Args:
        points: One row per operating point with the columns system, setting, accuracy, low, high and a cost.
        cost: The cost's column.
        title: Of its axis.

    Returns:
        A chart; the dashed line joins the points to which no other is at once cheaper and more accurate.
    """
    frame = encodings.per_cent(points, "accuracy", "low", "high").sort_values(
        [cost, "accuracy"], ascending=[True, False]
    )
    best = frame[frame["accuracy"] > frame["accuracy"].cummax().shift(fill_value=-1)]
    names = list(dict.fromkeys(points["system"]))
    base = alt.Chart(frame).encode(
        x=alt.X(f"{cost}:Q", title=title, scale=alt.Scale(zero=False)),
        color=encodings.series_colour("system", names, columns=2),
    )
    low = alt.Y("low:Q", title="accuracy (%)", scale=alt.Scale(zero=False))
    tips = ["system:N", "setting:N"]
    tips += encodings.tips(frame, **{cost: title}, accuracy="accuracy (%)", low="from (%)", high="to (%)")
    line = alt.Chart(best).mark_line(color=SERIES_COLOURS[0], strokeDash=[4, 3], interpolate="step-after")
    return alt.layer(
        line.encode(x=f"{cost}:Q", y="accuracy:Q"),
        base.mark_rule(strokeWidth=1.5, opacity=0.5).encode(y=low, y2="high:Q"),
        base.mark_point(size=80).encode(y="accuracy:Q", shape=encodings.series_shape("system", names), tooltip=tips),
    ).properties(width=560, height=320)


def gains_by_switch(summary: pd.DataFrame) -> alt.VConcatChart:
    """Draw what each choice of protocol does to each gain, a panel per gain.

    Args:
        summary: One row per (gain, switch), in the order of drawing, with the columns unit, difference, low and high.

    Returns:
        A point and an interval per row, about the line of no gain.
    """
    panels = []
    for gain, frame in summary.groupby("gain", sort=False):
        unit = frame["unit"].iloc[0]
        order = list(dict.fromkeys(frame["switch"]))
        base = alt.Chart(frame).encode(
            y=alt.Y("switch:N", title=None, sort=order, axis=alt.Axis(labelLimit=260, minExtent=230)),
            color=alt.condition(
                f"datum.switch == '{_CLEAN}'", alt.value(SERIES_COLOURS[3]), alt.value(SERIES_COLOURS[1])
            ),
        )
        zero = alt.Chart(frame).mark_rule(opacity=0.7).encode(x=alt.datum(0))
        intervals = base.mark_rule(strokeWidth=3, opacity=0.6).encode(x=alt.X("low:Q", title=unit), x2="high:Q")
        tips = ["switch:N", *encodings.tips(frame, difference=unit, low="from", high="to")]
        points = base.mark_point(size=90).encode(x="difference:Q", tooltip=tips)
        layered = alt.layer(zero, intervals, points)
        panels.append(layered.properties(width=330, height=alt.Step(26), title=gain))
    return alt.vconcat(*panels)


def added_choices(summary: pd.DataFrame) -> alt.VConcatChart:
    """Draw a waterfall for each gain of several choices: what each adds by itself, of those that are switched on.

    Args:
        summary: As `gains_by_switch` takes it; of several studies, with the column study.

    Returns:
        Bars from the clean gain upwards, with a switch for each choice, and the gain measured with all of them.
    """
    parts = []
    columns = [name for name in ("study", "dataset") if name in summary]
    of_several = summary["gain"].isin(summary.loc[summary["switch"] == _TOGETHER, "gain"])
    for _, own in summary[of_several].groupby([*columns, "gain"], sort=False):
        clean, total = (own.loc[own["switch"] == name, "difference"].item() for name in (_CLEAN, _TOGETHER))
        steps = own["difference"].where(own["switch"].isin([_CLEAN, _TOGETHER]), own["difference"] - clean)
        parts.append(own.assign(step=steps, place=range(len(own)), whole=total))
    frame = pd.concat(parts)
    choices = [name for name in dict.fromkeys(frame["switch"]) if name not in (_CLEAN, _TOGETHER)]
    switches = {
        name: alt.param(f"choice_{number}", value=True, bind=alt.binding_checkbox(name=f"{name}: "))
        for number, name in enumerate(choices)
    }
    shown = " || ".join(
        [f"datum.switch === '{name}'" for name in (_CLEAN, _TOGETHER)]
        + [f"(datum.switch === '{name}' && {own.name})" for name, own in switches.items()]
    )
    panels = []
    for gain, rows in frame.groupby("gain", sort=False):
        base = (
            alt.Chart(rows)
            .transform_filter(shown)
            .transform_calculate(counted=f"datum.switch === '{_TOGETHER}' ? 0 : datum.step")
            .transform_window(end="sum(counted)", sort=[alt.SortField("place")], groupby=columns, frame=[None, 0])
            .transform_calculate(
                start=f"datum.switch === '{_TOGETHER}' ? 0 : datum.end - datum.step",
                finish=f"datum.switch === '{_TOGETHER}' ? datum.whole : datum.end",
                told="(abs(datum.step) < 0.05 ? '±' : datum.step < 0 ? '−' : '+') + format(abs(datum.step), '.1f')",
                right="max(datum.start, datum.finish)",
            )
            .encode(
                y=alt.Y(
                    "switch:N",
                    title=None,
                    sort=list(dict.fromkeys(rows["switch"])),
                    axis=alt.Axis(labelLimit=260, minExtent=230),
                )
            )
        )
        colour = alt.Color(
            "switch:N",
            legend=None,
            scale=alt.Scale(
                domain=[_CLEAN, *choices, _TOGETHER],
                range=[SERIES_COLOURS[3], *[SERIES_COLOURS[1]] * len(choices), SERIES_COLOURS[0]],
            ),
        )
        x = alt.X("start:Q", title=rows["unit"].iloc[0], scale=alt.Scale(padding=32))  # room for the figures
        bars = base.mark_bar(height=14).encode(x=x, x2="finish:Q", color=colour)
        told = base.mark_text(align="left", dx=5).encode(x=alt.X("right:Q"), text="told:N")
        zero = alt.Chart(rows).mark_rule(opacity=0.7).encode(x=alt.datum(0))
        panels.append(alt.layer(zero, bars, told).properties(width=330, height=alt.Step(26), title=gain))
    return alt.vconcat(*panels).add_params(*switches.values())
