"""A page's own run, as tables: what it takes, where it computes, and figures that its charts do not show."""

from collections.abc import Mapping

import pandas as pd

from pkdlib import _files
from pkdlib.companion import folders, results
from pkdlib.companion.book.page_tables.layout import figure
from pkdlib.companion.data import dataset
from pkdlib.companion.names import MODALITY_NAMES
from pkdlib.companion.parameters import Parameters
from pkdlib.companion.presets import LIGHT_KINDS
from pkdlib.companion.runs import store
from pkdlib.training import devices


def about(notebook: str, p: Parameters) -> pd.DataFrame:
    """Set out what a notebook takes at its profile and on its data, in order and alone, and where it computes now.

    Args:
        notebook: Its number, as `04`.
        p: The parameters.

    Returns:
        Two columns of words and figures.
    """
    rows = []
    timed = results.folder(p.variant, dataset(p).name) / store.TIMINGS
    costs = _files.read_json(timed)["notebooks"] if timed.is_file() else {}
    own = [cost for name, cost in costs.items() if name.startswith(notebook)]
    for cost in own:
        rows.append((f"{p.profile}, behind the pages before it, two cores", _cost(cost)))
        needed = [other["seconds"] for name, other in costs.items() if name[:2] <= notebook]
        rows.append((f"{p.profile}, alone, training all that it needs", f"at most {_time(sum(needed))}"))
    alone = results.sessions()
    if own and folders.shipped_folder(p).is_dir() and alone is not None:
        for row in alone[(alone["version"] == "now") & alone["page"].str.startswith(notebook)].to_dict("records"):
            cost = {"seconds": row["whole_seconds"], "peak_memory_mib": row["peak_memory_mib"]}
            said = f"first picture after {_time(row['first_result_seconds'])}; all {_cost(cost)}"
            rows.append((f"{p.profile}, alone, showing the run that comes with it", said))
    rows.append(("this run computes on", devices.told(p.device)))
    if place := folders.sentence(p):
        rows.append(("its files", place))
    return pd.DataFrame(rows, columns=["this page", "time and place"])


def record(p: Parameters) -> pd.DataFrame:
    """Set out all that a page runs with, so that an executed notebook says it by itself.

    Args:
        p: The parameters.

    Returns:
        A row for every parameter, as one would type it, then for each version, and for the machine.
    """
    made = store.provenance()
    made["machine"] = made.pop("device")  # of the parameters, another one has that name
    rows = [(name, repr(value)) for name, value in p.flat().items()]
    rows += made.pop("versions").items()
    rows += [(name, "" if value is None else str(value)) for name, value in made.items()]
    return pd.DataFrame(rows, columns=["name", "value or version"])


def operating_points(points: pd.DataFrame) -> pd.DataFrame:
    """Set out what policies and bare networks cost and answer.

    Args:
        points: Of `aggregate.operating_points`.

    Returns:
        A row a point, rounded.
    """
    return pd.DataFrame(
        {
            "system": points["system"],
            "share of the cost, or segments": points["setting"].map("{:g}".format),
            "GMAC": points["gmac"].map("{:.3f}".format),
            "ms at a batch of 1": points["milliseconds_1"].map("{:.1f}".format),
            "ms at a batch of 32": points["milliseconds_32"].map("{:.1f}".format),
            "ms to decode": points["decoding"].map("{:.1f}".format),
            "accuracy, %": (100 * points["accuracy"]).map("{:.1f}".format),
        }
    )


def visited_first(policies: pd.DataFrame) -> pd.DataFrame:
    """Count which network light policies visit first, by the share of the cost that they may take.

    Args:
        policies: The table `policies`.

    Returns:
        A row a share, a column a network: in how many runs.
    """
    chosen = policies[policies["kind"].isin(LIGHT_KINDS)].drop_duplicates(["split", "seed", "share"])
    first = chosen["order"].str.split().str[0].map(MODALITY_NAMES)
    counts = pd.crosstab(chosen["share"], first).astype(str)
    counts.index = counts.index.map("{:g}".format)
    return counts.reset_index(names="share of the cost").rename_axis(columns=None)


def decoding(decoding: pd.DataFrame) -> pd.DataFrame:
    """Set out what decoding each modality takes.

    Args:
        decoding: The table `decoding`.

    Returns:
        A row a modality: milliseconds for all segments of a clip.
    """
    whole = decoding[decoding["segments"] == decoding["segments"].max()]
    means = whole.groupby("modality")["milliseconds"].mean()
    rows = [(MODALITY_NAMES[name], figure(value, "{:.1f}")) for name, value in means.items()]
    return pd.DataFrame(rows, columns=["modality", "ms to decode all segments of a clip"])


def _cost(cost: Mapping[str, float | None]) -> str:
    memory = cost["peak_memory_mib"]  # which Linux alone tells
    return _time(cost["seconds"]) + (f", {memory / 1024:.1f} GB" if memory else "")


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
