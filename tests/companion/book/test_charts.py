import base64
import io
import itertools
import json
import re
from html.parser import HTMLParser
from unittest.mock import ANY
from xml.etree import ElementTree

import altair as alt
import av
import numpy as np
import pandas as pd
import pytest

from pkdlib.companion.book import (
    cascade_charts,
    charts,
    diagrams,
    display,
    encodings,
    flatness_charts,
    overlay,
    verdict_charts,
)
from pkdlib.companion.claims import claims
from pkdlib.distillation.schedules import METHODS

SVG = "{http://www.w3.org/2000/svg}"
MODALITIES = ["iframe", "motion", "residual"]
# The book's page colours in light and in dark (sphinx-book-theme).
BACKGROUNDS = {"light": "#ffffff", "dark": "#121212"}


def _runs(**columns):
    """A row for each of two runs and three modalities; a column is a value or a function of (seed, modality)."""
    rows = []
    for seed, modality in itertools.product(range(2), range(3)):
        values = {name: v(seed, modality) if callable(v) else v for name, v in columns.items()}
        rows.append({"split": 0, "seed": seed, "modality": MODALITIES[modality], **values})
    return pd.DataFrame(rows)


def _curves():
    epochs = [
        _runs(
            epoch=epoch,
            train_loss=lambda s, m, e=epoch: 2.0 / e + s * 0.1,
            train_accuracy=0.2 * epoch,
            validation_loss=lambda s, m, e=epoch: 2.5 / e + m * 0.1,
            validation_accuracy=0.15 * epoch,
        )
        for epoch in (1, 2, 3)
    ]
    return pd.concat(epochs)


def _summary():
    rows = [
        (m, k, e, 0.2 * e, 0.2 * e - 0.1, 0.2 * e + 0.1) for m in MODALITIES for k in ("pkd", "ce") for e in (1, 2, 3)
    ]
    rows += [(m, "backbone", 4, 0.8, 0.7, 0.9) for m in MODALITIES]
    return pd.DataFrame(rows, columns=["modality", "method", "exit", "accuracy", "low", "high"])


def _differences():
    rows = [
        ("IC 1", 2.0, 0.5, 3.5, "holds"),
        ("IC 2", -1.0, -2.0, 0.5, "does not hold"),
        ("IC 3", 0.4, -1.0, 2.0, "undecided"),
        ("IC 4", np.nan, np.nan, np.nan, "not measured"),
    ]
    frame = pd.DataFrame(rows, columns=["label", "estimate", "low", "high", "verdict"])
    return frame.assign(claim="A claim", dataset="x")


def _early_exit():
    rows = [
        (0, 0, "a", 0.5, 1.0, 0.50, 100),
        (0, 1, "a", 0.5, 2.0, 0.80, 300),
        (0, 0, "b", 0.5, 1.5, 0.55, 100),
        (0, 0, "c", 1.0, 3.0, 0.60, 100),
    ]
    return pd.DataFrame(rows, columns=["split", "seed", "series", "setting", "gmac", "accuracy", "clips"])


def _points():
    rows = [("a", 0.5, 1.0, 0.5, 0.4, 0.6), ("a", 1.0, 2.0, 0.9, 0.8, 1.0), ("b", 1.0, 1.5, 0.3, 0.2, 0.4)]
    return pd.DataFrame(rows, columns=["system", "setting", "gmac", "accuracy", "low", "high"])


def _front():
    return cascade_charts.front(_points(), "gmac", "cost (GMAC per clip)")


def _rules():
    rows = [(c, r, 0.5, 0.4, 0.6) for c in ("light", "paper") for r in ("WISE", "uniform mean")]
    return pd.DataFrame(rows, columns=["cascade", "rule", "accuracy", "low", "high"])


def _switches():
    rows = [(g, s, "percentage points", 1.0, -1.0, 3.0) for g in ("x", "y") for s in ("clean", "all together")]
    return pd.DataFrame(rows, columns=["gain", "switch", "unit", "difference", "low", "high"])


def _choices():
    told = {"clean": 1.0, "one": 3.0, "two": 0.5, "all together": 4.0}
    rows = [(g, s, "percentage points", value, value - 1, value + 1) for g in ("x", "y") for s, value in told.items()]
    rows.append(("saved", "clean", "%", 20.0, 19.0, 21.0))
    return pd.DataFrame(rows, columns=["gain", "switch", "unit", "difference", "low", "high"])


def _cost():
    exits = [(1, 1.5, 0.5), (2, 2.6, 0.6), (3, 3.9, 0.7), (4, 4.8, 0.0)]
    return pd.concat([_runs(kind="light", exit=e, gmac=g, gmac_ic=i, gmac_bare=3.0) for e, g, i in exits])


def _flatness():
    measured = [("average_sharpness", 1.0), ("input_trace", 8.0), ("input_deviation", 2.0)]
    parts = [
        _runs(study=study, dataset="here", control="same", measure=measure, value=value * times)
        for study, times in (("a study", 1), (overlay.YOURS, 3))
        for measure, value in measured
    ]
    return pd.concat(parts, ignore_index=True)


def _orders():
    rows = [
        ("marionette (full)", "one recipe", measure, pair, 0.3, 0.1, 0.5, "holds")
        for measure in ("Hessian trace", "Fisher-Rao norm")
        for pair in ("motion / residual", "residual / iframe")
    ]
    names = ["data", "control", "measure", "pair", "estimate", "low", "high", "verdict"]
    return pd.DataFrame(rows, columns=names)


def _spectrum():
    return pd.concat([_runs(probe=k, node=lambda s, m, k=k: k * (m + 1.0), weight=0.5) for k in (0, 1)])


def _slices():
    places = (-1.0, 0.0, 1.0)
    return pd.concat([_runs(direction=0, position=x, loss=lambda s, m, x=x: 0.1 + x * x * (m + 1)) for x in places])


def _surface():
    rows = [(m, a, b, 0.1 + a * a + b * b) for m in ("iframe", "motion") for a in (-1, 0, 1) for b in (-1, 0, 1)]
    return pd.DataFrame(rows, columns=["modality", "first", "second", "loss"])


def _exit_flatness():
    both = [_runs(method=m, exit=1, measure="trace", value=v) for m, v in (("ce", 2.0), ("pkd", 1.0))]
    return pd.concat(both)


def _biases():
    return pd.concat([_runs(scene_bias=b, measure="trace", value=lambda s, m, b=b: b + m) for b in (0.3, 0.8)])


def _weights():
    members = ["residual-1", "residual-2", "motion-1"]
    rows = [(0, 0, "pkd", p, members[i], 0.5 - 0.3 * i) for p in (1, 2, 3) for i in range(p)]
    return pd.DataFrame(rows, columns=["split", "seed", "method", "prefix", "member", "weight"])


def _published():
    return pd.DataFrame([vars(result) | {"gmac": result.gmac} for result in claims.PUBLISHED])


def _ensembles():
    rows = [
        ("ce" if prefix % 2 else "pkd", rule, prefix, "test", group, 10, 3 + prefix)
        for prefix in (1, 2, 3, 4)
        for rule in ("wise", "uniform", "last")
        for group in ("a", "b")
    ]
    rows += [("backbone", "late_fitted", 0, "test", "a", 10, 7), ("backbone", "late_equal", 0, "test", "a", 10, 6)]
    table = pd.DataFrame(rows, columns=["method", "rule", "prefix", "part", "group", "clips", "correct"])
    return pd.concat([table.assign(kind="paper"), table.assign(kind="light", correct=0)])


def _profile():
    return pd.DataFrame({"position": [0, 1, 2], "motion": [0.0, 1.5, 2.0], "residual": [0.0, 3.0, 5.0]})


def _ends():
    return pd.DataFrame({"modality": MODALITIES, "accuracy": 0.5, "low": 0.4, "high": [0.6, 0.7, 0.8]})


def _methods():
    rows = [(m, k, 0.5, 0.4, 0.6) for m in MODALITIES for k in ("cross-entropy", "PKD")]
    return pd.DataFrame(rows, columns=["modality", "method", "accuracy", "low", "high"])


def _gains():
    rows = [
        ("here", "light", m, 1, k, t, x, y)
        for m, k, t, x, y in (("motion", "iframe", "iframe", -30.0, -8.0), ("iframe", "pkd", "iframe", 0.0, 1.0))
    ]
    frame = pd.DataFrame(rows, columns=["data", "kind", "student", "exit", "method", "teacher", "advantage", "gain"])
    ends = {"advantage_low": frame["advantage"] - 2, "advantage_high": frame["advantage"] + 2}
    return frame.assign(**ends, gain_low=frame["gain"] - 1, gain_high=[-7.0, np.inf])


def _gains_and_lines(points):
    places = [-30.0, 0.0]
    line = pd.DataFrame({"shape": "straight", "advantage": places, "estimate": 0.0, "low": -1.0, "high": 1.0})
    return charts.gain_by_advantage(points, line)


CHARTS = {
    _gains_and_lines: _gains,
    charts.accuracy_by_method: _methods,
    charts.modality_profile: _profile,
    charts.accuracies: _ends,
    cascade_charts.accuracy_by_prefix: _ensembles,
    charts.training_curves: _curves,
    charts.accuracy_by_exit: _summary,
    verdict_charts.differences: _differences,
    cascade_charts.accuracy_against_cost: _early_exit,
    cascade_charts.accuracy_by_rule: _rules,
    cascade_charts.gains_by_switch: _switches,
    cascade_charts.added_choices: _choices,
    charts.priced_exits: _cost,
    flatness_charts.by_measure: _flatness,
    flatness_charts.orders: _orders,
    flatness_charts.spectrum: _spectrum,
    flatness_charts.slices: _slices,
    flatness_charts.surface: _surface,
    flatness_charts.exits: _exit_flatness,
    flatness_charts.by_scene_bias: _biases,
    charts.accuracy_by_appearance: lambda: pd.concat(
        [_ends().assign(appearance=value, accuracy=value / 2, low=0.0, high=value) for value in (0.2, 0.8)]
    ),
    cascade_charts.wise_weights: _weights,
    charts.published: _published,
}


def _svg(shown):
    return ElementTree.fromstring(re.search(r"<svg.*</svg>", display.inline(shown.markup), re.DOTALL).group())


def _texts(shown):
    return {node.text for node in _svg(shown).iter(f"{SVG}text")}


def _rows(chart):
    """All rows of data that a chart carries."""
    return list(itertools.chain.from_iterable(chart.to_dict()["datasets"].values()))


@pytest.mark.parametrize("draw", CHARTS, ids=lambda draw: draw.__name__)
def test_every_chart_is_a_described_picture_that_needs_nothing_from_outside(draw):
    frame = CHARTS[draw]()
    before = frame.copy()
    shown = charts.show(draw(frame), "What <it> shows: a & b.")
    svg = _svg(shown)
    assert svg.get("role") == "img"
    assert svg.get("aria-label") == "What <it> shows: a & b."
    texts = list(svg.iter(f"{SVG}text"))
    assert texts and all(text.get("fill") == "currentColor" for text in texts)
    # No name is cut, no number ends in a letter for its size (100m), and no symbol is black, which a dark page hides.
    assert [text.text for text in texts if re.search(r"…|^[\d.]+[a-zµA-Z]$", text.text or "")] == []
    assert not [node for node in svg.iter() if {"black", "#000"} & {node.get("fill"), node.get("stroke")}]
    outside = re.findall(r"https?://[^\"' ]+", display.inline(shown.markup))
    assert set(outside) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink", alt.SCHEMA_URL}
    pd.testing.assert_frame_equal(frame, before)


NOTHING = {"values": [], "title": None}  # the axis of a picture's pixels


def _number_scales(view, heading=None):
    """The titles on each axis or legend of numbers of a chart, and the fields that it draws; layers share theirs."""
    if "spec" in view:
        facet = view["facet"]
        fields = {own.get("field") for own in (facet, *facet.values()) if isinstance(own, dict)}
        yield from _number_scales(view["spec"], "a panel's own heading" if "measure" in fields else heading)
    for part in itertools.chain(*(view.get(name, ()) for name in ("concat", "hconcat", "vconcat"))):
        yield from _number_scales(part, heading)
    drawn = [own.get("encoding", {}) for own in (view, *view.get("layer", ()))]
    for channel in ("x", "y", "color"):
        own = [encoding[channel] for encoding in drawn if channel in encoding]
        own = [own for own in own if own.get("type") in ("quantitative", "ordinal") and own.get("axis") != NOTHING]
        if own:
            titles = {encoding.get("title") for encoding in own} - {None, ""}
            yield titles or {heading} - {None}, {encoding.get("field") for encoding in own}


@pytest.mark.parametrize("draw", CHARTS, ids=lambda draw: draw.__name__)
def test_every_number_axis_says_what_it_is(draw):
    scales = list(_number_scales(draw(CHARTS[draw]()).to_dict()))
    assert scales
    assert [fields for titles, fields in scales if not titles] == []


def test_the_specification_beside_the_picture_is_the_chart():
    chart = charts.accuracies(_ends())
    shown = charts.show(chart, "Accuracies.")
    data = json.loads(re.search(r'<script type="application/json">(.*)</script>', shown.markup).group(1))
    assert [layer["mark"] for layer in data["layer"]] == [layer["mark"] for layer in chart.to_dict()["layer"]]
    shown_rows = list(itertools.chain(*data["datasets"].values()))
    assert len(shown_rows) == len(_rows(chart)) and all(row in shown_rows for row in _rows(chart))
    assert data["config"] == display.THEME
    alt.Config.from_dict(data["config"])


# What JupyterLab allows in a notebook that it does not trust, of the elements used here (its sanitizer.ts).
ALLOWED = {"div": {"class", "style"}, "img": {"alt", "class", "height", "src", "style", "width"}}


class _Sanitised(HTMLParser):
    """The elements and attributes that JupyterLab keeps of untrusted HTML; of scripts it keeps nothing."""

    def __init__(self, markup):
        super().__init__()
        self.kept = []
        self.feed(markup)

    def handle_starttag(self, tag, attributes):
        if tag in ALLOWED:
            self.kept.append((tag, {name: value for name, value in attributes if name in ALLOWED[tag]}))


def test_a_chart_is_seen_in_a_notebook_that_is_not_trusted():
    shown = charts.show(charts.accuracy_by_exit(_summary()), "Costs.")
    (_, (tag, image)) = _Sanitised(shown.markup).kept
    assert tag == "img" and image["alt"] == "Costs."
    assert image["style"] == "max-width:100%;height:auto"
    kind, _, data = image["src"].partition(";base64,")
    svg = ElementTree.fromstring(base64.b64decode(data))
    assert kind == "data:image/svg+xml" and svg.tag == f"{SVG}svg"
    assert "IC 3" in {node.text for node in svg.iter(f"{SVG}text")}
    # Its text has a colour of its own there, which reads on light and on dark pages: JupyterLab's dark one is #111111.
    assert min(_contrast(svg.get("color"), page) for page in ("#ffffff", "#111111")) >= 4.3
    assert _Sanitised(display.inline(shown.markup)).kept == [("div", {"class": "pkd-chart", "style": ANY})]


def test_text_of_the_data_cannot_end_the_script_element():
    frame = _differences().assign(label="</script><b>")
    markup = charts.show(verdict_charts.differences(frame), "Differences.").markup
    assert markup.count("</script>") == 1
    assert "<b>" not in _svg(charts.show(verdict_charts.differences(frame), "x")).itertext()


def test_two_charts_on_a_page_share_no_names():
    names = [
        {node.get("id") for node in _svg(charts.show(draw(CHARTS[draw]()), "A chart.")).iter()} - {None}
        for draw in (charts.priced_exits, verdict_charts.differences)
    ]
    assert not names[0] & names[1]


def test_what_is_shown_without_html_is_the_description():
    shown = charts.show(verdict_charts.differences(_differences()), "Differences.")
    assert shown._repr_mimebundle_() == {"text/html": shown.markup, "text/plain": "Differences."}
    assert shown._repr_html_() == shown.markup
    assert repr(shown) == "Differences."


def test_a_chart_or_picture_without_a_description_is_refused():
    with pytest.raises(ValueError, match="description"):
        charts.show(verdict_charts.differences(_differences()), " ")
    with pytest.raises(ValueError, match="description"):
        charts.picture(np.zeros((2, 2, 3), np.uint8), "")


def test_accuracy_is_drawn_in_per_cent():
    rows = _rows(charts.accuracy_by_exit(_summary()))
    first = next(row for row in rows if row["exit"] == "IC 1")
    assert (first["accuracy"], first["low"], first["high"]) == pytest.approx((20, 10, 30))
    assert {"IC 1", "final", "accuracy (%)", "I-frame"} <= _texts(
        charts.show(charts.accuracy_by_exit(_summary()), "Accuracy.")
    )


def test_runs_are_averaged_by_their_clips():
    rows = {row["series"]: row for row in _rows(cascade_charts.accuracy_against_cost(_early_exit()))}
    assert rows["a"]["gmac"] == pytest.approx((1.0 * 100 + 2.0 * 300) / 400)
    assert rows["a"]["accuracy"] == pytest.approx((50 * 100 + 80 * 300) / 400)
    assert set(rows) == {"a", "b", "c"}


def test_the_front_leaves_out_what_is_dearer_and_no_better():
    chart = _front().to_dict()
    line, *_ = chart["layer"]
    rows = chart["datasets"][line["data"]["name"]]
    assert [(row["system"], row["setting"]) for row in rows] == [("a", 0.5), ("a", 1.0)]
    assert charts.show(_front(), "A front.").markup


def test_prefixes_are_those_of_the_papers_classifiers():
    rows = _rows(cascade_charts.accuracy_by_prefix(_ensembles()))
    assert min(row["accuracy"] for row in rows) > 0


def test_costs_are_split_into_networks_and_exits():
    rows = [row for row in _rows(charts.priced_exits(_cost(), 2)) if row["modality"] == "motion" and "piece" in row]
    lengths = {(row["piece"], row["exit"]): row["ends"] - row["begins"] for row in rows}
    assert [lengths["exit", exit_] for exit_ in (1, 2, 3, 4)] == pytest.approx([0.25, 0.3, 0.35, 0])
    assert [lengths["network", exit_] for exit_ in (1, 2, 3, 4)] == pytest.approx([0.5, 0.25, 0.3, 0.45])
    assert max(row["ends"] for row in rows) == pytest.approx(4.8 / 2)


def test_a_menu_of_exits_is_there_where_there_are_two_kinds():
    bound = [
        [param["name"] for param in charts.priced_exits(cost).to_dict()["params"] if "bind" in param]
        for cost in (_cost(), pd.concat([_cost(), _cost().assign(kind="paper")]))
    ]
    assert bound == [["segments"], ["kind", "segments"]]


def test_a_claim_without_an_estimate_is_left_out():
    assert not any(row.get("label") == "IC 4" for row in _rows(verdict_charts.differences(_differences())))


def test_a_readers_own_run_is_drawn_beside_every_data_set():
    frame = pd.concat([_differences(), _differences().assign(label="mine", dataset="mine", verdict="mine")])
    chart = verdict_charts.differences(frame, own="mine").to_dict()
    (menu,) = (param for param in chart["params"] if "bind" in param)
    assert menu["bind"]["options"] == ["all", "x"]
    assert {"holds", "mine"} <= _texts(charts.show(verdict_charts.differences(frame, own="mine"), "Both."))


def test_every_schedule_is_drawn_with_its_teachers_to_the_end():
    rows = _rows(diagrams.teachers({"pkd": METHODS["pkd"], "mine": METHODS["ce"]}))
    own = [(row["teacher"], row["begins"], row["ends"]) for row in rows if row["schedule"] == "PKD"]
    assert [name for name, *_ in own] == ["motion-vector", "residual", "I-frame"]
    assert own[0][1] == 0 and own[0][2] == own[1][1] and own[-1][2] == pytest.approx(100)
    assert [row["teacher"] for row in rows if row["schedule"] == "mine"] == ["labels"]


def test_one_move_raises_the_loss_more_in_the_sharp_minimum():
    rows = [row for row in _rows(diagrams.bowls()) if "zero" in row]
    rise = {row["minimum"]: row["loss"] for row in rows}
    assert rise["sharp minimum"] > 5 * rise["flat minimum"] > 0


def test_a_small_chart_is_not_drawn_larger_than_it_is():
    shown = charts.show(charts.priced_exits(_cost().query("modality == 'motion'")), "Costs.")
    assert f'style="--pkd-width: {_svg(shown).get("width")}px"' in shown.markup
    (still,) = re.findall(r"<img [^>]*>", shown.markup)
    assert f'width="{_svg(shown).get("width")}"' in still and 'style="max-width:100%;height:auto"' in still


def test_a_readers_measures_lie_over_the_study_of_the_same_data_and_stand_by_themselves():
    rows = [row for row in _rows(flatness_charts.by_measure(_flatness())) if row["modality"] == "motion"]
    theirs = [row["networks"] for row in rows if row["yours"]]
    recipe = "one architecture, one recipe"
    assert set(theirs) == {f"a study: {recipe}", f"{overlay.YOURS}: {recipe}"}
    units = {(row["measure"], row["value"], row["by_unit"]) for row in rows if not row["yours"]}
    assert units == {("average adaptive sharpness", 1.0, 1.0), ("input Hessian trace", 8.0, 2.0)}  # 2 is half the unit


def test_slices_can_be_counted_from_where_each_network_ends():
    rows = [row for row in _rows(flatness_charts.slices(_slices())) if row["modality"] == "motion"]
    by_place = {(row["rise"], row["position"]): row["middle"] for row in rows}
    assert by_place[True, 0.0] == 0 and by_place[False, 0.0] == pytest.approx(0.1)
    assert by_place[True, 1.0] == pytest.approx(by_place[False, 1.0] - 0.1)


def test_a_picture_keeps_its_pixels_and_says_what_it_shows():
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    markup = charts.picture(image, 'A "noisy" <picture>').markup
    assert 'alt="A &quot;noisy&quot; &lt;picture&gt;"' in markup
    data = base64.b64decode(re.search(r"base64,([^\"]+)", markup).group(1))
    with av.open(io.BytesIO(data)) as container:
        decoded = next(container.decode(video=0)).to_ndarray(format="rgb24")
    np.testing.assert_array_equal(decoded, image)


# --- colours -------------------------------------------------------------------------------------------------

# Machado, Oliveira and Fernandes (2009), severity 1, applied to linear RGB.
COLOUR_BLINDNESS = {
    "none": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
PALETTES = {
    "modalities": (tuple(encodings.MODALITY_COLOURS.values()), 20),
    "verdicts": (tuple(encodings.VERDICT_COLOURS.values()), 12),
    "series": (encodings.SERIES_COLOURS, 12),
}


def _linear(colour):
    value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _contrast(one, other):
    """WCAG 2.1's contrast ratio."""
    low, high = sorted(float(_linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def _lab(linear):
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.array(to_xyz) @ np.clip(linear, 0, 1) / [0.9505, 1.0, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_the_contrast_formula_gives_its_known_extremes():
    assert _contrast("#000000", "#ffffff") == pytest.approx(21)
    assert _contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("background", BACKGROUNDS.values(), ids=BACKGROUNDS)
@pytest.mark.parametrize("palette", PALETTES)
def test_marks_stand_out_from_the_page(palette, background):
    assert min(_contrast(colour, background) for colour in PALETTES[palette][0]) >= 3


@pytest.mark.parametrize("vision", COLOUR_BLINDNESS)
@pytest.mark.parametrize("palette", PALETTES)
def test_colours_stay_apart_for_every_kind_of_colour_vision(palette, vision):
    colours, distance = PALETTES[palette]
    seen = [_lab(np.array(COLOUR_BLINDNESS[vision]) @ _linear(colour)) for colour in colours]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) >= distance


def test_a_chart_is_the_same_however_many_were_drawn_before():
    frame = pd.DataFrame({"x": [0, 1, 2, 3], "y": [0, 1, 2, 3]})
    chart = alt.Chart(frame).mark_rect(clip=True).encode(x="x:O", y="y:O", color="y:Q")
    first, second = (charts.show(chart, "A scale of colour").markup for _ in range(2))
    assert "Gradient" in display.inline(first) and first == second


def test_a_table_of_sentences_names_each_cell_for_cards():
    frame = pd.DataFrame({"claim": ["a & b"], "what <was> found": ["1 < 2"]})
    body = ElementTree.fromstring(charts.cards(frame).markup).find("tbody")
    assert [(cell.get("data-label"), cell.text) for cell in body.iter("td")] == [
        ("claim", "a & b"),
        ("what <was> found", "1 < 2"),
    ]
