"""The numbers and tables that the book's prose takes from the committed results."""

from collections.abc import Callable
from typing import Any

from pkdlib import _files, _resources
from pkdlib.companion import advantages, results, store
from pkdlib.companion.book.prose import (
    advantage_reports,
    cascade_reports,
    decoding_speeds,
    flatness_reports,
    interval_coverage,
    paper_regime,
    paper_scale,
    reports,
)
from pkdlib.data.official import hmdb51, ucf101
from pkdlib.distillation import schedules
from pkdlib.statistics import intervals

MISSING = "(not run yet)"


def collect() -> dict[str, Any]:
    """Give the numbers and tables that the book's prose takes from the committed results.

    Returns:
        Name -> text, for the substitutions of the book's pages.
    """
    from pkdlib import __version__

    values: dict[str, Any] = {"version": __version__}
    book = _json("quick", "marionette", store.TIMINGS)
    values["book_cost"] = _book_cost(book)
    values["test_cost"] = f"It took {book['test_seconds'] / 60:.0f} minutes." if "test_seconds" in book else ""
    record = _json("full", "marionette", store.RECORD)
    values["marionette_clips"] = record["data"]["clips"] if record else MISSING
    values["ut_fused_accuracy"] = fused_accuracy("full", "ut_interaction")
    verdicts = reports.judged()
    values["verdicts_summary"] = reports.verdicts_sentence(verdicts)
    values["verdicts_table"] = reports.verdicts_table(verdicts)
    values["protocol_found"] = cascade_reports.protocol_found()
    values["methods_table"] = reports.methods_table()
    values["pkd_shares"] = reports.schedule(schedules.METHODS["pkd"])
    values["team_shares"] = reports.schedule(schedules.TEAM_METHODS["pkd"])
    values["advantages_found"] = advantage_reports.found(advantage_reports.fitted(advantages.studies()))
    values["ucf_recipes"] = paper_regime.recipes()
    values["ucf_networks"] = paper_regime.networks()
    values["ucf_foreseen"] = paper_regime.foreseen()
    values["ucf_control"] = paper_regime.control()
    values["mix_rates"] = flatness_reports.mix_rates()
    values["smallest_effects"] = interval_coverage.smallest_effects(verdicts)
    values["decoder_speed"] = _told(decoding_speeds.decoder_speed, results.decoder())
    compared = results.readers()
    values["readers_speed"] = _told(decoding_speeds.readers_speed, compared.get("speed"))
    values["readers_formats"] = _told(decoding_speeds.readers_formats, compared.get("formats"))
    values["readers_ours"] = _told(decoding_speeds.our_ratio, compared.get("speed"))
    simulated = results.coverage()
    values["coverage_tables"] = _told(interval_coverage.coverage_tables, simulated.get("coverage"))
    values["coverage_seen"] = _told(interval_coverage.coverage_sentences, simulated.get("coverage"))
    values["coverage_of_runs"] = _told(interval_coverage.runs_table, simulated.get("runs"))
    values["power_seen"] = _told(interval_coverage.power_sentence, simulated.get("power"))
    values["coverage_spreads"] = _told(
        interval_coverage.spreads_sentence, _json("coverage", store.RECORD).get("spreads")
    )
    measured, fed = results.throughput(), results.feeding()
    record = _json("throughput", store.RECORD)
    values["throughput_device"] = record["device"].split(",")[0] if record else MISSING
    values["throughput_batch"] = record["settings"]["clips"] if record else MISSING
    values["throughput_table"] = _told(paper_scale.throughput, measured)
    both = None if measured is None or not fed else (measured, fed["speed"])
    values["paper_hours"] = _told(lambda tables: paper_scale.hours(*tables), both)
    values["paper_grid"] = _told(paper_scale.grid, measured)
    values["grid_proof"] = _told(paper_scale.proof, results.grid())
    values["feeding_table"] = _told(paper_scale.feeding, fed.get("speed"))
    values["feeding_memory"] = _told(paper_scale.memory, fed.get("memory"))
    record = _json("feeding", store.RECORD)
    values["feeding_device"] = record["device"] if record else MISSING
    for spec in (ucf101.SPEC, hmdb51.SPEC):
        values[f"disk_{spec.name}"] = f"{(spec.videos.size + spec.unpacked + spec.transcoded) / 1e9:.0f} GB"
    values["bank_ucf101"] = f"{paper_scale.bank_bytes(13_320, candidates=18, short_side=256) / 1e9:.0f} GB"
    return values


def _book_cost(book: dict[str, Any]) -> str:
    if "total_seconds" not in book:
        return "What it takes on two cores has not been measured in one run of this version yet."
    time = f"On two cores it took {book['total_seconds'] / 60:.0f} minutes after the installation"
    if not book["peak_memory_mib"]:  # which Linux alone tells
        return f"{time}."
    memory = f"{book['peak_memory_mib'] / 1024:.1f} GB of memory at its peak, summed over all processes"
    return f"{time}, and {memory}."


def fused_accuracy(profile: str, dataset: str) -> str:
    """Say the accuracy of the late fusion with fitted weights on committed results.

    Args:
        profile: Of the runs.
        dataset: Of the runs.

    Returns:
        Per cent with its interval.
    """
    found = results.published(profile, dataset)
    if "ensembles" not in found:
        return MISSING
    rows = found["ensembles"]
    fused = intervals.accuracy_interval(rows[(rows["rule"] == "late_fitted") & (rows["part"] == "test")])
    return f"{fused.estimate:.1f} % (95 % interval {fused.low:.1f} to {fused.high:.1f})"


def _json(*place: str) -> dict[str, Any]:
    path = _resources.folder("results").joinpath(*place)
    return _files.read_json(path) if path.is_file() else {}


def _told(tell: Callable[[Any], str], found: Any) -> str:
    return MISSING if found is None else tell(found)
