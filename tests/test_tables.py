import numpy as np
import pandas as pd
import pytest

from pkdlib import experiments, methods, reports, resources, results, runs, study, summaries, tables, wise
from pkdlib.datasets import DatasetError
from pkdlib.parameters import Parameters

pytestmark = pytest.mark.slow
TINY = {
    "marionette_actors": 6,
    "marionette_actions": 2,
    "marionette_frames": 14,
    "input_size": 32,
    "backbone_epochs": 1,
    "exit_epochs": 1,
    "flatness_clips": 2,
    "flatness_probes": 2,
}


@pytest.fixture(scope="module")
def p(tmp_path_factory):
    place = tmp_path_factory.mktemp("tiny")
    return Parameters.for_profile("smoke", runs=str(place / "runs"), cache=str(place / "cache"), **TINY)


@pytest.fixture(scope="module")
def found(p):
    return tables.all_tables(p)


def correct(frame: pd.DataFrame) -> int:
    return int(frame["correct"].sum())


def test_every_table_begins_with_split_and_seed(found):
    for name, frame in found.items():
        assert list(frame.columns[:2]) == ["split", "seed"], name
        assert len(frame), name


def test_exits_count_what_the_logits_say(p, found):
    (run,) = study.selected_runs(p)
    data = study.dataset(p)
    logits = experiments.logits(run)
    for (modality, method, number, part), rows in found["exits"].groupby(["modality", "method", "exit", "part"]):
        indices = getattr(data.splits[run.split], part)
        owner = "backbone" if method == "backbone" else f"paper/{method}/x1"
        answers = logits[f"{part}/{modality}/{owner}/{number}"].argmax(1)
        expected: dict[str, list[int]] = {}
        for index, answer in zip(indices, answers, strict=True):
            clip = data.clips[index]
            tally = expected.setdefault(clip.group, [0, 0])
            tally[0] += 1
            tally[1] += int(answer == clip.label)
        got = {row.group: [row.clips, row.correct] for row in rows.itertuples()}
        assert got == expected


def test_trials_hold_every_method_once_and_agree_with_the_exits(found):
    trials = found["trials"]
    assert set(trials["method"]) == set(methods.METHODS)
    key = ["modality", "kind", "method", "lr_factor", "exit", "part", "group"]
    assert not trials.duplicated(key).any()
    assert set(trials.query("kind == 'light' and method == 'ce'")["lr_factor"].round(2)) == {0.33, 1.0, 3.0}
    paper = trials.query("kind == 'paper'").merge(found["exits"], on=["modality", "method", "exit", "part", "group"])
    assert len(paper) == len(found["exits"].query("exit < 4 and part == 'test'"))
    assert (paper["correct_x"] == paper["correct_y"]).all()


def test_parts_share_no_group(found):
    groups = found["exits"].groupby("part")["group"].unique()
    assert not set(groups["test"]) & set(groups["validation"])


def test_the_last_exit_of_the_cascade_is_the_iframe_networks_end(found):
    ensembles, exits = found["ensembles"], found["exits"]
    last = ensembles.query("part == 'test' and method == 'pkd' and rule == 'last' and prefix == 12")
    end = exits.query("part == 'test' and modality == 'iframe' and exit == 4")
    assert correct(last) == correct(end)


def test_never_leaving_early_is_wise_over_all_exits(p, found):
    cascade = found["early_exit"].query("setting == 1.0 and system == 'wise_cascade'")
    whole = found["ensembles"].query("part == 'test' and rule == 'wise' and prefix == 12")
    for method in methods.selected(p.paper_methods):
        never = cascade[cascade["method"] == method]
        assert round((never["accuracy"] * never["clips"]).sum()) == correct(whole[whole["method"] == method])


def test_the_policys_cost_is_told_beside_that_of_everything(p, found):
    (run,) = study.selected_runs(p)
    table = found["policies"]
    whole = experiments.cascade_costs(run, "light")[-1]
    np.testing.assert_allclose(table[table["system"] == "everything"]["gmac"], whole)
    assert (table[table["system"] == "policy"]["gmac"] <= whole).all()
    logits = experiments.logits(run)
    finals = experiments.cascade_logits(logits, "validation", "light", "ce")
    weights = wise.fit(finals, experiments.labels(run, "validation"))
    test = np.einsum("nkc,k->nc", experiments.cascade_logits(logits, "test", "light", "ce"), weights)
    right = (test.argmax(1) == experiments.labels(run, "test")).sum()
    assert correct(table[table["system"] == "everything"]) == right


def test_costs_of_the_cascade_add_up(p, found):
    cost = found["cost"]
    whole = cost[cost["exit"] == 4]["gmac"].sum()
    never = found["early_exit"].query("setting == 1.0 and system == 'wise_cascade'")
    np.testing.assert_allclose(never["gmac"], whole)
    fewest = found["early_exit"].query("system == 'fewer_segments' and setting == 1.0")["gmac"].iloc[0]
    assert fewest == pytest.approx(cost[cost["exit"] == 4]["gmac_bare"].sum() / p.segments)


def test_the_reader_of_results_knows_every_table():
    assert set(results.NAMES) == set(tables.TABLES)


def test_a_table_is_written_beside_the_runs(p, found):
    path = study.run_folder(p) / "tables" / "exits.csv"
    pd.testing.assert_frame_equal(pd.read_csv(path), found["exits"])


def test_a_step_records_its_settings_and_data(p, found):
    (run,) = study.selected_runs(p)
    record = runs.read_json(run.store.root / "logits" / runs.RECORD)
    assert record["settings"]["protocol"] == "clean"
    assert record["settings"]["data"] == study.dataset(p).checksum


def test_published_results_come_back_and_are_judged(p, found, tmp_path, monkeypatch):
    where = tables.publish(p, tmp_path)
    record = runs.read_json(where / runs.RECORD)
    assert record["runs"] == [{"split": 0, "seed": 0}]
    assert record["data"]["clips"] == 12
    original = resources.folder
    monkeypatch.setattr(resources, "folder", lambda name: tmp_path if name == "results" else original(name))
    assert results.published_sets() == [(p.variant, "marionette")]
    judged = reports.judged(found, dataset="marionette", profile=p.variant)
    assert (judged["verdict"].isin(["undecided", "not measured"])).all()  # one seed decides nothing
    both = judged.dropna(subset=["estimate"])
    np.testing.assert_allclose(both["yours"], both["estimate"], atol=1e-6)  # the same runs
    assert f"on marionette ({p.variant})" in reports.verdicts_sentence(judged)
    ((name, accuracies),) = summaries.accuracy_tables()
    assert name == f"marionette ({p.variant})"
    assert (accuracies["low"] <= accuracies["accuracy"]).all() and (accuracies["accuracy"] <= accuracies["high"]).all()
    pooled = found["exits"].query("part == 'test' and modality == 'motion' and exit == 4")
    expected = 100 * (pooled["correct"] / pooled["clips"]).mean()
    assert accuracies.loc["motion-vector network", "accuracy"] == pytest.approx(expected, abs=0.05)
    ((_, table),) = reports.verdict_tables(judged)
    assert list(table.columns[:3]) == ["claim", "comparison", "verdict"] and "yours" in table
    assert "..." not in reports.as_html(table)


def test_export_writes_what_predict_reads(p, found, tmp_path):
    experiments.export(p, tmp_path / "out", log=lambda line: None)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "model.safetensors",
        "model.json",
        "logits.safetensors",
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "kinetics"}, "'kinetics' is not known; the data sets are: marionette, ut_interaction, folder"),
        ({"dataset": "folder"}, "needs the parameter root"),
        ({"dataset": "folder", "root": "somewhere"}, "needs the parameter pattern"),
        ({"split": 9}, "split = 9: the data set marionette has splits 0 to 2"),
    ],
)
def test_wrong_data_is_refused_in_one_line(p, changes, message):
    values = p.flat() | changes
    with pytest.raises(DatasetError, match=message):
        study.selected_runs(Parameters.for_profile(**values))
