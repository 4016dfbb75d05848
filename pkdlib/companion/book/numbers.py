"""The numbers that sentences in `book/` take from what is committed: each name stands for one figure, or one name."""

from typing import Any

from pkdlib import _files, _resources
from pkdlib.companion import results
from pkdlib.companion.book.page_tables import paper_scale_tables
from pkdlib.companion.book.page_tables.coverage_tables import LEFT_OUT
from pkdlib.companion.runs import store
from pkdlib.data.official import hmdb51, ucf101
from pkdlib.statistics import intervals

MISSING = "(not measured)"


def collect() -> dict[str, str]:
    """Give the numbers.

    Returns:
        Name -> figure, rounded, for the substitutions of the book's pages.
    """
    from pkdlib import __version__

    return {"version": __version__, **_costs(), **_studies(), **_benchmarks(), **_sizes()}


def _costs() -> dict[str, str]:
    book = _json("quick", "marionette", store.TIMINGS)
    return {
        "book_minutes": _divided(book.get("total_seconds"), 60, "{:.0f}"),
        "book_memory": _divided(book.get("peak_memory_mib"), 1024, "{:.1f} GB"),
        "test_minutes": _divided(book.get("test_seconds"), 60, "{:.0f}"),
        "test_memory": _divided(book.get("test_peak_memory_mib"), 1024, "{:.1f} GB"),
    }


def _studies() -> dict[str, str]:
    ensembles = results.published("full", "ut_interaction")["ensembles"]
    fused = intervals.accuracy_interval(ensembles[(ensembles["rule"] == "late_fitted") & (ensembles["part"] == "test")])
    tested = _json("model", "model.json")["origin"]["test"]  # of the model that answers on Marionette's clips
    return {
        "model_clips": f"{tested['clips']}",
        "model_right": f"{tested['right']}",
        "marionette_clips": f"{_json('full', 'marionette', store.RECORD)['data']['clips']}",
        "ut_fused": f"{fused.estimate:.1f}",
        "ut_fused_low": f"{fused.low:.1f}",
        "ut_fused_high": f"{fused.high:.1f}",
    }


def _benchmarks() -> dict[str, str]:
    speed = results.readers()["speed"]
    ours = speed.loc[(speed["reader"] == "pkdlib") & speed["gives"].str.startswith("accumulated"), "ratio"]
    simulated = results.coverage()
    repetitions = simulated["coverage"].groupby("method")["repetitions"].first()
    power = simulated["power"]
    modelled, apart = power[power["spread"] != LEFT_OUT]["power"], power[power["spread"] == LEFT_OUT]["power"]
    throughput = _json("throughput", store.RECORD)
    return {
        "readers_ours_lowest": f"{ours.min():.1f}",
        "readers_ours_highest": f"{ours.max():.1f}",
        "coverage_repetitions": f"{repetitions['two-way']}",
        "coverage_repetitions_of_largest": f"{repetitions['max-t']}",
        "power_lowest": f"{100 * modelled.min():.1f}",
        "power_highest": f"{100 * modelled.max():.1f}",
        "power_apart_lowest": f"{100 * apart.min():.1f}",
        "power_apart_highest": f"{100 * apart.max():.1f}",
        "throughput_device": throughput["device"].split(",")[0],
        "throughput_batch": f"{throughput['settings']['clips']}",
        "feeding_device": _json("feeding", store.RECORD)["device"],
        "feeding_samples": f"{results.feeding()['memory'].iloc[0]['samples']:,.0f}",
    }


def _sizes() -> dict[str, str]:
    bank = paper_scale_tables.bank_bytes(13_320, candidates=18, short_side=256)
    disks = {
        f"disk_{spec.name}": spec.videos.size + spec.unpacked + spec.transcoded for spec in (ucf101.SPEC, hmdb51.SPEC)
    }
    return {name: f"{size / 1e9:.0f} GB" for name, size in {**disks, "bank_ucf101": bank}.items()}


def _divided(value: float | None, by: float, form: str) -> str:
    return form.format(value / by) if value else MISSING


def _json(*place: str) -> dict[str, Any]:
    path = _resources.folder("results").joinpath(*place)
    return _files.read_json(path) if path.is_file() else {}
