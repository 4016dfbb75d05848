"""From a run's artefacts to tidy tables, and from tables to the `results/` that the book shows.

Accuracies are counts per group, so that every statistic can be redone from the tables alone. Each table's columns
begin with split, seed and backbone.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pkdlib import _files
from pkdlib.companion import places, results, store, workspace
from pkdlib.companion.experiments import crossfit, flatness, fusion, latency, operating_points, protocol, training
from pkdlib.companion.experiments.counts import Rows, count
from pkdlib.companion.parameters import Parameters
from pkdlib.companion.presets import PLANS
from pkdlib.companion.workspace import Run
from pkdlib.distillation import schedules
from pkdlib.distillation.train_exits import ExitSpec
from pkdlib.models import cost
from pkdlib.models.backbones import NUM_EXITS


def curves(run: Run) -> Rows:
    """Yield the backbones' training curves.

    Args:
        run: Which.

    Yields:
        modality, epoch, train_loss, train_accuracy, validation_loss, validation_accuracy.
    """
    for modality in run.parameters.plan.networks:
        content = _files.read_json(training.backbone_step(run, modality) / "curves.json")
        for row in content["curves"]:
            yield {"modality": modality, **row, "kept": row["epoch"] == content["kept_epoch"]}


def exits(run: Run) -> Rows:
    """Yield the accuracy of every exit alone.

    Args:
        run: Which.

    Yields:
        modality, method, exit, part, group, clips, correct; method `backbone` at exit 4 is the network's own end.
    """
    values, plan = training.logits(run), run.parameters.plan
    for part in ("validation", "test"):
        for modality in plan.networks:
            yield from count(
                run,
                part,
                values[f"{part}/{modality}/backbone/{NUM_EXITS}"],
                {"modality": modality, "method": "backbone", "exit": NUM_EXITS},
            )
            for method in schedules.selected(run.parameters.paper_methods):
                if schedules.canonical(method, modality) != method:
                    continue  # it stands under the name of the one that it coincides with
                for number in range(1, NUM_EXITS):
                    yield from count(
                        run,
                        part,
                        values[f"{part}/{ExitSpec(modality, plan.paper, method).key}/{number}"],
                        {"modality": modality, "method": method, "exit": number},
                    )


def trials(run: Run) -> Rows:
    """Yield the test accuracy of every internal classifier that was trained: all kinds, methods and learning rates.

    Args:
        run: Which.

    Yields:
        modality, kind, method, lr_factor, exit, part, group, clips, correct; methods that coincide for a modality stand
        under one name.
    """
    tempered = training.tempered(run.parameters)
    yield from _accuracies(run, [trial for trial in training.trials(run.parameters) if trial not in tempered])


def temperatures(run: Run) -> Rows:
    """Yield the test accuracy of the internal classifiers that learn at further temperatures.

    Args:
        run: Which.

    Yields:
        temperature_factor, and the columns of `trials`.
    """
    for trial in training.tempered(run.parameters):
        for row in _accuracies(run, [trial]):
            yield {"temperature_factor": trial.temperature_factor, **row}


def costs(run: Run) -> Rows:
    """Yield what leaving at each exit of each network costs.

    Args:
        run: Which.

    Yields:
        kind, modality, exit, gmac (with the classifiers passed), gmac_ic (this classifier alone), gmac_bare (the
        backbone to its end without any), a clip.
    """
    p = run.parameters
    yield from _exit_costs(p.backbone, training.sizes(p), len(workspace.dataset(p).classes), p.segments, p.input_size)


def paper_costs(backbone: str = "coviar", segments: int = 1) -> pd.DataFrame:
    """Measure what leaving costs at the paper's size: ResNet-50 and two ResNet-18, 224 pixels, UCF-101's classes.

    Args:
        backbone: A key of `presets.PLANS`.
        segments: Segments a clip; the paper's TEAM-Net reads 8.

    Returns:
        The columns of `costs`.
    """
    wanted = tuple((reads, "paper") for reads in PLANS[backbone].networks)
    return pd.DataFrame(_exit_costs(backbone, wanted, 101, segments, 224))


TABLES: dict[str, Callable[[Run], Rows]] = {
    "curves": curves,
    "exits": exits,
    "trials": trials,
    "temperatures": temperatures,
    "ensembles": fusion.accuracies,
    "weights": fusion.weight_rows,
    "early_exit": operating_points.curves,
    "policies": operating_points.policies,
    "latency": latency.latency,
    "decoding": latency.decoding,
    "audit": protocol.audit,
    "crossfit": crossfit.accuracies,
    "cost": costs,
    "flatness": flatness.measures,
    "flatness_spectrum": flatness.spectrum,
    "flatness_slices": flatness.slices,
    "flatness_surface": flatness.surface,
    "flatness_exits": flatness.exits,
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
    selected = workspace.selected_runs(p)
    rows = [
        {"split": run.split, "seed": run.seed, "backbone": p.backbone, **row}
        for run in selected
        for row in TABLES[name](run)
    ]
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
    return places.run_folder(p) / "tables" / f"split{_span(splits)}_seed{_span(seeds)}{other}"


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
    from other runs: each has its own, `<name>.run.json`.

    Args:
        p: The parameters.
        target: The folder of results; tables go to `<target>/<profile>/<dataset>/`, by the name of what is there of it,
            packed.
        names: Keys of TABLES.

    Returns:
        That folder.
    """
    where = Path(target) / p.variant / workspace.dataset(p).name
    for name in names:
        write(table(p, name), where / f"{name}{results.PACKED}")
    record = _record(p)
    if set(names) == set(TABLES) or not (where / store.RECORD).is_file():
        for own in where.glob(f"*.{store.RECORD}"):
            own.unlink()
        _files.write_json(where / store.RECORD, record)
    else:
        for name in names:
            _files.write_json(where / f"{name}.{store.RECORD}", record)
    return where


def write(frame: pd.DataFrame, path: Path) -> None:
    """Write a table; equal tables are equal bytes.

    Args:
        frame: The table; numbers keep ten digits.
        path: A file in `.csv`, or in `.csv.xz`, which is a tenth of it and less: rows resemble one another.
    """
    packing = "xz" if path.suffix == ".xz" else None
    _files.write_atomically(
        path, lambda temporary: frame.to_csv(temporary, index=False, float_format="%.10g", compression=packing)
    )


def _record(p: Parameters) -> dict[str, Any]:
    selected = workspace.selected_runs(p)
    return {
        "protocol": training.PROTOCOL,
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


def _accuracies(run: Run, trials: Iterable[ExitSpec]) -> Rows:
    values = training.logits(run)
    for trial in trials:
        where = dataclasses.asdict(trial)
        del where["temperature_factor"]  # 1, or told before
        for number in range(1, NUM_EXITS):
            yield from count(run, "test", values[f"test/{trial.key}/{number}"], where | {"exit": number})


def _exit_costs(
    backbone: str, wanted: tuple[tuple[str, str], ...], num_classes: int, segments: int, input_size: int
) -> Rows:
    for kind in PLANS[backbone].kinds:
        measured = training.exit_costs(wanted, kind, num_classes, segments, input_size)
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
