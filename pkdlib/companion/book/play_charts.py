"""Charts to play with: one GOP frame by frame, exits weighed by hand, a cascade that leaves early.

Each computes in the chart what its controls ask for, from values of single clips, so that a page needs no network and
no kernel. The still picture shows how the controls stand at first. Conventions are those of `charts`.
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd

from pkdlib.companion.book import encodings
from pkdlib.companion.book.encodings import MODALITY_COLOURS, NEUTRAL, SERIES_COLOURS
from pkdlib.companion.experiments.recording import Recording
from pkdlib.companion.names import CRITERION_NAMES, EXIT_LABELS, MODALITY_LABELS, order_name
from pkdlib.companion.presets import PLANS
from pkdlib.early_exit.criteria import CRITERIA
from pkdlib.ensemble import wise
from pkdlib.models.backbones import NUM_EXITS
from pkdlib.video import pictures
from pkdlib.video.reader import CompressedVideo

_TILE = 190  # pixels
_CRITERIA = {CRITERION_NAMES[name]: name for name in ("max_softmax", "margin", "entropy")}
_PER_UNIT = 16  # logits are rounded to sixteenths


def gop(path: Path, number: int = 0) -> alt.HConcatChart:
    """Draw one group of pictures to be gone through frame by frame.

    Args:
        path: Of a compressed video.
        number: Of the group.

    Returns:
        A panel a modality: the decoded picture, motion as colours, the residual; each since the I-frame or since the
        frame before, and to be switched off.
    """
    frames = {}
    with CompressedVideo(path) as video:
        for accumulate in (True, False):
            frames[accumulate] = list(video.frames(accumulate, gops=number))
    longest = {own: max(np.quantile(np.hypot(*f.motion.T.astype(float)), 0.98) for f in frames[own]) for own in frames}
    rows = []
    for accumulate, own in frames.items():
        for frame in own:
            scale = _TILE / frame.image.shape[1]
            motion, residual = np.hypot(*frame.motion.T.astype(float)), np.abs(frame.residual.astype(float))
            drawn = {
                "iframe": (frame.image, "the decoded picture"),
                "motion": (
                    pictures.colour_wheel(frame.motion, full=max(4.0, longest[accumulate])),
                    f"{motion.mean():.2f} pixels on average",
                ),
                "residual": (
                    pictures.signed(frame.residual, gain=2.0),
                    f"{residual.mean():.2f} grey levels on average",
                ),
            }
            for modality, (image, told) in drawn.items():
                small = pictures.jpeg_bytes(pictures.resized(image, scale))
                url = "data:image/jpeg;base64," + base64.b64encode(small).decode()
                since = "the I-frame" if accumulate else "the frame before"
                rows.append(
                    {"position": frame.position, "since": since, "modality": modality, "url": url, "told": told}
                )
    table, last = pd.DataFrame(rows), len(frames[True]) - 1
    height = round(_TILE * frames[True][0].image.shape[0] / frames[True][0].image.shape[1])
    position = alt.param("position", value=min(6, last), bind=_slider("frame of the GOP ", 0, last, 1))
    since = alt.param(
        "since", value="the I-frame", bind=_choice("what changed since ", ["the I-frame", "the frame before"])
    )
    shown = {name: alt.param(f"show_{name}", value=True, bind=_switch(f"{MODALITY_LABELS[name]} ")) for name in drawn}
    panels = []
    titles = {"iframe": "picture", "motion": "motion", "residual": "residual"}
    for name, switch in shown.items():
        chosen = (alt.datum.modality == name) & (alt.datum.position == position) & (alt.datum.since == since) & switch
        base = alt.Chart(table).transform_filter(chosen)
        image = base.mark_image(width=_TILE, height=height).encode(
            x=alt.value(_TILE / 2), y=alt.value(height / 2), url="url:N"
        )
        text = base.mark_text(baseline="top", align="left").encode(
            x=alt.value(0), y=alt.value(height + 6), text="told:N"
        )
        panels.append(alt.layer(image, text).properties(width=_TILE, height=height + 20, title=titles[name]))
    return alt.hconcat(*panels).add_params(position, since, *shown.values())


def leaving_early(recorded: Recording, curves: pd.DataFrame, method: str = "ce") -> alt.VConcatChart:
    """Draw a cascade of light classifiers that leaves at the first exit which is surer than a threshold.

    Args:
        recorded: Whose test clips.
        curves: The table `early_exit` of the study that the run is of; beside the cascade stand the run's bare networks
            with fewer segments.
        method: What trained the classifiers.

    Returns:
        Accuracy over cost, all thresholds a line, the chosen one a dot; and where clips left, answered rightly or not.
    """
    orders = list(_orders(recorded.networks))
    clips, lines = [], []
    for order in orders:
        name, scores, costs = order_name(order), _scores(recorded, order, method), recorded.costs(order)
        right = scores.argmax(axis=-1) == recorded.labels("test")[:, None]
        packed = {"order": name, "right": ["".join(map(str, own.astype(int))) for own in right]}
        for title, criterion in _CRITERIA.items():
            # A clip leaves above T hundredths if and only if this number is at least T.
            surer = np.clip(np.ceil(100 * CRITERIA[criterion](scores)) - 1, 0, 99).astype(int)
            packed[title] = ["".join(f"{value:02d}" for value in own) for own in surer]
            for threshold in range(20, 101):
                left = np.where(
                    (surer >= threshold).any(axis=1), (surer >= threshold).argmax(axis=1), scores.shape[1] - 1
                )
                lines.append(
                    {
                        "order": name,
                        "criterion": title,
                        "gmac": round(float(costs[left].mean()), 6),
                        "accuracy": round(100 * float(right[np.arange(len(left)), left].mean()), 3),
                    }
                )
        clips.append(pd.DataFrame(packed))
    names = [order_name(order) for order in orders]
    threshold = alt.param("threshold", value=0.9, bind=_slider("leave above ", 0.2, 1, 0.01))
    order = alt.param("order", value=names[0], bind=_choice("order ", names))
    criterion = alt.param("criterion", value=next(iter(_CRITERIA)), bind=_choice("sure by ", list(_CRITERIA)))
    prices = [list(map(float, recorded.costs(own).round(6))) for own in orders]
    reads = [[network for network in own for _ in range(NUM_EXITS)] for own in orders]
    last = len(reads[0]) - 1
    surer = "".join(
        f"+substring(datum[criterion], {2 * place}, {2 * place + 2}) >= round(100 * threshold) ? {place} : "
        for place in range(last)
    )
    one = (
        alt.Chart(_csv(pd.concat(clips), ["right", *_CRITERIA]))
        .transform_filter("datum.order == order")
        .transform_calculate(left=f"{surer}{last}")
        .transform_calculate(
            gmac=f"{prices}[indexof({names}, datum.order)][datum.left]",
            # By a name of its own: when a control moves, Vega computes anew on what it has computed before.
            hit="+substring(datum.right, datum.left, datum.left + 1)",
            modality=f"{reads}[indexof({names}, datum.order)][datum.left]",
            exit="datum.left + 1",
            answer="datum.hit ? 'right' : 'wrong'",
        )
    )
    x = alt.X("gmac:Q", title="cost (GMAC per clip)", scale=alt.Scale(zero=True))
    y = alt.Y("accuracy:Q", title="accuracy (%)", scale=alt.Scale(zero=False))
    curve = (
        alt.Chart(pd.DataFrame(lines))
        .transform_filter("datum.order == order && datum.criterion == criterion")
        .mark_line(color=NEUTRAL)
        .encode(x=x, y=y, order="gmac:Q")
    )
    run = recorded.about["run"]
    bare = curves[
        (curves["system"] == "fewer_segments") & (curves["split"] == run["split"]) & (curves["seed"] == run["seed"])
    ]
    right = bare["accuracy"] * bare["clips"]
    fewer = (
        bare.assign(right=right).groupby("setting").agg({"gmac": "mean", "right": "sum", "clips": "sum"}).reset_index()
    )
    fewer["accuracy"] = 100 * fewer["right"] / fewer["clips"]
    fewer["label"] = fewer["setting"].map(lambda segments: f"bare, {segments:.0f} segment{'s' if segments > 1 else ''}")
    rival = alt.Chart(fewer).encode(x=x, y=y)
    mean = one.transform_aggregate(gmac="mean(gmac)", share="mean(hit)").transform_calculate(
        accuracy="100 * datum.share",
        told="format(datum.accuracy, '.1f') + ' % for ' + format(datum.gmac, '.4f') + ' GMAC'",
    )
    dot = mean.mark_point(size=160, color=SERIES_COLOURS[4]).encode(x=x, y=y, tooltip=["told:N"])
    said = mean.mark_text(fontSize=14, fontWeight="bold", align="right", baseline="bottom").encode(
        x=alt.value("width"), y=alt.value("height"), text="told:N"
    )
    said = said.encode(x=alt.XValue(alt.ExprRef("width - 6")), y=alt.YValue(alt.ExprRef("height - 6")))
    above = alt.layer(
        curve,
        rival.mark_point(shape="square", color=SERIES_COLOURS[2]).encode(tooltip=["label:N"]),
        rival.mark_text(align="right", dx=-9, dy=4).encode(text="label:N"),
        dot,
        said,
    ).properties(width=520, height=240)
    bars = (
        one.mark_bar()
        .encode(
            x=alt.X(
                "exit:O",
                title="exit, in the order of visiting",
                scale=alt.Scale(domain=list(range(1, last + 2))),
                axis=alt.Axis(labelAngle=0),
            ),
            y=alt.Y("count():Q", title="clips that leave here"),
            color=_colour_of(recorded.networks),
            opacity=alt.Opacity(
                "answer:O",
                title=None,
                scale=alt.Scale(domain=["right", "wrong"], range=[1, 0.35]),
                legend=alt.Legend(symbolType="square", symbolFillColor=NEUTRAL, symbolStrokeWidth=0),
            ),
            order=alt.Order("hit:Q", sort="descending"),
            tooltip=["exit:O", "modality:N", "answer:N", alt.Tooltip("count():Q", title="clips")],
        )
        .properties(width=520, height=150)
    )
    return alt.vconcat(above, bars).add_params(threshold, order, criterion)


def weighed(recorded: Recording, order: Sequence[str], method: str = "pkd") -> alt.VConcatChart:
    """Draw what a weighted sum of all exits' logits answers, with weights learned, equal or one's own.

    Args:
        recorded: Whose test clips; weights are learned on its validation clips.
        order: The networks, in the order of their exits.
        method: What trained the classifiers.

    Returns:
        The weights as bars, and the accuracy that they give.
    """
    members = wise.visiting_order(order)
    logits = np.rint(_PER_UNIT * recorded.stacked("test", method, order)).astype(int)
    labels = recorded.labels("test")
    learned = wise.fit(recorded.stacked("validation", method, order), recorded.labels("validation"))
    last = [float(member.endswith(f"-{NUM_EXITS}")) / len(order) for member in members]
    presets = {
        "learned (WISE)": [round(float(value), 3) for value in learned],
        "equal": [round(1 / len(members), 3)] * len(members),
        "the three ends alone": [round(value, 3) for value in last],
        "your own": None,
    }
    classes = logits.shape[-1]
    # A row a clip and class, all classes of a clip after each other.
    frame = pd.DataFrame(
        {
            "hit": (np.arange(classes) == labels[:, None]).astype(int).ravel(),
            **{f"l{place}": logits[:, place].ravel() for place in range(len(members))},
        }
    )
    names = [f"{MODALITY_LABELS[member.split('-')[0]]} {EXIT_LABELS[int(member.split('-')[1])]}" for member in members]
    rule = alt.param("weights", value="learned (WISE)", bind=_choice("weights ", list(presets)))
    sliders = [
        alt.param(f"w{place}", value=max(-2.0, min(4.0, round(float(value), 1))), bind=_slider(f"{name} ", -2, 4, 0.1))
        for place, (name, value) in enumerate(zip(names, learned, strict=True))
    ]
    switches = [
        alt.param(f"on_{network}", value=True, bind=_switch(f"{MODALITY_LABELS[network]} ")) for network in order
    ]
    inner = alt.param("on_inner", value=True, bind=_switch("exits inside the networks "))
    known = {name: values for name, values in presets.items() if values}
    table, own = f"{list(known.values())}", [f"w{place}" for place in range(len(members))]

    def weight(place: int) -> str:
        network, exit_ = members[place].split("-")
        base = f"(weights == 'your own' ? {own[place]} : {table}[indexof({list(known)}, weights)][{place}])"
        return f"(on_{network} ? 1 : 0) * " + ("" if int(exit_) == NUM_EXITS else "(on_inner ? 1 : 0) * ") + base

    # Weights are computed once for each of their bars, and once for the sum.
    score = " + ".join(f"({weight(place)}) * datum.l{place}" for place in range(len(members)))
    answered = (
        alt.Chart(_csv(frame, []))
        .transform_window(row="row_number()")
        .transform_calculate(clip=f"floor((datum.row - 1) / {classes})", nth=f"(datum.row - 1) % {classes}")
        .transform_calculate(score=f"{score} - 1e-6 * datum.nth")  # of equal scores the first, as argmax takes it
        .transform_joinaggregate(best="max(score)", groupby=["clip"])
        .transform_filter("datum.score == datum.best")
        .transform_aggregate(share="mean(hit)")
        .transform_calculate(accuracy="100 * datum.share", told="format(100 * datum.share, '.1f') + ' %'")
    )
    bars = (
        alt.Chart(
            pd.DataFrame({"place": range(len(members)), "exit": names, "modality": [m.split("-")[0] for m in members]})
        )
        .transform_calculate(weight=f"[{', '.join(weight(place) for place in range(len(members)))}][datum.place]")
        .mark_bar()
        .encode(
            y=alt.Y("exit:N", title=None, sort=names, axis=alt.Axis(labelLimit=0)),
            x=alt.X("weight:Q", title="weight"),
            color=_colour_of(order).legend(None),
            tooltip=["exit:N", alt.Tooltip("weight:Q", format=".2f")],
        )
        .properties(width=400, height=alt.Step(20))
    )
    fixed = pd.DataFrame(
        {
            "rule": list(known),
            "accuracy": [
                100 * float((np.einsum("e,nec->nc", w, logits).argmax(1) == labels).mean()) for w in known.values()
            ],
        }
    )
    x = alt.X("accuracy:Q", title="test accuracy (%)", scale=alt.Scale(zero=False, domain=[0, 100]))
    ticks = alt.Chart(fixed).encode(x=x, tooltip=["rule:N", alt.Tooltip("accuracy:Q", format=".1f")])
    scale = alt.layer(
        ticks.mark_tick(thickness=2, size=26, color=NEUTRAL),
        answered.mark_point(size=160, color=SERIES_COLOURS[4]).encode(x=x, tooltip=["told:N"]),
        answered.mark_text(fontSize=14, fontWeight="bold", dy=-18).encode(x=x, text="told:N"),
    ).properties(width=400, height=60)
    return alt.vconcat(bars, scale).add_params(rule, *switches, inner, *sliders)


def _colour_of(networks: Sequence[str]) -> alt.Color:
    scale = alt.Scale(domain=list(networks), range=[MODALITY_COLOURS[name] for name in networks])
    legend = alt.Legend(title=None, labelExpr=encodings.label_expression(MODALITY_LABELS))
    return alt.Color("modality:N", scale=scale, legend=legend)


def _orders(networks: Sequence[str]) -> list[tuple[str, ...]]:
    # The reference's first, then the others.
    return [order for plan in PLANS.values() for order in plan.orders if set(order) == set(networks)]


def _scores(recorded: Recording, order: Sequence[str], method: str) -> np.ndarray:
    weights = wise.wise_weights(recorded.stacked("validation", method, order), recorded.labels("validation"))
    return wise.weighted_scores(recorded.stacked("test", method, order), weights)


def _csv(frame: pd.DataFrame, texts: Sequence[str]) -> alt.InlineData:
    # A table of many rows takes a third of the room that it would take as JSON.
    file = io.StringIO()
    frame.to_csv(file, index=False)
    parse = dict.fromkeys(texts, "string")
    return alt.InlineData(values=file.getvalue(), format=alt.CsvDataFormat(type="csv", parse=parse or None))


def _slider(name: str, low: float, high: float, step: float) -> alt.BindRange:
    return alt.binding_range(min=low, max=high, step=step, name=name)


def _choice(name: str, options: list[str]) -> alt.BindRadioSelect:
    return alt.binding_select(options=options, name=name)


def _switch(name: str) -> alt.BindCheckbox:
    return alt.binding_checkbox(name=name)
