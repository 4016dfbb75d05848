"""From a run's artefacts to tidy tables, and from tables to the `results/` that the book shows.

Accuracies are counts per group, so that every statistic can be redone from the tables alone. Each table's columns
begin with split, seed and backbone.
"""

import functools
import lzma
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pkdlib import _files
from pkdlib.companion import folders, results, workspace
from pkdlib.companion.experiments import (
    costs,
    crossfit,
    exits,
    flatness,
    fusion,
    latency,
    operating_points,
    protocol,
    steps,
)
from pkdlib.companion.experiments.counts import Rows
from pkdlib.companion.experiments.exits import Exits
from pkdlib.companion.parameters import Parameters
from pkdlib.companion.presets import PLANS
from pkdlib.companion.runs import store
from pkdlib.companion.workspace import Run
from pkdlib.distillation import schedules
from pkdlib.models import cost
from pkdlib.models.exit_heads import KINDS, Maker

# What tells specs apart that the table `exits` does not: it has those of the paper's kind, trained plainly, alone.
SPEC_COLUMNS = ("kind", "lr_factor", "epochs_factor", "temperature_factor")


def exit_rows(own: Exits) -> Rows:
    """Yield the accuracy of every exit of the paper's kind alone, on validation and test clips.

    Args:
        own: The exits.

    Yields:
        modality, method, exit, part, group, clips, correct; method `backbone` at exit 4 is the network's own end.
    """
    p = own.run.parameters
    ends = list(own.backbones.accuracy())
    for part in ("validation", "test"):
        for modality in p.plan.networks:
            yield from (row for row in ends if (row["part"], row["modality"]) == (part, modality))
            methods = schedules.selected(p.paper_methods, own.methods)
            wanted = dict.fromkeys(own.spec(modality, p.plan.paper, method) for method in methods)
            for row in own.accuracy(list(wanted), [part]):
                yield {name: value for name, value in row.items() if name not in SPEC_COLUMNS}


def trial_rows(own: Exits) -> Rows:
    """Yield the test accuracy of every exit that was trained: all kinds, methods and learning rates.

    Args:
        own: The exits.

    Yields:
        modality, kind, method, lr_factor, epochs_factor, exit, part, group, clips, correct; methods that coincide for a
        modality stand under one name.
    """
    for row in own.accuracy([spec for spec in own.specs if spec.temperature_factor == 1]):
        yield {name: value for name, value in row.items() if name != "temperature_factor"}


def temperatures(run: Run) -> Rows:
    """Yield the test accuracy of the internal classifiers that learn at further temperatures.

    Args:
        run: Which.

    Yields:
        temperature_factor, and the columns of `trials`.
    """
    for row in exits.of(run).accuracy(exits.tempered(run.parameters)):
        yield {"temperature_factor": row.pop("temperature_factor"), **row}


def ensemble_rows(run: Run) -> Rows:
    """Yield the test accuracy of combined exits, and of the late fusion of bare backbones.

    Args:
        run: Which.

    Yields:
        The columns of `fusion.accuracies`.
    """
    own = exits.of(run)
    yield from fusion.accuracies(own, fusion.cascades(own))
    yield from fusion.late_accuracies(own)


def weights(run: Run) -> Rows:
    """Yield the WISE weights of the paper's internal classifiers.

    Args:
        run: Which.

    Returns:
        The columns of `fusion.weight_rows`.
    """
    p = run.parameters
    return fusion.weight_rows(exits.of(run), p.plan.paper, schedules.selected(p.paper_methods))


def early_exit(run: Run) -> Rows:
    """Yield accuracy against cost.

    Args:
        run: Which.

    Yields:
        The columns of `operating_points.curves`.
    """
    own = exits.of(run)
    yield from operating_points.curves(own, operating_points.systems(own))
    yield from operating_points.fewer_segments(own)


def cost_rows(own: Exits) -> Rows:
    """Yield what leaving at each exit of each network costs.

    Args:
        own: The exits.

    Yields:
        kind, modality, exit, gmac (with the classifiers passed), gmac_ic (this classifier alone), gmac_bare (the
        backbone to its end without any), a clip.
    """
    run, p = own.run, own.run.parameters
    sizes = tuple((reads, network.size) for reads, network in own.backbones.networks.items())
    kinds = {kind: own.kinds[kind] for kind in p.plan.kinds}
    for row in _exit_costs(kinds, sizes, len(workspace.dataset(p).classes), p.segments, p.input_size):
        yield {**run.columns, **row}


def paper_costs(backbone: str = "coviar", segments: int = 1) -> pd.DataFrame:
    """Measure what leaving costs at the paper's size: ResNet-50 and two ResNet-18, 224 pixels, UCF-101's classes.

    Args:
        backbone: A key of `presets.PLANS`.
        segments: Segments a clip; the paper's TEAM-Net reads 8.

    Returns:
        The columns of `costs`.
    """
    wanted = tuple((reads, "paper") for reads in PLANS[backbone].networks)
    kinds = {kind: KINDS[kind] for kind in PLANS[backbone].kinds}
    return pd.DataFrame(_exit_costs(kinds, wanted, 101, segments, 224))


def flatness_rows(run: Run) -> Rows:
    """Yield every measure of every network's minimum, under every control.

    Args:
        run: Which.

    Yields:
        The columns of `flatness.measures`.
    """
    for control in flatness.controls(run.parameters):
        for modality in run.parameters.plan.networks:
            yield from flatness.measures(run, control, modality)


TABLES: dict[str, Callable[[Run], Rows]] = {
    "curves": lambda run: exits.of(run).backbones.curves(),
    "exits": lambda run: exit_rows(exits.of(run)),
    "trials": lambda run: trial_rows(exits.of(run)),
    "temperatures": temperatures,
    "ensembles": ensemble_rows,
    "weights": weights,
    "early_exit": early_exit,
    "policies": lambda run: operating_points.policies(exits.of(run), run.parameters.plan.chosen),
    "latency": lambda run: latency.latency(exits.of(run)),
    "decoding": lambda run: latency.decoding(exits.of(run)),
    "audit": lambda run: protocol.audit(exits.of(run)),
    "crossfit": crossfit.accuracies,
    "cost": lambda run: cost_rows(exits.of(run)),
    "flatness": flatness_rows,
    "flatness_spectrum": flatness.spectrum,
    "flatness_slices": flatness.slices,
    "flatness_surface": flatness.surface,
    "flatness_exits": lambda run: flatness.exits(exits.of(run)),
    "flatness_biases": flatness.biases,
}

# Parameters that add rows to the tables of runs which are otherwise the same.
CONTENTS = ("temperatures", "light_methods", "paper_methods", "crossfit_folds", "flatness_controls", "flatness_biases")


@functools.cache
def table(p: Parameters, name: str) -> pd.DataFrame:
    """Compute what a table needs, and the table, over all runs that the parameters name.

    It is also written to the folder of the runs, to `tables/<what it holds>/<name>.csv`: a run of one seed leaves alone
    what holds several, and one of other methods what holds the profile's.

    Args:
        p: The parameters.
        name: A key of TABLES.

    Returns:
        The table.
    """
    rows = ({**run.columns, **row} for run in workspace.selected_runs(p) for row in TABLES[name](run))
    return kept(p, name, rows)


def kept(p: Parameters, name: str, rows: Rows) -> pd.DataFrame:
    """Make a table of rows, and write it to the folder of the runs.

    Args:
        p: The parameters.
        name: Of the table.
        rows: Its rows, of all runs.

    Returns:
        The table, whose columns begin with split, seed and backbone.
    """
    rows = list(rows)
    frame = pd.DataFrame(rows, columns=None if rows else ["split", "seed", "backbone"])
    write(frame, tables_folder(p) / f"{name}.csv")
    return frame


def tables_folder(p: Parameters) -> Path:
    """Say where the tables of some runs are written.

    Args:
        p: The parameters.

    Returns:
        `tables/split<k>_seed<s>` in the folder of the runs, with `0-2` for splits or seeds 0 to 2; a digest follows
        where methods, or what else is compared, are not the profile's.
    """
    selected = workspace.selected_runs(p)
    splits, seeds = (sorted({getattr(run, name) for run in selected}) for name in ("split", "seed"))
    profile, asked = p.own_profile.only(*CONTENTS), p.only(*CONTENTS)
    other = "" if asked == profile else f"_{store.digest(asked)[:8]}"
    return folders.run_folder(p) / "tables" / f"split{_span(splits)}_seed{_span(seeds)}{other}"


def all_tables(p: Parameters, names: Iterable[str] = tuple(TABLES)) -> dict[str, pd.DataFrame]:
    """Compute tables.

    Args:
        p: The parameters.
        names: Keys of TABLES.

    Returns:
        Name -> table.
    """
    return {name: table(p, name) for name in names}


def publish(p: Parameters, target: Path, names: Iterable[str] = tuple(TABLES)) -> Path:
    """Write the tables of finished runs as results to commit, with the record of how they came to be.

    What is written first, or all together, has one record, `run.json`. Tables that are written later by name may come
    from other runs: they have a record of their own, `<first name>.run.json`, whose `tables` names them.

    Args:
        p: The parameters.
        target: The folder of results; tables go to `<target>/<profile>/<dataset>/`, by the name of what is there of it,
            packed.
        names: Keys of TABLES.

    Returns:
        That folder.
    """
    where, names = Path(target) / p.variant / workspace.dataset(p).name, list(names)
    for name in names:
        write(table(p, name), where / f"{name}{results.PACKED}")
    record = _record(p)
    for path in where.glob(f"*.{store.RECORD}"):  # of tables that were written before
        earlier = _files.read_json(path)
        left = [name for name in earlier["tables"] if name not in names]
        path.unlink()
        if left:
            _files.write_json(where / f"{left[0]}.{store.RECORD}", earlier | {"tables": left})
    if set(names) == set(TABLES) or not (where / store.RECORD).is_file():
        _files.write_json(where / store.RECORD, record)
    else:
        _files.write_json(where / f"{names[0]}.{store.RECORD}", record | {"tables": names})
    return where


def write(frame: pd.DataFrame, path: Path) -> None:
    """Write a table; equal tables are equal bytes.

    Args:
        frame: The table; numbers keep ten digits.
        path: A file in `.csv`, or in `.csv.xz`, which is a tenth of it and less: rows resemble one another.
    """
    # At the highest preset: a window as long as the largest table finds its rows' likenesses, in half the bytes.
    packing = {"method": "xz", "preset": 9 | lzma.PRESET_EXTREME} if path.suffix == ".xz" else None
    _files.write_atomically(
        path, lambda temporary: frame.to_csv(temporary, index=False, float_format="%.10g", compression=packing)
    )


def _record(p: Parameters) -> dict[str, Any]:
    selected = workspace.selected_runs(p)
    return {
        "protocol": steps.PROTOCOL,
        "parameters": {k: v for k, v in p.flat().items() if k not in ("root", "runs", "cache", "clip")},
        "runs": [{"split": run.split, "seed": run.seed} for run in selected],
        "data": {
            "name": workspace.dataset(p).name,
            "checksum": workspace.dataset(p).checksum,
            "clips": len(workspace.dataset(p).clips),
            "classes": list(workspace.dataset(p).classes),
        },
        "steps": [_step_record(run) for run in selected],
        **store.provenance(),
    }


def _exit_costs(
    kinds: Mapping[str, Maker], wanted: tuple[tuple[str, str], ...], num_classes: int, segments: int, input_size: int
) -> Rows:
    for kind, make in kinds.items():
        measured = costs.exit_costs(wanted, make, num_classes, segments, input_size)
        for modality, figures in measured.items():
            for number, (paid, own) in enumerate(zip(figures.cumulative, figures.own, strict=True), start=1):
                yield {
                    "kind": kind,
                    "modality": modality,
                    "exit": number,
                    "gmac": paid / cost.GMAC,
                    "gmac_ic": own / cost.GMAC,
                    "gmac_bare": figures.bare / cost.GMAC,
                }


def _step_record(run: Run) -> dict[str, Any]:
    # The run's own steps, and those that it shares with other I-frame networks.
    shared = run.without_iframe_network.store.root
    steps = {path.parent: _files.read_json(path) for path in sorted(shared.glob(f"*/{store.RECORD}"))}
    steps = {path: record for path, record in steps.items() if "iframe_network" not in record["settings"]}
    steps |= {path.parent: _files.read_json(path) for path in sorted(run.store.root.glob(f"*/{store.RECORD}"))}
    kept = {
        path.name: {key: record.get(key) for key in ("commit", "modified", "sources", "device", "python")}
        | _files.read_json(path / store.TIMINGS)
        for path, record in steps.items()
    }
    return {"split": run.split, "seed": run.seed, "steps": kept}


def _span(numbers: Sequence[int]) -> str:
    first, last = numbers[0], numbers[-1]
    return str(first) if first == last else f"{first}-{last}"
