"""The schedule builder of a page: train light exits by any schedule in the browser (`pkd-schedules.js`).

It trains on a recording (`experiments.recording`), which the book's build puts beside its scripts, and which a page
loads when a reader asks for a training.
"""

import base64
import json

import numpy as np
import pandas as pd

from pkdlib.companion.book import charts
from pkdlib.companion.book.display import Shown
from pkdlib.companion.book.encodings import MODALITY_COLOURS, NEUTRAL
from pkdlib.companion.experiments import recording
from pkdlib.companion.experiments.recording import Recording
from pkdlib.companion.names import MODALITY_NAMES
from pkdlib.companion.presets import PLANS
from pkdlib.distillation.schedules import LABELS, OWN
from pkdlib.training import optimisers

# What the page trains on; what else a recording holds is for charts.
_READ = ("part", "label", "features/", "ends/")
_ADAM_EPS = optimisers.OPTIMISERS["adam"].keywords["eps"]


def script(name: str, recorded: Recording) -> str:
    """Write a recording as the script that the page loads: a page that is opened from a disk can load nothing else.

    Args:
        name: Of the recording.
        recorded: What it holds.

    Returns:
        JavaScript.
    """
    arrays = {key: _packed(value) for key, value in recorded.arrays.items() if key.startswith(_READ)}
    held = {"networks": recorded.networks, "classes": len(recorded.about["data"]["classes"]), "arrays": arrays}
    return f"(window.pkdRecordings ??= {{}})[{json.dumps(name)}] = {json.dumps(held, separators=(',', ':'))};\n"


def show(name: str, description: str) -> Shown:
    """Return a schedule builder as an object that notebooks and the book display.

    Args:
        name: Of a committed recording.
        description: What the still picture shows, where scripts are off.

    Returns:
        An object whose HTML is a picture of what the library makes of the same recording by `ce` and `pkd`; the book's
        script puts the builder in its place.
    """
    place = recording.committed()[name]
    recorded, counts = recording.load(place), pd.read_csv(place / recording.ACCURACY)
    training, plan = recorded.about["training"], PLANS[recorded.about["training"]["backbone"]]
    found = counts.assign(accuracy=counts["correct"] / counts["clips"])
    still = charts.show(charts.accuracy_by_exit(found[found["method"].isin(["ce", "pkd"])]), description)
    networks = {reads: MODALITY_NAMES[reads] for reads in recorded.networks}
    epochs = [round(share * training["epochs"]) for share in plan.shares]
    told = {
        "recording": name,
        "settings": {
            **{key: training[key] for key in ("epochs", "lr", "batch_size")},
            "milestones": plan.exit_tuning.milestones,
            "eps": _ADAM_EPS,
        },
        "stages": list(zip(("motion", "residual", "iframe"), epochs, strict=True)),
        "names": {
            "teachers": {
                **{n: f"{w} network" for n, w in networks.items()},
                OWN: "the network's own end",
                LABELS: "labels",
            },
            "networks": networks,
        },
        "colours": {**{reads: MODALITY_COLOURS[reads] for reads in networks}, OWN: NEUTRAL, LABELS: NEUTRAL},
        "library": {
            method: {f"{r.modality}/{r.exit}": 100 * r.accuracy for r in found[found["method"] == method].itertuples()}
            for method in ("ce", "pkd")
        },
    }
    data = json.dumps(told, separators=(",", ":")).replace("</", "<\\/")
    markup = f'<div class="pkd-schedules"><script type="application/json">{data}</script>'
    return Shown(f'{markup}<div class="pkd-instead">{still.markup}</div></div>', still.description)


def _packed(values: np.ndarray) -> dict:
    data = base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()  # both sides are little-endian
    return {"type": str(values.dtype), "shape": values.shape, "data": data}
