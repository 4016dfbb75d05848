"""Charts of the companion's tables.

Each function takes a tidy frame (its docstring names the columns) and returns an Altair chart, which `show`
displays. Accuracies that were measured here are fractions in 0..1 in every frame and per cent on every axis;
costs are GMAC (1e9 multiply-accumulates).
"""

import json

import altair as alt
import numpy as np
import pandas as pd

from pkdlib.display import picture, show

__all__ = [
    "accuracies",
    "accuracy_against_cost",
    "accuracy_by_exit",
    "accuracy_by_prefix",
    "differences",
    "exit_costs",
    "flatness",
    "modality_profile",
    "picture",
    "published",
    "show",
    "training_curves",
    "wise_weights",
]

# Every colour has a contrast of at least 3:1 (WCAG 2.1, 1.4.11) against the book's light and its dark
# background, and they stay apart for the three kinds of colour blindness; tests/test_charts.py computes both.
MODALITY_COLOURS = {"iframe": "#4269d0", "motion": "#d4680a", "residual": "#1d9a55"}
SERIES_COLOURS = ("#7f858c", "#9a3fd8", "#b58400", "#0f9bb0", "#d92c2c", "#3f9142")
SERIES_SHAPES = ("circle", "diamond", "square", "triangle-up", "triangle-down", "cross")

MODALITY_LABELS = {"iframe": "I-frame", "motion": "motion vectors", "residual": "residual"}
DATASET_LABELS = {"ucf101": "UCF-101", "hmdb51": "HMDB-51"}
EXIT_LABELS = {1: "IC 1", 2: "IC 2", 3: "IC 3", 4: "final"}
NAMES = {
    "ce": "cross-entropy (CE)",
    "pkd": "PKD",
    "backbone": "backbone",
    "wise_cascade": "WISE cascade",
    "fewer_segments": "bare late fusion, fewer segments",
    "wise": "WISE",
    "uniform": "uniform mean",
    "last": "last exit alone",
    "late_equal": "bare late fusion, equal weights",
    "late_fitted": "bare late fusion, fitted weights",
}
RULES = ("uniform", "wise", "last", "late_equal", "late_fitted")
VERDICT_COLOURS = {"holds": "#0f9bb0", "does not hold": "#d92c2c", "undecided": "#7f858c"}


def training_curves(curves: pd.DataFrame) -> alt.VConcatChart:
    """Draw loss and accuracy over the epochs, a thin line for each run and a thick one for their mean.

    Args:
        curves: One row per run and epoch with the columns split, seed, modality, epoch, train_loss,
            train_accuracy, validation_loss, validation_accuracy.

    Returns:
        A chart with one column per modality and one row each for loss and accuracy.
    """
    rows = []
    for measure, title in (("loss", "loss (nats)"), ("accuracy", "accuracy (%)")):
        wide = curves.rename(columns={f"train_{measure}": "training", f"validation_{measure}": "validation"})
        keys = ["split", "seed", "modality", "epoch"]
        frame = wide.melt(id_vars=keys, value_vars=["training", "validation"], var_name="part")
        if measure == "accuracy":
            frame["value"] *= 100
        frame["run"] = _runs(frame)
        frame["curve"] = frame["run"] + " " + frame["part"]
        base = alt.Chart(frame).encode(
            x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1)),
            color=_modality_colour(legend=None),
            strokeDash=alt.StrokeDash(
                "part:N",
                title=None,
                scale=alt.Scale(domain=["training", "validation"], range=[[5, 3], [1, 0]]),
                legend=_stroke_legend(),
            ),
        )
        runs = base.mark_line(strokeWidth=1, opacity=0.4).encode(
            y=alt.Y("value:Q", title=title, scale=alt.Scale(zero=measure == "accuracy")),
            detail="curve:N",
            tooltip=["run:N", "part:N", "epoch:Q", alt.Tooltip("value:Q", format=".3~f", title=title)],
        )
        mean = base.mark_line().encode(y=alt.Y("mean(value):Q", title=title))
        layered = alt.layer(runs, mean).properties(width=185, height=140)
        rows.append(layered.facet(column=_modality_facet(frame, labels=measure == "loss")))
    return alt.vconcat(*rows, spacing=10)


def accuracy_by_exit(summary: pd.DataFrame) -> alt.FacetChart:
    """Draw the accuracy at every exit, one panel per modality and one line per training method.

    Args:
        summary: One row per (modality, method, exit) with the column accuracy and, where an interval is
            known, low and high. Exits 1 to 3 are internal classifiers (ICs), exit 4 is the network's own end.

    Returns:
        A chart with one column per modality.
    """
    frame = _per_cent(summary, "accuracy", "low", "high")
    frame["method"] = frame["method"].map(_name)
    methods = _series(frame["method"])
    # Neighbouring methods stand side by side so that their intervals do not hide each other.
    place = {name: (i - (len(methods) - 1) / 2) * 0.09 for i, name in enumerate(methods)}
    frame["place"] = frame["exit"] + frame["method"].map(place)
    frame["exit"] = frame["exit"].map(EXIT_LABELS)
    axis = alt.Axis(values=list(EXIT_LABELS), labelExpr=_label_expression(EXIT_LABELS))
    base = alt.Chart(frame).encode(
        x=alt.X("place:Q", title="exit", axis=axis, scale=alt.Scale(domain=[0.7, 4.3], nice=False)),
        y=alt.Y("accuracy:Q", title="accuracy (%)", scale=alt.Scale(zero=False, nice=True)),
        color=_series_colour("method", methods),
    )
    layers = [base.mark_line(opacity=0.6)]
    if {"low", "high"} <= set(frame.columns):
        layers.append(base.mark_rule(strokeWidth=1.5).encode(y="low:Q", y2="high:Q"))
    tips = ["method:N", "exit:N", *_tips(frame, accuracy="accuracy (%)", low="from (%)", high="to (%)")]
    layers.append(base.mark_point().encode(shape=_series_shape("method", methods), tooltip=tips))
    return alt.layer(*layers).properties(width=190, height=220).facet(column=_modality_facet(frame))


def differences(frame: pd.DataFrame, *, unit: str = "percentage points", margin: float | None = 1.0) -> alt.LayerChart:
    """Draw differences with their intervals against zero and the margin fixed beforehand.

    Args:
        frame: One row per comparison, in the order of drawing, with the columns label, estimate, low, high and
            verdict ("holds", "does not hold" or "undecided"). Rows without an estimate are left out.
        unit: The unit of the differences, for the axis.
        margin: The smallest difference that matters, drawn as a dashed line; None where there is none.

    Returns:
        A forest plot: a point and an interval per row.
    """
    frame = frame.dropna(subset=["estimate"])
    marks = pd.DataFrame({"at": [0.0], "mark": ["no difference"]})
    if margin is not None:
        marks.loc[1] = [margin, f"margin of {margin:g}"]
    dashes = alt.Scale(domain=list(marks["mark"]), range=[[1, 0], [4, 3]])
    rules = (
        alt.Chart(marks)
        .mark_rule(opacity=0.7)
        .encode(x="at:Q", strokeDash=alt.StrokeDash("mark:N", scale=dashes, legend=_stroke_legend("bottom")))
    )
    colours = alt.Scale(domain=list(VERDICT_COLOURS), range=list(VERDICT_COLOURS.values()))
    order = list(dict.fromkeys(frame["label"]))
    base = alt.Chart(frame).encode(
        y=alt.Y("label:N", title=None, sort=order, axis=alt.Axis(labelLimit=330, grid=True)),
        color=alt.Color("verdict:N", title=None, scale=colours),
    )
    x = alt.X("low:Q", title=f"difference ({unit})")
    intervals = base.mark_rule(strokeWidth=3, opacity=0.75).encode(x=x, x2="high:Q")
    tips = _tips(frame, estimate=f"difference ({unit})", low="from", high="to")
    points = base.mark_point(size=110).encode(
        x="estimate:Q",
        shape=_series_shape("verdict", list(VERDICT_COLOURS)),
        tooltip=["label:N", *tips, "verdict:N"],
    )
    return alt.layer(rules, intervals, points).properties(width=400, height=alt.Step(28))


def accuracy_against_cost(early_exit: pd.DataFrame) -> alt.LayerChart:
    """Draw accuracy against measured cost, one line per system, one point per setting.

    Args:
        early_exit: One row per run and setting with the columns split, seed, method, system, setting, gmac
            (per clip), accuracy, clips. Runs are averaged, each weighted by its clips.

    Returns:
        A chart of the runs' means.
    """
    frame = early_exit.copy()
    several = frame.groupby("system")["method"].transform("nunique") > 1
    named = frame["system"].map(_name)
    frame["system"] = np.where(several, named + ", " + frame["method"].map(_name), named)
    frame["gmac"] *= frame["clips"]
    frame["accuracy"] *= frame["clips"] * 100
    keys = ["system", "setting"]
    means = frame.groupby(keys, sort=False).agg(
        gmac=("gmac", "sum"), accuracy=("accuracy", "sum"), clips=("clips", "sum"), runs=("clips", "size")
    )
    means[["gmac", "accuracy"]] = means[["gmac", "accuracy"]].div(means["clips"], axis=0)
    means = means.drop(columns="clips").reset_index()
    systems = _series(means["system"])
    base = alt.Chart(means).encode(
        x=alt.X("gmac:Q", title="cost (GMAC per clip)", scale=alt.Scale(zero=False)),
        y=alt.Y("accuracy:Q", title="accuracy (%)", scale=alt.Scale(zero=False)),
        color=_series_colour("system", systems),
    )
    tips = ["system:N", "setting:Q", *_tips(means, gmac="GMAC per clip", accuracy="accuracy (%)"), "runs:Q"]
    points = base.mark_point().encode(shape=_series_shape("system", systems), tooltip=tips)
    return alt.layer(base.mark_line(opacity=0.6).encode(order="gmac:Q"), points).properties(width=560, height=320)


def exit_costs(cost: pd.DataFrame) -> alt.FacetChart:
    """Draw what leaving at each exit costs, with the share of the internal classifiers (ICs) set apart.

    Args:
        cost: One row per (modality, exit) with the columns gmac (to leave here, with every IC passed),
            gmac_ic (this exit's IC alone; 0 at the network's end) and gmac_bare (the backbone to its end,
            without ICs). Rows of several runs are averaged.

    Returns:
        A chart with one column per modality; the vertical line is the whole bare backbone.
    """
    frame = cost.groupby(["modality", "exit"], as_index=False)[["gmac", "gmac_ic", "gmac_bare"]].mean()
    frame = frame.sort_values(["modality", "exit"])
    frame["classifiers"] = frame.groupby("modality")["gmac_ic"].cumsum()
    frame["network"] = frame["gmac"] - frame["classifiers"]
    frame["exit"] = frame["exit"].map(EXIT_LABELS)
    parts = {"network": "network up to the exit", "classifiers": "ICs passed"}
    long = frame.melt(["modality", "exit", "gmac", "gmac_bare"], list(parts), var_name="part")
    long["rank"] = (long["part"] == "classifiers").astype(int)
    long["part"] = long["part"].map(parts)
    y = alt.Y("exit:N", title=None, sort=list(EXIT_LABELS.values()), axis=alt.Axis(grid=False))
    bars = (
        alt.Chart(long)
        .mark_bar(height=18)
        .encode(
            y=y,
            x=alt.X("value:Q", title="GMAC (dashed: bare network)"),
            color=_modality_colour(legend=None),
            opacity=alt.Opacity(
                "part:O",
                title=None,
                scale=alt.Scale(domain=list(parts.values()), range=[1, 0.45]),
                legend=alt.Legend(symbolType="square", symbolFillColor=SERIES_COLOURS[0], symbolStrokeWidth=0),
            ),
            order=alt.Order("rank:Q"),
            tooltip=[
                "exit:N",
                "part:N",
                *_tips(long, value="GMAC", gmac="GMAC in all", gmac_bare="bare GMAC"),
            ],
        )
    )
    bare = alt.Chart(long).mark_rule(strokeDash=[4, 3], strokeWidth=1.5).encode(x="mean(gmac_bare):Q")
    panel = alt.layer(bars, bare).properties(width=180, height=alt.Step(30))
    return panel.facet(column=_modality_facet(frame))


def flatness(frame: pd.DataFrame) -> alt.HConcatChart:
    """Draw every flatness measure by modality: a point per run with its standard error, a bar for the mean.

    Args:
        frame: One row per run with the columns split, seed, modality, measure, value, standard_error (of the
            estimator; may be missing).

    Returns:
        A chart with one panel and one scale per measure, logarithmic where values span more than 20-fold.
    """
    panels = []
    for measure in dict.fromkeys(frame["measure"]):
        part = frame[frame["measure"] == measure].copy()
        part["run"] = _runs(part)
        # Runs stand side by side in the order of their names, so that no point hides another.
        rank = part.groupby("modality")["run"].rank(method="dense")
        part["shift"] = (rank - (rank.max() + 1) / 2) / max(rank.max(), 4)
        part["low"] = part["value"] - part["standard_error"].fillna(0)
        part["high"] = part["value"] + part["standard_error"].fillna(0)
        wide = part["low"].min() > 0 and part["high"].max() > 20 * part["low"].min()
        scale = alt.Scale(type="log") if wide else alt.Scale(zero=True)
        y_title = measure.replace("_", " ") + (" (log scale)" if wide else "")
        y = alt.Y("value:Q", title=y_title, scale=scale, axis=alt.Axis(tickCount=5, format="~s" if wide else "~g"))
        base = alt.Chart(part).encode(
            x=alt.X(
                "modality:N",
                title=None,
                sort=list(MODALITY_COLOURS),
                axis=alt.Axis(labelAngle=0, labelExpr=_label_expression(MODALITY_LABELS, wrap=True)),
            ),
            color=_modality_colour(legend=None),
        )
        shift = alt.XOffset("shift:Q", scale=alt.Scale(domain=[-0.7, 0.7]))
        tips = ["run:N", *_tips(part, value=measure, standard_error="standard error")]
        panels.append(
            alt.layer(
                base.mark_tick(thickness=2, size=38, opacity=0.55).encode(y=alt.Y("mean(value):Q", title=y_title)),
                base.mark_rule().encode(y="low:Q", y2="high:Q", xOffset=shift),
                base.mark_point(size=45).encode(y=y, xOffset=shift, tooltip=tips),
            ).properties(width=185, height=230)
        )
    return alt.hconcat(*panels)


def wise_weights(weights: pd.DataFrame) -> alt.FacetChart:
    """Draw the learned weight of every member exit in the ensemble of every prefix of exits.

    Args:
        weights: One row per run with the columns split, seed, method, prefix (the number of exits visited),
            member ("residual-1" ...) and weight. Runs are averaged.

    Returns:
        A heat map per method: the stronger the colour, the larger the weight; negative ones have a red edge.
    """
    frame = weights.groupby(["method", "prefix", "member"], sort=False, as_index=False)["weight"].mean()
    frame["modality"] = frame["member"].str.rsplit("-", n=1).str[0]
    frame["size"] = frame["weight"].abs()
    frame["text"] = frame["weight"].map(lambda value: f"{value:.2f}".replace("-0.00", "0.00"))
    # A member first appears in the prefix that ends with it, which gives the order of visiting.
    members = list(frame.groupby("member")["prefix"].min().sort_values(kind="stable").index)
    base = alt.Chart(frame).encode(
        x=alt.X("member:N", title="member exit", sort=members, axis=alt.Axis(labelAngle=-45, grid=False)),
        y=alt.Y("prefix:O", title="exits visited", axis=alt.Axis(grid=False)),
    )
    cells = base.mark_rect(strokeWidth=1.5, cornerRadius=2).encode(
        color=_modality_colour(legend=alt.Legend(title=None, labelExpr=_label_expression(MODALITY_LABELS))),
        # The strongest cell stays pale enough for its number to be read in either theme.
        fillOpacity=alt.FillOpacity("size:Q", scale=alt.Scale(range=[0.03, 0.5]), legend=None),
        stroke=alt.condition("datum.weight < -0.005", alt.value(SERIES_COLOURS[4]), alt.value("transparent")),
        tooltip=["prefix:O", "member:N", alt.Tooltip("weight:Q", format=".3f")],
    )
    labels = base.mark_text().encode(text="text:N")
    panel = alt.layer(cells, labels).properties(width=alt.Step(46), height=alt.Step(26))
    if frame["method"].nunique() == 1:
        return panel
    frame["method"] = frame["method"].map(_name)
    return panel.facet(row=alt.Row("method:N", title=None, header=alt.Header(orient="top")))


def published(frame: pd.DataFrame) -> alt.FacetChart:
    """Draw the published operating points: accuracy against cost per video, one panel per data set.

    Args:
        frame: One row per point, as in `claims.PUBLISHED`, with the columns dataset, system, setting, accuracy
            (per cent) and gmac (per video).

    Returns:
        A chart with one column per data set and the same colours in each.
    """
    systems = _series(frame["system"])
    points = (
        alt.Chart(frame)
        .mark_point(size=90)
        .encode(
            x=alt.X("gmac:Q", title="cost (GMAC per video)"),
            y=alt.Y("accuracy:Q", title="accuracy (%)", scale=alt.Scale(zero=False)),
            color=_series_colour("system", systems, columns=3),
            shape=_series_shape("system", systems),
            tooltip=["system:N", "setting:N", *_tips(frame, accuracy="accuracy (%)", gmac="GMAC per video")],
        )
    )
    names = alt.Header(labelExpr=_label_expression(DATASET_LABELS))
    column = alt.Column("dataset:N", title=None, sort=list(DATASET_LABELS), header=names)
    return points.properties(width=300, height=260).facet(column=column).resolve_scale(y="independent")


def modality_profile(profile: pd.DataFrame) -> alt.HConcatChart:
    """Draw how much motion and residual there is by position in the GOP.

    Args:
        profile: One row per position with the columns position, motion (pixels) and residual (grey levels).

    Returns:
        Two panels, each with a scale of its own.
    """
    x = alt.X("position:Q", title="position in the GOP", axis=alt.Axis(tickMinStep=1))
    panels = []
    for name, title in (("motion", "accumulated motion (pixels)"), ("residual", "accumulated residual (grey levels)")):
        line = alt.Chart(profile).mark_line(color=MODALITY_COLOURS[name], point={"color": MODALITY_COLOURS[name]})
        tips = ["position:Q", *_tips(profile, **{name: title})]
        panels.append(
            line.encode(x=x, y=alt.Y(f"{name}:Q", title=title), tooltip=tips).properties(width=250, height=180)
        )
    return alt.hconcat(*panels)


def accuracies(summary: pd.DataFrame) -> alt.LayerChart:
    """Draw one accuracy with its interval for each modality.

    Args:
        summary: One row per modality with the columns accuracy, low and high.

    Returns:
        A point and an interval per row.
    """
    frame = _per_cent(summary, "accuracy", "low", "high")
    frame["network"] = frame["modality"].map(MODALITY_LABELS)
    base = alt.Chart(frame).encode(
        y=alt.Y("network:N", title=None, sort=list(MODALITY_LABELS.values())), color=_modality_colour(legend=None)
    )
    x = alt.X("low:Q", title="accuracy (%)", scale=alt.Scale(domain=[0, 100]))
    intervals = base.mark_rule(strokeWidth=3, opacity=0.75).encode(x=x, x2="high:Q")
    tips = ["network:N", *_tips(frame, accuracy="accuracy (%)", low="from (%)", high="to (%)")]
    points = base.mark_point(size=110).encode(x="accuracy:Q", tooltip=tips)
    return alt.layer(intervals, points).properties(width=460, height=alt.Step(34))


def accuracy_by_method(summary: pd.DataFrame) -> alt.FacetChart:
    """Draw the mean accuracy of the internal classifiers by what trained them, a panel per modality.

    Args:
        summary: One row per (modality, method), in the order of drawing, with the columns accuracy, low and high.

    Returns:
        A point and an interval per row.
    """
    frame = _per_cent(summary, "accuracy", "low", "high")
    frame["method"] = frame["method"].map(_name)
    methods = list(frame["method"].unique())
    base = alt.Chart(frame).encode(
        y=alt.Y("method:N", title=None, sort=methods, axis=alt.Axis(labelLimit=220)),
        color=_modality_colour(legend=None),
    )
    x = alt.X("low:Q", title="accuracy (%)", scale=alt.Scale(zero=False))
    intervals = base.mark_rule(strokeWidth=3, opacity=0.6).encode(x=x, x2="high:Q")
    tips = ["method:N", *_tips(frame, accuracy="accuracy (%)", low="from (%)", high="to (%)")]
    points = base.mark_point(size=70).encode(x="accuracy:Q", tooltip=tips)
    return alt.layer(intervals, points).properties(width=180, height=alt.Step(22)).facet(column=_modality_facet(frame))


def accuracy_by_prefix(ensembles: pd.DataFrame) -> alt.FacetChart:
    """Draw the accuracy of every rule by the number of exits visited, a panel per method.

    Args:
        ensembles: Counts per group with the columns method, rule, prefix, part, clips, correct; the test part is
            drawn, pooled over runs and groups. Rules of prefix 0 (late fusion of bare backbones) are lines across.

    Returns:
        A chart with one column per method.
    """
    test = ensembles[ensembles["part"] == "test"]
    pooled = test.groupby(["method", "rule", "prefix"], sort=False, as_index=False)[["correct", "clips"]].sum()
    pooled["accuracy"] = 100 * pooled["correct"] / pooled["clips"]
    fusion = pooled[pooled["prefix"] == 0].drop(columns=["method", "prefix"])
    lines = pooled[pooled["prefix"] > 0]
    across = fusion.merge(lines[["method", "prefix"]].drop_duplicates(), how="cross")
    frame = pd.concat([lines, across], ignore_index=True)
    frame["rule"] = frame["rule"].map(_name)
    frame["method"] = frame["method"].map(_name)
    present = set(frame["rule"])
    rules = [NAMES[rule] for rule in RULES if NAMES[rule] in present]
    base = alt.Chart(frame).encode(
        x=alt.X("prefix:Q", title="exits visited", axis=alt.Axis(tickMinStep=1)),
        y=alt.Y("accuracy:Q", title="accuracy (%)", scale=alt.Scale(zero=False)),
        color=_series_colour("rule", rules, columns=3),
    )
    tips = ["rule:N", "prefix:Q", *_tips(frame, accuracy="accuracy (%)")]
    points = base.mark_point(size=45).encode(shape=_series_shape("rule", rules), tooltip=tips)
    panel = alt.layer(base.mark_line(opacity=0.6), points).properties(width=290, height=260)
    return panel.facet(column=alt.Column("method:N", title=None, sort=_series(frame["method"])))


def _per_cent(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    return frame.assign(**{name: frame[name] * 100 for name in columns if name in frame.columns})


def _runs(frame: pd.DataFrame) -> pd.Series:
    return "split " + frame["split"].astype(str) + ", seed " + frame["seed"].astype(str)


def _series(column: pd.Series) -> list[str]:
    """Return the names to colour, in a fixed order for the methods that every page compares."""
    known = [NAMES[method] for method in ("ce", "pkd", "backbone")]
    names = list(dict.fromkeys(column))
    return [name for name in known if name in names] + [name for name in names if name not in known]


def _name(identifier: str) -> str:
    """Return how a method or system is called in a chart."""
    return NAMES.get(identifier, identifier.replace("_", " "))


def _stroke_legend(orient: str = "top") -> alt.Legend:
    return alt.Legend(
        title=None, orient=orient, symbolType="stroke", symbolSize=500, symbolStrokeColor=SERIES_COLOURS[0]
    )


def _series_colour(field: str, names: list[str], columns: int | None = None) -> alt.Color:
    scale = alt.Scale(domain=names, range=_cycle(SERIES_COLOURS, len(names)))
    return alt.Color(f"{field}:N", title=None, scale=scale, legend=alt.Legend(columns=columns or 0))


def _series_shape(field: str, names: list[str]) -> alt.Shape:
    return alt.Shape(f"{field}:N", title=None, scale=alt.Scale(domain=names, range=_cycle(SERIES_SHAPES, len(names))))


def _cycle(values: tuple[str, ...], count: int) -> list[str]:
    return [values[i % len(values)] for i in range(count)]


def _modality_colour(legend: alt.Legend | None) -> alt.Color:
    scale = alt.Scale(domain=list(MODALITY_COLOURS), range=list(MODALITY_COLOURS.values()))
    return alt.Color("modality:N", scale=scale, legend=legend)


def _modality_facet(frame: pd.DataFrame, labels: bool = True) -> alt.Column:
    order = [name for name in MODALITY_COLOURS if name in set(frame["modality"])]
    header = alt.Header(labels=labels, labelExpr=_label_expression(MODALITY_LABELS))
    return alt.Column("modality:N", title=None, sort=order, header=header)


def _label_expression(labels: dict, wrap: bool = False) -> str:
    table = {key: text.split() if wrap else text for key, text in labels.items()}
    return f"{json.dumps(table)}[datum.value] || datum.value"


def _tips(frame: pd.DataFrame, **titles: str) -> list[alt.Tooltip]:
    return [alt.Tooltip(f"{name}:Q", title=t, format=".4~g") for name, t in titles.items() if name in frame.columns]
