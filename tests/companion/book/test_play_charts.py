import json
import re

import numpy as np
import pytest

from pkdlib.companion import results
from pkdlib.companion.book import charts, display, play_charts, schedule_builder
from pkdlib.companion.experiments import recording
from pkdlib.video.reader import CompressedVideo

NAME = "ucf101-25"


@pytest.fixture(scope="module")
def recorded():
    return recording.load(recording.committed()[NAME])


@pytest.fixture(scope="module")
def curves():
    return results.published("full-lite", NAME)["early_exit"]


def test_the_line_of_all_thresholds_goes_through_the_tables_points(recorded, curves):
    chart = play_charts.leaving_early(recorded, curves).to_dict()
    lines = [row for rows in chart["datasets"].values() for row in rows if "criterion" in row]
    run = curves[
        (curves["split"] == 0) & (curves["seed"] == 0) & (curves["kind"] == "light") & (curves["rule"] == "wise")
    ]
    own = run[
        (run["order"] == "residual motion iframe") & (run["method"] == "ce") & (run["criterion"] == "max_softmax")
    ]
    seen = [
        row for row in lines if row["order"].startswith("residual, motion") and row["criterion"].startswith("the most")
    ]
    for threshold in (0.3, 0.6, 0.9, 0.99, 1.0):
        (drawn,) = [row for place, row in enumerate(seen) if round(100 * threshold) == 20 + place]
        rows = own[own["setting"] == threshold]
        accuracy, gmac = (np.average(rows[name], weights=rows["clips"]) for name in ("accuracy", "gmac"))
        assert drawn["accuracy"] == pytest.approx(100 * accuracy, abs=0.35)  # rounded logits may turn one clip of 346
        assert drawn["gmac"] == pytest.approx(gmac, rel=0.01)


def test_the_still_pictures_show_the_first_setting(recorded, curves):
    leaving = charts.show(play_charts.leaving_early(recorded, curves), "A cascade.")
    weighed = charts.show(play_charts.weighed(recorded, ("residual", "motion", "iframe")), "Weights.")
    assert re.search(r"[\d.]+ % for 0\.\d+ GMAC", display.inline(leaving.markup))
    assert re.search(r">[\d.]+ %<", display.inline(weighed.markup))


def test_a_schedule_builder_is_a_picture_until_its_script_runs():
    shown = schedule_builder.show(NAME, "Nine light exits.")
    told = json.loads(re.search(r'<script type="application/json">(.*?)</script>', shown.markup).group(1))
    assert told["settings"]["epochs"] == sum(epochs for _, epochs in told["stages"])
    assert set(told["library"]["ce"]) == {
        f"{network}/{n}" for network in ("iframe", "motion", "residual") for n in (1, 2, 3)
    }
    assert 'aria-label="Nine light exits."' in display.inline(shown.markup)


def test_the_script_of_a_recording_holds_no_more_than_a_training_reads(recorded):
    script = schedule_builder.script(NAME, recorded)
    held = json.loads(script.partition(" = ")[2].rstrip(";\n"))
    assert len(script) <= 2_000_000
    assert not [name for name in held["arrays"] if name.startswith(("exits/", "gmac/"))]
    assert held["arrays"]["label"]["shape"] == [len(recorded.arrays["label"])]


def test_the_scrubber_tells_the_motion_and_residual_of_each_frame(ucf101_mini):
    path = sorted(ucf101_mini[0].rglob("*.avi"))[0]
    rows = [row for own in play_charts.gop(path).to_dict()["datasets"].values() for row in own]
    with CompressedVideo(path) as video:
        length = video.gops[0].length
        for position in (0, 1, length - 1):
            for since, accumulate in (("the I-frame", True), ("the frame before", False)):
                motion, residual = video.motion(0, position, accumulate), video.residual(0, position, accumulate)
                means = {"motion": np.hypot(motion[..., 0], motion[..., 1]).mean(), "residual": np.abs(residual).mean()}
                for modality, mean in means.items():
                    (row,) = [
                        r for r in rows if (r["position"], r["since"], r["modality"]) == (position, since, modality)
                    ]
                    assert float(row["told"].split()[0]) == pytest.approx(mean, abs=0.006)
