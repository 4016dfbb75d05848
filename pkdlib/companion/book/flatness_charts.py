"""Charts of the study of flatness: orders, spectra, slices and surfaces of the loss, internal classifiers, scenes.

Conventions are those of `charts`; loss is in nats.
"""

import altair as alt
import numpy as np
import pandas as pd

from pkdlib.companion.book import encodings
from pkdlib.companion.flatness_controls import MEASURES
from pkdlib.flatness.quadrature import Quadrature

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
    pairs = list(dict.fromkeys(drawn["pair"]))
    base = alt.Chart(drawn).encode(
        y=alt.Y("measure:N", title=None, sort=list(MEASURES.values()), axis=alt.Axis(labelLimit=200, grid=True)),
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


def slices(frame: pd.DataFrame) -> alt.FacetChart:
    """Draw the loss along random directions: the median, and the band of all directions and runs of a study.

    Args:
        frame: The table `flatness_slices`.

    Returns:
        A panel a modality, on common scales.
    """
    grouped = frame.groupby([*encodings.kept(frame), "modality", "position"])["loss"]
    drawn = grouped.agg(low="min", middle="median", high="max").reset_index()
    base = alt.Chart(drawn).encode(
        x=alt.X("position:Q", title="position (norms of the filters)"), color=encodings.modality_colour()
    )
    y = alt.Y("low:Q", title="training loss (nats)")
    band = base.mark_area(opacity=0.25).encode(
        y=y, y2="high:Q", fill=encodings.modality_colour(), stroke=alt.value(None)
    )
    tips = ["position:Q", *encodings.tips(drawn, low="lowest", middle="median", high="highest")]
    line = base.mark_line(point=True).encode(y="middle:Q", tooltip=tips)
    return alt.layer(band, line).properties(width=190, height=200).facet(column=encodings.modality_facet(drawn))


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


def by_scene_bias(frame: pd.DataFrame) -> alt.FacetChart:
    """Draw the measures of the networks by how often a scene tells the action.

    Args:
        frame: The table `flatness_biases`.

    Returns:
        A panel for the loss and each measure, with a scale of its own: the mean over runs.
    """
    titles = {"loss": "training loss", **MEASURES}
    drawn = frame[frame["measure"].isin(titles)].copy()
    drawn["measure"] = drawn["measure"].map(titles)
    base = alt.Chart(drawn).encode(x=alt.X("scene_bias:Q", title="scene bias"), color=encodings.modality_legend(drawn))
    y = alt.Y("mean(value):Q", title=None, axis=alt.Axis(tickCount=4))
    return (
        alt.layer(base.mark_line().encode(y=y), base.mark_point(size=40).encode(y=y))
        .properties(width=165, height=130)
        .facet(facet=alt.Facet("measure:N", title=None, sort=list(titles.values())), columns=3)
        .resolve_scale(y="independent")
    )
