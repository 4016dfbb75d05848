"""Bring committed tables of flatness to what their measures mean by now, and train again what is at matched loss.

Usage: python benchmarks/flatness_again.py PROFILE DATASET [--backbone NAME] [--root DIR] [--cache DIR] [--runs DIR]
    [--seeds N]

Input curvature was once written down in the units of each network's own input: a constant factor away from what it is
now, by `flatness.input_deviation` of the same clips, whose checksum must be the committed record's. So its rows are
multiplied, in `flatness` and `flatness_biases`, and the deviations become rows of their own.

With `--seeds`, the networks at matched loss of that many seeds of split 0 are trained and measured, down to the highest
loss of the seed's own networks as it is committed; their rows take the place of all that were there. What is finished
is kept in the folder of runs, and the table is written after every seed. Records say what was made of what.
"""

import argparse
import dataclasses

import pandas as pd

from pkdlib import _files, _resources
from pkdlib.companion import results, tables, workspace
from pkdlib.companion.experiments import flatness
from pkdlib.companion.experiments import steps as run_steps
from pkdlib.companion.flatness_controls import CONTROLS, SAME
from pkdlib.companion.parameters import Parameters
from pkdlib.companion.runs import store
from pkdlib.companion.workspace import Run

BY_INPUT = ("input_trace", "input_top_eigenvalue")
MATCHED = "matched"
SAME_DATA = ("marionette_", "input_size", "segments", "candidates")


def main():
    """Do both, and write the tables with their records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile")
    parser.add_argument("dataset")
    for name in ("backbone", "root", "cache", "runs"):
        parser.add_argument(f"--{name}", default=Parameters.model_fields[name].default)
    parser.add_argument("--seeds", type=int, default=0, help="whose networks at matched loss are made again (none)")
    chosen = vars(parser.parse_args())
    seeds = chosen.pop("seeds")
    p = Parameters.for_profile(chosen.pop("profile"), **chosen)
    place = _resources.folder("results") / p.variant / p.dataset
    path = place / f"flatness{results.PACKED}"
    judge_per_deviation(path, p)
    for seed in range(seeds):
        run = Run(p.replace(flatness_controls=MATCHED), 0, seed)
        write(path, *matched_again(pd.read_csv(path), record_of(path), run))
    judge_per_deviation(place / f"flatness_biases{results.PACKED}", p)


def judge_per_deviation(path, p):
    """Rewrite a table whose curvature by the input is in the input's own units; leave another as it is."""
    if path.is_file() and len(table := pd.read_csv(path)) and "input_deviation" not in set(table["measure"]):
        write(path, *per_deviation(table, record_of(path), p))


def per_deviation(table, record, p):
    """Multiply curvature by the input, and add the deviations."""
    for name, value in p.only(*SAME_DATA).items():
        if record["parameters"].get(name, value) != value:
            raise SystemExit(f"{name} was {record['parameters'][name]} then, and is {value} now")
    if workspace.dataset(p).checksum != record["data"]["checksum"]:
        raise SystemExit("the clips are not those of the committed table: their checksum is another")
    where = ["scene_bias", "split", "modality"] if "scene_bias" in table else ["split", "modality"]
    networks = [*where[:-1], "seed", "backbone", *({"control"} & set(table)), "modality"]
    parts, deviations = [], {}
    for own, rows in table.groupby(networks, sort=False):
        values = dict(zip(networks, own, strict=True))
        bias = values.get("scene_bias", p.marionette_scene_bias)
        data = p.replace(marionette_scene_bias=bias)
        deviation = flatness.input_deviation(data, values["split"], values["modality"])
        deviations[tuple(values[name] for name in where)] = {
            **{name: values[name] for name in where},
            "deviation": deviation,
            "data": workspace.dataset(data).checksum,
        }
        rows = rows.copy()
        rows.loc[rows["measure"].isin(BY_INPUT), ["value", "standard_error"]] *= deviation**2
        last = {**values, "measure": "input_deviation", "value": deviation, "standard_error": 0.0}
        parts += [rows, pd.DataFrame([last], columns=table.columns)]
    made = {
        "what": "curvature by the input was multiplied by the deviation squared, the deviations were added",
        "deviations": list(deviations.values()),
    }
    return pd.concat(parts), noted(record, "input_curvature", made)


def matched_again(table, record, run):
    """Train and measure the networks of a run at matched loss, in place of those that were there."""
    run = dataclasses.replace(run, parameters=run.parameters.replace(keep=True))
    here = (table["split"] == run.split) & (table["seed"] == run.seed)
    for modality in run.parameters.plan.networks:
        own = table[here & (table["control"] == SAME) & (table["modality"] == modality)]
        keep(run, modality, own[["measure", "value", "standard_error"]].to_dict("records"))
    where = {"split": run.split, "seed": run.seed, "backbone": run.parameters.backbone}
    found = pd.DataFrame([{**where, **row} for row in tables.flatness_rows(run)], columns=table.columns)
    finished = [] if MATCHED not in record.get("again", {}) else record["again"][MATCHED]["seeds"]
    others = table[(table["control"] != MATCHED) | (table["seed"].isin(finished) & ~here)]
    merged = pd.concat([others, found])
    controls = merged["control"].map(list(CONTROLS).index)
    merged = merged.assign(order=controls).sort_values(["split", "seed", "order"], kind="stable").drop(columns="order")
    for steps in record["steps"]:
        steps["steps"] = {name: step for name, step in steps["steps"].items() if MATCHED not in name or "again" in step}
        if (steps["split"], steps["seed"]) == (run.split, run.seed):
            new = tables._step_record(run)["steps"]
            steps["steps"] |= {name: step | {"again": True} for name, step in new.items() if MATCHED in name}
    made = {
        "what": "down to the highest loss of the run's own networks as committed; these were not trained again",
        "seeds": sorted({*finished, run.seed}),
    }
    return merged, noted(record, MATCHED, made)


def keep(run, modality, rows):
    """Write committed measures of a run's own network into the folder of runs, as a finished step of other code."""
    run.store.step(
        f"flatness-{SAME}-{modality}",
        lambda target: _files.write_json(target / "measures.json", rows),
        run_steps.settings(run, *flatness.deciding(SAME, modality)),
        {"code": "committed"},
    )


def record_of(path):
    """Read the record of a table: its own, or that of all tables in its folder."""
    return _files.read_json(record_path(path))


def record_path(path):
    """Say where that record lies."""
    own = path.with_name(f"{path.name.removesuffix(results.PACKED)}.{store.RECORD}")
    return own if own.is_file() else path.parent / store.RECORD


def noted(record, what, made):
    """Add to a record what was made again, by which code and where."""
    return record | {"again": record.get("again", {}) | {what: {**made, **store.provenance()}}}


def write(path, table, record):
    """Write a table and its record."""
    tables.write(table, path)
    _files.write_json(record_path(path), record)
    print(f"{path}: {len(table)} rows", flush=True)


if __name__ == "__main__":
    main()
