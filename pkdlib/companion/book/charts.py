"""Charts of the companion's tables: training, exits, flatness, published points.

Each function takes a tidy frame (its docstring names the columns) and returns an Altair chart, which `show`
displays. Accuracies that were measured here are fractions in 0..1 in every frame and per cent on every axis;
costs are GMAC (1e9 multiply-accumulates).
"""

import altair as alt
import numpy as np
import pandas as pd

from pkdlib.companion.book import encodings
from pkdlib.companion.book.display import INK, cards, folded, photograph, picture, show, table
from pkdlib.companion.book.encodings import MODALITY_COLOURS, SERIES_COLOURS
from pkdlib.companion.names import (
    DATASET_LABELS,
    EXIT_LABELS,
    KIND_NAMES,
    METHOD_NAMES,
    MODALITY_LABELS,
    SERIES_NAMES,
)
from pkdlib.distillation.schedules import METHODS

__all__ = [
    "accuracies",
    "accuracy_by_exit",
    "accuracy_by_method",
    "cards",
    "folded",
    "gain_by_advantage",
    "modality_profile",
    "photograph",
    "picture",
    "priced_exits",
    "published",
    "show",
    "table",
    "training_curves",
]


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
        frame["run"] = encodings.run_names(frame)
        frame["curve"] = frame["run"] + " " + frame["part"]
        base = alt.Chart(frame).encode(
            x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1)),
            color=encodings.modality_colour(),
            strokeDash=alt.StrokeDash(
                "part:N",
                title=None,
                scale=alt.Scale(domain=["training", "validation"], range=[[5, 3], [1, 0]]),
                legend=encodings.stroke_legend(),
            ),
        )
        runs = base.mark_line(strokeWidth=1, opacity=0.4).encode(
            y=alt.Y("value:Q", title=title, scale=alt.Scale(zero=measure == "accuracy")),
            detail="curve:N",
            tooltip=["run:N", "part:N", "epoch:Q", alt.Tooltip("value:Q", format=".3~f", title=title)],
        )
        mean = base.mark_line().encode(y=alt.Y("mean(value):Q", title=title))
        layered = alt.layer(runs, mean).properties(width=185, height=140)
        rows.append(layered.facet(column=encodings.modality_facet(frame, labels=measure == "loss")))
    return alt.vconcat(*rows, spacing=10)


def accuracy_by_exit(summary: pd.DataFrame) -> alt.FacetChart:
    """Draw the accuracy at every exit, one panel per modality and one line per training method.

    Args:
        summary: One row per (modality, method, exit) with the column accuracy and, where an interval is
            known, low and high. Exits 1 to 3 are internal classifiers (ICs), exit 4 is the network's own end.

    Returns:
        A chart with one column per modality.
    """
    frame = encodings.per_cent(summary, "accuracy", "low", "high")
    frame["method"] = frame["method"].map(SERIES_NAMES)
    methods = encodings.series(frame["method"])
    # Neighbouring methods stand side by side so that their intervals do not hide each other.
    place = {name: (i - (len(methods) - 1) / 2) * 0.09 for i, name in enumerate(methods)}
    frame["place"] = frame["exit"] + frame["method"].map(place)
    frame["exit"] = frame["exit"].map(EXIT_LABELS)
    axis = alt.Axis(values=list(EXIT_LABELS), labelExpr=encodings.label_expression(EXIT_LABELS))
    base = alt.Chart(frame).encode(
        x=alt.X("place:Q", title="exit", axis=axis, scale=alt.Scale(domain=[0.7, 4.3], nice=False)),
        y=alt.Y("accuracy:Q", title="accuracy (%)", scale=alt.Scale(zero=False, nice=True)),
        color=encodings.series_colour("method", methods),
    )
    layers = [base.mark_line(opacity=0.6)]
    if {"low", "high"} <= set(frame.columns):
        layers.append(base.mark_rule(strokeWidth=1.5).encode(y="low:Q", y2="high:Q"))
    tips = ["method:N", "exit:N", *encodings.tips(frame, accuracy="accuracy (%)", low="from (%)", high="to (%)")]
    layers.append(base.mark_point().encode(shape=encodings.series_shape("method", methods), tooltip=tips))
    return alt.layer(*layers).properties(width=190, height=220).facet(column=encodings.modality_facet(frame))


def priced_exits(cost: pd.DataFrame, segments: int = 1) -> alt.LayerChart:
    """Draw networks with their exits as lengths of cost, with a menu of the kinds of exits and a number of segments.

    Args:
        cost: One row per (kind, modality, exit) with the columns gmac (to leave here, with every exit passed), gmac_ic
            (this exit alone; 0 at the network's end) and gmac_bare (the network to its end, without exits). Rows of
            several runs are averaged.
        segments: Of a clip, in these costs; all of them are paid once a segment.

    Returns:
        A chart with a row for each network: its pieces, dark, each followed by the exit behind it, pale.
    """
    keys, costs = ["kind", "modality", "exit"], ["gmac", "gmac_ic", "gmac_bare"]
    frame = cost.groupby(keys, as_index=False, sort=False)[costs].mean()
    frame[costs] /= segments
    frame["classifier"] = frame["kind"].map(KIND_NAMES)
    frame["leaves"] = frame["exit"].map(EXIT_LABELS)
    passed = frame.groupby(["kind", "modality"])["gmac"].shift(fill_value=0)
    begins_exit = frame["gmac"] - frame["gmac_ic"]
    pieces = pd.concat(
        [
            frame.assign(piece="network", begins=passed, ends=begins_exit),
            frame.assign(piece="exit", begins=begins_exit, ends=frame["gmac"]),
        ]
    )
    kinds = list(dict.fromkeys(frame["classifier"]))
    menu = alt.param("kind", value=kinds[0], bind=alt.binding_select(options=kinds, name="Exits: "))
    slider = alt.binding_range(min=1, max=max(8, segments), step=1, name="Segments: ")
    count = alt.param("segments", value=segments, bind=slider)

    names = alt.Axis(labelExpr=encodings.label_expression(MODALITY_LABELS), minExtent=110)

    def base(rows: pd.DataFrame, begins: str, ends: str) -> alt.Chart:
        return (
            alt.Chart(rows)
            .transform_filter("datum.classifier === kind")
            .transform_calculate(low=f"datum.{begins} * segments", high=f"datum.{ends} * segments")
            .encode(
                y=alt.Y("modality:N", title=None, axis=names),
                color=encodings.modality_colour(),
            )
        )

    title = "GMAC of a clip (tall line: the bare network)"
    x = alt.X("low:Q", title=title, scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=6))
    tips = ["classifier:N", "leaves:N", "piece:N", alt.Tooltip("high:Q", title="GMAC up to here", format=".3~g")]
    dark = alt.Opacity("piece:N", legend=None, scale=alt.Scale(domain=["network", "exit"], range=[0.9, 0.35]))
    bars = base(pieces, "begins", "ends").mark_bar(height=20).encode(x=x, x2="high:Q", opacity=dark, tooltip=tips)
    leave = base(frame, "gmac", "gmac").mark_tick(height=28, thickness=2).encode(x=x, tooltip=tips[:2] + tips[3:])
    numbers = leave.mark_text(dy=-29, align="center").encode(text="exit:N", color=alt.value(INK))
    bare = base(frame, "gmac_bare", "gmac_bare").mark_tick(height=44, thickness=2).encode(x=x, color=alt.value(INK))
    chart = alt.layer(bars, bare, leave, numbers).properties(width=460, height=alt.Step(58))
    return chart.add_params(*([menu] if len(kinds) > 1 else [alt.param("kind", value=kinds[0])]), count)


def published(frame: pd.DataFrame) -> alt.FacetChart:
    """Draw the published operating points: accuracy against cost per video, one panel per data set.

    Args:
        frame: One row per point, as in `claims.PUBLISHED`, with the columns dataset, system, setting, accuracy
            (per cent) and gmac (per video).

    Returns:
        A chart with one column per data set and the same colours in each.
    """
    systems = encodings.series(frame["system"])
    points = (
        alt.Chart(frame)
        .mark_point(size=90)
        .encode(
            x=alt.X("gmac:Q", title="cost (GMAC per video)"),
            y=alt.Y("accuracy:Q", title="accuracy (%)", scale=alt.Scale(zero=False)),
            color=encodings.series_colour("system", systems, columns=3),
            shape=encodings.series_shape("system", systems),
            tooltip=["system:N", "setting:N", *encodings.tips(frame, accuracy="accuracy (%)", gmac="GMAC per video")],
        )
    )
    names = alt.Header(labelExpr=encodings.label_expression(DATASET_LABELS))
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
        tips = ["position:Q", *encodings.tips(profile, **{name: title})]
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
    frame = encodings.per_cent(summary, "accuracy", "low", "high")
    frame["network"] = frame["modality"].map(MODALITY_LABELS)
    base = alt.Chart(frame).encode(
        y=alt.Y("network:N", title=None, sort=list(MODALITY_LABELS.values())),
        color=encodings.modality_colour(),
    )
    x = alt.X("low:Q", title="accuracy (%)", scale=alt.Scale(domain=[0, 100]))
    intervals = base.mark_rule(strokeWidth=3, opacity=0.75).encode(x=x, x2="high:Q")
    tips = ["network:N", *encodings.tips(frame, accuracy="accuracy (%)", low="from (%)", high="to (%)")]
    points = base.mark_point(size=110).encode(x="accuracy:Q", tooltip=tips)
    return alt.layer(intervals, points).properties(width=460, height=alt.Step(34))


def accuracy_by_appearance(summary: pd.DataFrame) -> alt.LayerChart:
    """Draw the accuracy of each network by how often place and prop go with the action.

    Args:
        summary: One row per (appearance, modality), with the columns accuracy, low and high.

    Returns:
        A line and a band for each modality.
    """
    frame = encodings.per_cent(summary, "accuracy", "low", "high")
    base = alt.Chart(frame).encode(
        x=alt.X("appearance:Q", title="appearance", axis=alt.Axis(tickCount=5)),
        color=encodings.modality_legend(frame),
    )
    y = {"title": "test accuracy (%)", "scale": alt.Scale(domain=[0, 100])}
    band = base.mark_area(opacity=0.15, clip=True).encode(y=alt.Y("low:Q", **y), y2="high:Q")
    line = base.mark_line().encode(y=alt.Y("accuracy:Q", **y))
    tips = ["appearance:Q", *encodings.tips(frame, accuracy="accuracy (%)", low="from (%)", high="to (%)")]
    points = base.mark_point(size=50).encode(y=alt.Y("accuracy:Q", **y), tooltip=tips)
    return alt.layer(band, line, points).properties(width=420, height=240)


def accuracy_by_method(summary: pd.DataFrame) -> alt.FacetChart:
    """Draw the mean accuracy of the internal classifiers by what trained them, a panel per modality.

    Args:
        summary: One row per (modality, method), in the order of drawing, with the columns accuracy, low and high.

    Returns:
        A point and an interval per row.
    """
    frame = encodings.per_cent(summary, "accuracy", "low", "high")
    frame["method"] = frame["method"].map(SERIES_NAMES)
    methods = list(frame["method"].unique())
    base = alt.Chart(frame).encode(
        y=alt.Y("method:N", title=None, sort=methods, axis=alt.Axis(labelLimit=220)),
        color=encodings.modality_colour(),
    )
    x = alt.X("low:Q", title="accuracy (%)", scale=alt.Scale(zero=False))
    intervals = base.mark_rule(strokeWidth=3, opacity=0.6).encode(x=x, x2="high:Q")
    tips = ["method:N", *encodings.tips(frame, accuracy="accuracy (%)", low="from (%)", high="to (%)")]
    points = base.mark_point(size=70).encode(x="accuracy:Q", tooltip=tips)
    return (
        alt.layer(intervals, points)
        .properties(width=180, height=alt.Step(22))
        .facet(column=encodings.modality_facet(frame))
    )


def gain_by_advantage(points: pd.DataFrame, lines: pd.DataFrame) -> alt.LayerChart:
    """Draw what learning from a teacher gains over labels against how much better than the student it is.

    Args:
        points: Of `advantages.points`; an interval without end is not drawn, a long one as far as the picture reaches.
        lines: Of `advantage_tables.panels`; there may be none.

    Returns:
        A point and the interval of its gain per row; each line with the band of its interval.
    """
    frame = points.replace([np.inf, -np.inf], np.nan)
    several = [name for name in frame["method"].unique() if name == "pkd" or name not in METHODS]
    names = {name: f"{METHOD_NAMES[name]} (its last teacher)" for name in ("pkd", *several)}
    frame["taught by"] = frame["method"].map(names).fillna("one teacher")
    # Several hundred points: a page carries what is drawn or said, to a hundredth of a point.
    unused = ["source", "kind", "method", "advantage_error", "gain_error"]
    frame, lines = frame.drop(columns=unused, errors="ignore").round(2), lines.round(2)
    for name in ("student", "teacher"):
        frame[name] = frame[name].map(MODALITY_LABELS)
    frame["exit"] = frame["exit"].map(EXIT_LABELS)
    studies, shapes, kinds = (
        list(dict.fromkeys(column)) for column in (frame["data"], lines["shape"], ("one teacher", *names.values()))
    )
    x = alt.X("advantage:Q", title="teacher's advantage (percentage points)")
    # The picture is as high as the points and lines need: a study of two seeds has intervals far longer than that.
    shown = pd.concat([frame["gain"], lines["estimate"]])
    scale = alt.Scale(domain=[shown.min() - 3, shown.max() + 3], nice=True)
    y_title = "gain over labels (percentage points)"
    zero = alt.Chart(pd.DataFrame({"at": [0.0]})).mark_rule(opacity=0.5)
    base = alt.Chart(frame).encode(x=x, color=encodings.series_colour("data", studies, columns=2))
    intervals = base.mark_rule(strokeWidth=1, opacity=0.3, clip=True).encode(
        y=alt.Y("gain_low:Q", scale=scale, title=y_title), y2="gain_high:Q"
    )
    tips = ["data:N", "taught by:N", "student:N", "exit:N", "teacher:N"]
    tips += encodings.tips(
        frame,
        advantage="advantage (points)",
        advantage_low="from",
        advantage_high="to",
        gain="gain (points)",
        gain_low="gain from",
        gain_high="gain to",
    )
    marks = base.mark_point(size=45).encode(
        y=alt.Y("gain:Q", scale=scale, title=y_title),
        shape=encodings.series_shape("taught by", kinds).legend(
            orient="bottom", columns=1, symbolFillColor=SERIES_COLOURS[0], symbolStrokeWidth=0
        ),
        tooltip=tips,
    )
    fitted = alt.Chart(lines).encode(x=x)
    band = fitted.mark_area(opacity=0.12, color=INK, clip=True).encode(
        y=alt.Y("low:Q", scale=scale), y2="high:Q", detail="shape:N"
    )
    dashes = alt.Scale(domain=shapes, range=[[1, 0], [5, 3]][: len(shapes)])
    line = fitted.mark_line(color=INK).encode(
        y=alt.Y("estimate:Q", scale=scale),
        strokeDash=alt.StrokeDash("shape:N", scale=dashes, legend=encodings.stroke_legend("bottom", columns=1)),
    )
    below, above = ([band], [line]) if len(lines) else ([], [])
    axes = [zero.encode(x="at:Q"), zero.encode(y="at:Q")]
    return alt.layer(*axes, *below, intervals, marks, *above).properties(width=330, height=320)
