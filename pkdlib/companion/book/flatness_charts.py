"""Charts of the study of flatness: orders, spectra, slices and surfaces of the loss, internal classifiers, scenes.

Conventions are those of `charts`; loss is in nats.
"""

import altair as alt
import numpy as np
import pandas as pd

from pkdlib.companion.book import encodings
from pkdlib.companion.book.overlay import YOURS
from pkdlib.companion.flatness_controls import CONTROLS, MEASURES, PRIMARY_MEASURE
from pkdlib.companion.names import MODALITY_LABELS
from pkdlib.flatness.quadrature import Quadrature

TITLES = {"loss": "training loss", **MEASURES}
DENSITY_POINTS, DENSITY_BLUR = 200, 0.01  # the blur is a share of the span


def orders(frame: pd.DataFrame) -> alt.FacetChart:
    """Draw how much sharper one network's minimum is than the next one's, by every measure, in the committed studies.

    Args:
        frame: Of `flatness_tables.orders`, not empty.

    Returns:
        A panel a study and control: two ratios a measure, each with its interval. Right of 1 both are as the paper
        says.
    """
    drawn = frame.assign(study=(frame["data"] + ": " + frame["control"]).map(encodings.heading))
    drawn[["estimate", "low", "high"]] = np.exp(drawn[["estimate", "low", "high"]])
    drawn = drawn[["study", "measure", "pair", "verdict", "estimate", "low", "high"]]
    pairs = list(dict.fromkeys(drawn["pair"]))
    names = alt.Axis(labelLimit=200, minExtent=165, grid=True)  # a reader's letters may be wider than those drawn with
    base = alt.Chart(drawn).encode(
        y=alt.Y("measure:N", title=None, sort=list(MEASURES.values()), axis=names),
        yOffset=alt.YOffset("pair:N", sort=pairs),
        color=alt.Color(
            "verdict:N",
            title=None,
            scale=alt.Scale(domain=list(encodings.VERDICT_COLOURS), range=list(encodings.VERDICT_COLOURS.values())),
            legend=alt.Legend(orient="top"),
        ),
    )
    x = alt.X(
        "low:Q",
        title="ratio of sharpness (log scale)",
        **encodings.logarithmic(tickCount=4),
    )
    intervals = base.mark_rule(strokeWidth=2, opacity=0.75).encode(x=x, x2="high:Q")
    points = base.mark_point(size=60).encode(
        x="estimate:Q",
        shape=encodings.series_shape("pair", pairs),
        tooltip=["pair:N", *encodings.tips(drawn, estimate="ratio", low="from", high="to"), "verdict:N"],
    )
    one = alt.Chart(drawn).mark_rule(opacity=0.5).encode(x=alt.datum(1))
    return (
        alt.layer(one, intervals, points)
        .properties(width=250, height=alt.Step(13))
        .facet(
            facet=alt.Facet(
                "study:N",
                title=None,
                header=alt.Header(labelExpr=encodings.LINES),
                sort=list(dict.fromkeys(drawn["study"])),
            ),
            columns=2,
        )
    )


def spectrum(frame: pd.DataFrame) -> alt.FacetChart:
    """Draw the density of each network's Hessian eigenvalues, blurred to Gaussians, mean over runs and probes.

    Args:
        frame: The table `flatness_spectrum`.

    Returns:
        A panel a modality, on common scales; the density is logarithmic.
    """
    low, high = frame["node"].min(), frame["node"].max()
    width = DENSITY_BLUR * (high - low)
    grid = np.linspace(low - 3 * width, high + 3 * width, DENSITY_POINTS)
    parts = []
    for modality, rows in frame.groupby("modality"):
        probes = len(rows[["split", "seed", "probe"]].drop_duplicates())
        seen = Quadrature(*(rows[name].to_numpy().reshape(probes, -1) for name in ("node", "weight")))
        density, _ = seen.density(grid, width)
        parts.append(pd.DataFrame({"modality": modality, "eigenvalue": grid, "density": density}))
    drawn = pd.concat(parts)
    drawn = drawn[drawn["density"] > 1e-8 * drawn["density"].max()]
    return (
        alt.Chart(drawn)
        .mark_line()
        .encode(
            x=alt.X("eigenvalue:Q", title="eigenvalue"),
            y=alt.Y("density:Q", title="density (log scale)", **encodings.logarithmic(tickCount=5)),
            color=encodings.modality_colour(),
            tooltip=encodings.tips(drawn, eigenvalue="eigenvalue", density="density"),
        )
        .properties(width=190, height=200)
        .facet(column=encodings.modality_facet(drawn))
    )


def by_measure(frame: pd.DataFrame) -> alt.LayerChart:
    """Draw one measure of the networks at a time: a point a run, a bar for the mean, on a logarithmic scale.

    Menus choose networks and measure. A switch gives input curvature by the input itself, and not by its standard
    deviation. Values that are not above 0 are left out.

    Args:
        frame: The table `flatness` of several studies, with the columns study and dataset; a reader's own run, whose
            study is `overlay.YOURS`, is drawn pale over those of its data set and control, and by itself.

    Returns:
        The chart; larger is sharper.
    """
    where = ["study", "dataset", "control", "split", "seed", "modality"]
    deviation = frame[frame["measure"] == "input_deviation"].set_index(where)["value"].rename("deviation")
    drawn = frame[frame["measure"].isin(TITLES) & (frame["value"] > 0)].join(deviation, on=where)
    by_input = drawn["measure"].str.startswith("input_")
    drawn["by_unit"] = drawn["value"] / drawn["deviation"].where(by_input, 1.0) ** 2
    drawn["measure"] = drawn["measure"].map(TITLES)
    drawn["run"] = encodings.run_names(drawn)
    drawn["networks"] = drawn["study"] + ": " + drawn["control"].map(lambda name: CONTROLS[name].title)
    own = drawn[drawn["study"] == YOURS]
    committed = drawn[drawn["study"] != YOURS]
    alike = own.drop(columns="networks").merge(committed[["networks", "dataset", "control"]].drop_duplicates())
    drawn = pd.concat([committed, alike, own], ignore_index=True)
    rank = drawn.groupby([*where[:3], "networks", "modality"])["run"].rank(method="dense")
    drawn["shift"] = rank.where(drawn["study"] != YOURS, 0.0)

    drawn["yours"] = drawn["study"] == YOURS
    # A page holds what is drawn, and no more.
    drawn = drawn[["networks", "measure", "modality", "run", "shift", "value", "by_unit", "yours"]]

    names = list(dict.fromkeys(drawn["networks"]))
    networks = alt.param("networks", value=names[0], bind=alt.binding_select(options=names, name="Networks: "))
    measures = [title for title in TITLES.values() if title in set(drawn["measure"])]
    first = TITLES[PRIMARY_MEASURE] if TITLES[PRIMARY_MEASURE] in measures else measures[0]
    measure = alt.param("measure", value=first, bind=alt.binding_select(options=measures, name="Measure: "))
    plain = alt.param("plain", value=False, bind=alt.binding_checkbox(name="Input in its own unit: "))
    base = (
        alt.Chart(drawn)
        .transform_filter("datum.networks === networks && datum.measure === measure")
        .transform_calculate(shown="plain ? datum.by_unit : datum.value")
        .encode(
            x=alt.X(
                "modality:N",
                title=None,
                sort=list(encodings.MODALITY_COLOURS),
                axis=alt.Axis(labelAngle=0, labelExpr=encodings.label_expression(MODALITY_LABELS)),
            ),
            color=encodings.modality_colour(),
        )
    )
    scale = encodings.logarithmic(tickCount=5)
    tips = ["run:N", alt.Tooltip("shown:Q", title="value", format=".4~g")]
    pale = alt.condition("datum.yours", alt.value(0.4), alt.value(0.9))
    points = base.mark_point(size=55).encode(
        y=alt.Y("shown:Q", title="value (log scale; higher is sharper)", **scale),
        xOffset=alt.XOffset("shift:Q"),
        opacity=pale,
        tooltip=tips,
    )
    means = base.mark_tick(thickness=3, size=70, opacity=0.6).encode(
        y=alt.Y("mean(shown):Q", **scale), detail="yours:N"
    )
    return alt.layer(means, points).properties(width=420, height=240).add_params(networks, measure, plain)


def slices(frame: pd.DataFrame) -> alt.LayerChart:
    """Draw the loss along random directions: the median, and the band of all directions and runs of a study.

    A slider sets how far to look, and a switch counts the loss from where each network was trained to.

    Args:
        frame: The table `flatness_slices`.

    Returns:
        All networks in one panel.
    """
    lines = [*encodings.kept(frame), "split", "seed", "modality", "direction"]
    ends = frame[frame["position"] == 0].set_index(lines)["loss"].rename("end")
    rises = frame.join(ends, on=lines).assign(rise=lambda rows: rows["loss"] - rows["end"])
    grouped = rises.groupby([*encodings.kept(frame), "modality", "position"])
    parts = [
        grouped[name].agg(low="min", middle="median", high="max").reset_index().assign(rise=name == "rise")
        for name in ("loss", "rise")
    ]
    far = float(frame["position"].abs().max())
    radius = alt.param(
        "radius", value=far, bind=alt.binding_range(min=far / 5, max=far, step=far / 5, name="How far to look: ")
    )
    rise = alt.param("rise", value=False, bind=alt.binding_checkbox(name="Count from each minimum: "))
    base = (
        alt.Chart(pd.concat(parts))
        .transform_filter("datum.rise === rise && abs(datum.position) <= radius * 1.001")
        .encode(x=alt.X("position:Q", title="position (norms of the filters)"), color=encodings.modality_legend(frame))
    )
    y = alt.Y("low:Q", title="training loss (nats)")
    band = base.mark_area(opacity=0.2).encode(
        y=y, y2="high:Q", fill=encodings.modality_colour(), stroke=alt.value(None)
    )
    tips = ["position:Q", *encodings.tips(parts[0], low="lowest", middle="median", high="highest")]
    line = base.mark_line(point=True).encode(y="middle:Q", tooltip=tips)
    return alt.layer(band, line).properties(width=420, height=240).add_params(radius, rise)


def surface(frame: pd.DataFrame) -> alt.FacetChart:
    """Draw the loss on a plane of two random directions, all networks on one scale.

    Args:
        frame: The table `flatness_surface`.

    Returns:
        A heat map a modality.
    """
    axes = {"axis": alt.Axis(values=[], title=None)}
    tips = ["first:Q", "second:Q", *encodings.tips(frame, loss="training loss (nats)")]
    return (
        alt.Chart(frame)
        .mark_rect()
        .encode(
            x=alt.X("second:O", **axes),
            y=alt.Y("first:O", sort="descending", **axes),
            color=alt.Color("loss:Q", title="training loss (nats)", scale=alt.Scale(scheme="viridis", type="sqrt")),
            tooltip=tips,
        )
        .properties(width=180, height=180)
        .facet(column=encodings.modality_facet(frame))
    )


def exits(frame: pd.DataFrame) -> alt.FacetChart:
    """Draw how much sharper the internal classifiers trained by cross-entropy are than those by PKD.

    Args:
        frame: The table `flatness_exits`.

    Returns:
        A panel a modality: the ratio of each measure, a point a run and exit.
    """
    wide = frame.pivot(index=["split", "seed", "modality", "exit", "measure"], columns="method", values="value")
    drawn = (wide["ce"] / wide["pkd"]).rename("ratio").reset_index()
    drawn = drawn[(drawn["ratio"] > 0) & drawn["measure"].isin(MEASURES)]
    drawn["measure"] = drawn["measure"].map(MEASURES)
    base = alt.Chart(drawn).encode(
        y=alt.Y("measure:N", title=None, sort=list(MEASURES.values()), axis=alt.Axis(labelLimit=220)),
        color=encodings.modality_colour(),
    )
    x = alt.X("ratio:Q", title="CE / PKD (log scale)", **encodings.logarithmic(tickCount=4))
    tips = ["exit:O", *encodings.tips(drawn, ratio="ratio")]
    points = base.mark_point(size=40, opacity=0.6).encode(x=x, tooltip=tips)
    middle = base.mark_tick(thickness=3, size=14).encode(x="median(ratio):Q")
    return (
        alt.layer(points, middle)
        .properties(width=160, height=alt.Step(22))
        .facet(column=encodings.modality_facet(drawn))
    )


def by_scene_bias(frame: pd.DataFrame) -> alt.LayerChart:
    """Draw a measure of the networks by how often a scene tells the action, with a menu of the measures.

    Args:
        frame: The table `flatness_biases`.

    Returns:
        The mean over runs.
    """
    drawn = frame[frame["measure"].isin(TITLES)].copy()
    drawn["measure"] = drawn["measure"].map(TITLES)
    menu = alt.binding_select(options=list(TITLES.values()), name="Measure: ")
    base = (
        alt.Chart(drawn)
        .transform_filter("datum.measure === measure")
        .encode(
            x=alt.X("scene_bias:Q", title="scene bias", axis=alt.Axis(tickCount=5)),
            color=encodings.modality_legend(drawn),
        )
    )
    y = alt.Y("mean(value):Q", title="value (higher is sharper)", axis=alt.Axis(tickCount=5))
    return (
        alt.layer(base.mark_line().encode(y=y), base.mark_point(size=40).encode(y=y))
        .properties(width=420, height=220)
        .add_params(alt.param("measure", value=TITLES["loss"], bind=menu))
    )
