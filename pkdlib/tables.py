"""From a run's artefacts to tidy tables, and from tables to the `results/` that the book shows.

Accuracies are counts per group, so that every statistic can be redone from the tables alone. Each table's columns
begin with split and seed.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pkdlib import cost, early_exit, experiments, methods, runs, study, wise
from pkdlib.distillation import Trial
from pkdlib.early_exit import Policy
from pkdlib.networks import MODALITIES, NUM_EXITS
from pkdlib.parameters import Parameters
from pkdlib.study import Run

Rows = Iterator[dict[str, Any]]
# The internal classifiers of the cascades.
KIND = "paper"


def curves(run: Run) -> Rows:
    """Yield the backbones' training curves.

    Args:
        run: Which.

    Yields:
        modality, epoch, train_loss, train_accuracy, validation_loss, validation_accuracy.
    """
    for modality in MODALITIES:
        content = runs.read_json(experiments.backbone_step(run, modality) / "curves.json")
        for row in content["curves"]:
            yield {"modality": modality, **row, "kept": row["epoch"] == content["kept_epoch"]}


def exits(run: Run) -> Rows:
    """Yield the accuracy of every exit alone.

    Args:
        run: Which.

    Yields:
        modality, method, exit, part, group, clips, correct; method `backbone` at exit 4 is the network's own end.
    """
    values = experiments.logits(run)
    for part in ("validation", "test"):
        count = _counter(run, part)
        for modality in MODALITIES:
            yield from count(
                values[f"{part}/{modality}/backbone/{NUM_EXITS}"],
                {"modality": modality, "method": "backbone", "exit": NUM_EXITS},
            )
            for method in _methods(run):
                if methods.canonical(method, modality) != method:
                    continue  # it stands under the name of the one that it coincides with
                for number in range(1, NUM_EXITS):
                    yield from count(
                        values[f"{part}/{Trial(modality, KIND, method).key}/{number}"],
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
    values = experiments.logits(run)
    count = _counter(run, "test")
    for trial in experiments.trials(run.parameters):
        for number in range(1, NUM_EXITS):
            where = dataclasses.asdict(trial) | {"exit": number}
            yield from count(values[f"test/{trial.key}/{number}"], where)


def ensembles(run: Run) -> Rows:
    """Yield the accuracy of combined exits, and of the late fusion of bare backbones.

    Args:
        run: Which.

    Yields:
        method, rule, prefix, part, group, clips, correct. Rules `wise`, `uniform` and `last` (the prefix's last exit
        alone) have prefixes 1 to 12; `late_equal` and `late_fitted` fuse the three final outputs and have prefix 0.
    """
    values = experiments.logits(run)
    count = _counter(run, "test")
    for method in _methods(run):
        fitted = wise.fit_prefixes(
            experiments.cascade_logits(values, "validation", KIND, method), experiments.labels(run, "validation")
        )
        stacked = experiments.cascade_logits(values, "test", KIND, method)
        rules = {
            "wise": wise.scores(stacked, fitted),
            "uniform": wise.scores(stacked, wise.uniform_weights(len(fitted))),
            "last": stacked,
        }
        for rule, scores in rules.items():
            for prefix in range(1, scores.shape[1] + 1):
                yield from count(scores[:, prefix - 1], {"method": method, "rule": rule, "prefix": prefix})
    weights = _late_fusion_weights(run, values, run.parameters.segments)
    finals = _finals(values, "test", run.parameters.segments)
    for rule, vector in (("late_equal", np.full(3, 1 / 3)), ("late_fitted", weights)):
        where = {"method": "backbone", "rule": rule, "prefix": 0}
        yield from count(np.einsum("nkc,k->nc", finals, vector), where)


def weights(run: Run) -> Rows:
    """Yield the WISE weights.

    Args:
        run: Which.

    Yields:
        method, prefix, member, weight.
    """
    values = experiments.logits(run)
    for method in _methods(run):
        stacked = experiments.cascade_logits(values, "validation", KIND, method)
        for vector in wise.fit_prefixes(stacked, experiments.labels(run, "validation")):
            for member, weight in zip(wise.ORDER, vector, strict=False):
                yield {"method": method, "prefix": len(vector), "member": member, "weight": weight}


def early_exits(run: Run) -> Rows:
    """Yield accuracy against cost: the WISE cascade at each threshold, and bare late fusion with fewer segments.

    Args:
        run: Which.

    Yields:
        method, system, setting, group, gmac, accuracy, clips, for each group of test clips.
    """
    values = experiments.logits(run)
    truth, groups = experiments.labels(run, "test"), _groups(run, "test")
    prices = experiments.cascade_costs(run, KIND)
    for method in _methods(run):
        stacked = experiments.cascade_logits(values, "validation", KIND, method)
        fitted = wise.fit_prefixes(stacked, experiments.labels(run, "validation"))
        scores = wise.scores(experiments.cascade_logits(values, "test", KIND, method), fitted)
        for group in np.unique(groups):
            members = groups == group
            for row in early_exit.trade_off(scores[members], truth[members], prices):
                yield {"method": method, "system": "wise_cascade", "group": str(group), **row}
    bare = sum(figures.bare for figures in experiments.costs(run, KIND).values()) / cost.GMAC
    for segments in range(1, run.parameters.segments + 1):
        vector = _late_fusion_weights(run, values, segments)
        right = np.einsum("nkc,k->nc", _finals(values, "test", segments), vector).argmax(axis=1) == truth
        for group in np.unique(groups):
            yield {
                "method": "backbone",
                "system": "fewer_segments",
                "group": str(group),
                "setting": float(segments),
                "gmac": bare * segments / run.parameters.segments,
                "accuracy": float(right[groups == group].mean()),
                "clips": int((groups == group).sum()),
            }


def policies(run: Run) -> Rows:
    """Yield a policy at half the cost of running everything, both with light classifiers trained by cross-entropy.

    Order, criterion and threshold are those with the highest validation accuracy among all whose validation cost is at
    most half of it (the cheapest among equals); the weights are fitted on the same validation clips.

    Args:
        run: Which.

    Yields:
        system (`everything`, in the reference's order without leaving, or `policy`), order, criterion, group, part,
        clips, correct, gmac (mean a clip of the group).
    """
    values, truth = experiments.logits(run), experiments.labels(run, "validation")
    found = []
    for order in wise.ORDERS:
        members, prices = wise.visiting_order(order), experiments.cascade_costs(run, "light", order)
        stacked = experiments.cascade_logits(values, "validation", "light", "ce", members)
        fitted = wise.fit_prefixes(stacked, truth)
        scores = wise.scores(stacked, fitted)
        for criterion in early_exit.CRITERIA:
            threshold = early_exit.choose_threshold(scores, truth, prices, criterion=criterion, budget=prices[-1] / 2)
            (row,) = early_exit.trade_off(scores, truth, prices, [threshold], criterion)
            policy = Policy(order=order, weights=tuple(fitted), criterion=criterion, threshold=threshold)
            found.append((-row["accuracy"], row["gmac"], len(found), policy))
    chosen = min(found)[-1]
    first = next(policy for *_, policy in found if policy.order == wise.ORDERS[0])
    count, groups = _counter(run, "test"), _groups(run, "test")
    for system, policy in (("everything", dataclasses.replace(first, threshold=early_exit.NEVER)), ("policy", chosen)):
        members, prices = wise.visiting_order(policy.order), experiments.cascade_costs(run, "light", policy.order)
        stacked = experiments.cascade_logits(values, "test", "light", "ce", members)
        scores = wise.scores(stacked, policy.weights)
        exits = early_exit.leave_at(scores, policy.threshold, policy.criterion)
        where = {"system": system, "order": " ".join(policy.order), "criterion": policy.criterion}
        for row in count(scores[np.arange(len(exits)), exits], where):
            yield row | {"gmac": float(prices[exits[groups == row["group"]]].mean())}


def costs(run: Run) -> Rows:
    """Yield what leaving at each exit of each network costs.

    Args:
        run: Which.

    Yields:
        modality, exit, gmac (with the classifiers passed), gmac_ic (this classifier alone), gmac_bare (the backbone to
        its end without any), a clip.
    """
    for modality, figures in experiments.costs(run, KIND).items():
        for number, (paid, own) in enumerate(zip(figures.cumulative, figures.own, strict=True), start=1):
            yield {
                "modality": modality,
                "exit": number,
                "gmac": paid / cost.GMAC,
                "gmac_ic": own / cost.GMAC,
                "gmac_bare": figures.bare / cost.GMAC,
            }


def flatness(run: Run) -> Rows:
    """Yield the curvature figures of the backbones.

    Args:
        run: Which.

    Yields:
        modality, measure, value, standard_error.
    """
    for modality in MODALITIES:
        for row in runs.read_json(experiments.flatness_step(run, modality) / "flatness.json"):
            yield {"modality": modality, **row}


TABLES: dict[str, Callable[[Run], Rows]] = {
    "curves": curves,
    "exits": exits,
    "trials": trials,
    "ensembles": ensembles,
    "weights": weights,
    "early_exit": early_exits,
    "policies": policies,
    "cost": costs,
    "flatness": flatness,
}


@functools.cache
def table(p: Parameters, name: str) -> pd.DataFrame:
    """Compute what a table needs, and the table, over all runs that the parameters name.

    It is also written to `tables/<name>.csv` in the folder of the runs.

    Args:
        p: The parameters.
        name: A key of TABLES.

    Returns:
        The table.
    """
    selected = study.selected_runs(p)
    rows = [{"split": run.split, "seed": run.seed, **row} for run in selected for row in TABLES[name](run)]
    frame = pd.DataFrame(rows)
    _write_csv(frame, study.run_folder(p) / "tables" / f"{name}.csv")
    return frame


def all_tables(p: Parameters) -> dict[str, pd.DataFrame]:
    """Compute all tables.

    Args:
        p: The parameters.

    Returns:
        Name -> table.
    """
    return {name: table(p, name) for name in TABLES}


def publish(p: Parameters, target: Path, names: Iterable[str] = tuple(TABLES)) -> Path:
    """Write the tables of finished runs as results to commit, with their `run.json`.

    Args:
        p: The parameters.
        target: The folder of results; tables go to `<target>/<profile>/<dataset>/`.
        names: Keys of TABLES.

    Returns:
        That folder.
    """
    where = Path(target) / p.variant / p.dataset
    for name in names:
        _write_csv(table(p, name), where / f"{name}.csv")
    selected = study.selected_runs(p)
    record = {
        "protocol": experiments.PROTOCOL,
        "parameters": {k: v for k, v in p.flat().items() if k not in ("root", "runs", "cache", "clip")},
        "runs": [{"split": run.split, "seed": run.seed} for run in selected],
        "data": {
            "checksum": study.dataset(p).checksum,
            "clips": len(study.dataset(p).clips),
            "classes": list(study.dataset(p).classes),
        },
        "steps": [_step_record(run) for run in selected],
        **runs.provenance(),
    }
    runs.write_json(where / runs.RECORD, record)
    return where


def _methods(run: Run) -> list[str]:
    return methods.selected(run.parameters.paper_methods)


def _counter(run: Run, part: str) -> Callable[[np.ndarray, dict[str, Any]], Rows]:
    truth, groups = experiments.labels(run, part), _groups(run, part)

    def count(scores: np.ndarray, where: dict[str, Any]) -> Rows:
        right = scores.argmax(axis=1) == truth
        for group in np.unique(groups):
            members = groups == group
            tally = {"clips": int(members.sum()), "correct": int(right[members].sum())}
            yield {**where, "part": part, "group": str(group), **tally}

    return count


def _groups(run: Run, part: str) -> np.ndarray:
    data = study.dataset(run.parameters)
    return np.array([data.clips[index].group for index in getattr(data.splits[run.split], part)])


def _finals(values: dict[str, np.ndarray], part: str, segments: int) -> np.ndarray:
    return np.stack([values[f"{part}/{m}/backbone/segments{segments}"] for m in MODALITIES], axis=1)


def _late_fusion_weights(run: Run, values: dict[str, np.ndarray], segments: int) -> np.ndarray:
    return wise.fit(_finals(values, "validation", segments), experiments.labels(run, "validation"))


def _step_record(run: Run) -> dict[str, Any]:
    steps = sorted(path.parent for path in run.store.root.glob(f"*/{runs.RECORD}"))
    records = {step.name: runs.read_json(step / runs.RECORD) for step in steps}
    timings = {step.name: runs.read_json(step / runs.TIMINGS) for step in steps}
    kept = {
        name: {key: record[key] for key in ("commit", "modified", "device", "python")} | timings[name]
        for name, record in records.items()
    }
    return {"split": run.split, "seed": run.seed, "steps": kept}


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    runs.write_atomically(path, lambda temporary: frame.to_csv(temporary, index=False, float_format="%.10g"))
