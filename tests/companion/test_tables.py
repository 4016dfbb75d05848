import dataclasses
import itertools
import lzma
import re

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from pkdlib import _files, _resources
from pkdlib.companion import export, folders, results, tables, workspace
from pkdlib.companion.book import display
from pkdlib.companion.book.page_tables import verdict_tables
from pkdlib.companion.claims import verdicts
from pkdlib.companion.experiments import backbones as run_backbones
from pkdlib.companion.experiments import counts, fusion, latency, operating_points, protocol
from pkdlib.companion.experiments import exits as run_exits
from pkdlib.companion.experiments.backbones import Backbones
from pkdlib.companion.experiments.exits import Exits
from pkdlib.companion.parameters import Parameters
from pkdlib.companion.runs import store
from pkdlib.data import sampling
from pkdlib.data.datasets import DatasetError
from pkdlib.distillation import exit_training, schedules
from pkdlib.distillation.specs import ExitSpec
from pkdlib.early_exit import policies, predictor
from pkdlib.models.backbones import MODALITIES
from pkdlib.training import devices, loop
from tests.extent import NIGHTLY

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


@pytest.fixture(scope="module")
def team(p):
    """Runs of TEAM-Net beside them."""
    return Parameters.for_profile("smoke", runs=p.runs, cache=p.cache, backbone="teamnet", **TINY)


def correct(frame: pd.DataFrame) -> int:
    return int(frame["correct"].sum())


def test_every_table_begins_with_split_seed_and_backbone(found):
    for name, frame in found.items():
        assert list(frame.columns[:3]) == ["split", "seed", "backbone"], (name, frame.columns)
        assert len(frame) or name in ("flatness_biases", "crossfit", "temperatures"), name


def test_exits_count_what_the_logits_say(p, found):
    (run,) = workspace.selected_runs(p)
    data = workspace.dataset(p)
    logits = run_exits.of(run).logits
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
    assert set(trials["method"]) == set(schedules.METHODS)
    key = ["modality", "kind", "method", "lr_factor", "exit", "part", "group"]
    assert not trials.duplicated(key).any()
    assert set(trials.query("kind == 'light' and method == 'ce'")["lr_factor"].round(2)) == {0.33, 1.0, 3.0}
    paper = trials.query("kind == 'paper'").merge(found["exits"], on=["modality", "method", "exit", "part", "group"])
    assert len(paper) == len(found["exits"].query("exit < 4 and part == 'test'"))
    assert (paper["correct_x"] == paper["correct_y"]).all()


def test_what_learns_at_another_temperature_stands_apart(p, found):
    p = p.replace(temperatures="4")
    softer, trials = tables.table(p, "temperatures"), found["trials"]
    pd.testing.assert_frame_equal(tables.table(p, "trials"), trials)
    assert set(softer["temperature_factor"]) == {4.0}
    of_kinds = softer.groupby("kind")["method"].unique().map(set).to_dict()
    assert of_kinds == {"light": {"pkd", "self", "iframe"}, "paper": {"pkd"}}  # paper_methods are ce and pkd here
    assert list(trials.columns) == [name for name in softer.columns if name != "temperature_factor"]
    (run,) = workspace.selected_runs(p)
    logits, data = run_exits.of(run).logits, workspace.dataset(p)
    answers = logits["test/motion/light/pkd/x1-t4/2"].argmax(1)
    expected = sum(answers == [data.clips[index].label for index in data.splits[run.split].test])
    assert (
        correct(softer.query("modality == 'motion' and kind == 'light' and method == 'pkd' and exit == 2")) == expected
    )
    assert not np.array_equal(logits["test/motion/light/pkd/x1-t4/2"], logits["test/motion/light/pkd/x1/2"])


def test_parts_share_no_group(found):
    groups = found["exits"].groupby("part")["group"].unique()
    assert not set(groups["test"]) & set(groups["validation"])


def test_the_last_exit_of_the_cascade_is_the_iframe_networks_end(found):
    ensembles, exits = found["ensembles"], found["exits"]
    last = ensembles.query("kind == 'paper' and method == 'pkd' and rule == 'last' and prefix == 12")
    end = exits.query("part == 'test' and modality == 'iframe' and exit == 4")
    assert correct(last) == correct(end)


def test_rules_are_told_once_for_each_cascade(found):
    table = found["ensembles"]
    assert not table.duplicated(["kind", "method", "rule", "prefix", "group"]).any()
    whole = table[(table["kind"] == "light") & (table["method"] == "ce") & (table["prefix"] == 12)]
    assert set(whole["rule"]) == {*fusion.RULES, "last", "stacking", "no_scaling", "no_lateral"}
    # The reference's no-lateral falls back on the I-frame network alone, and the uniform mean is its sum of exits.
    assert correct(whole[whole["rule"] == "no_lateral"]) == correct(whole[whole["rule"] == "last"])


def test_never_leaving_early_is_wise_over_all_exits(found):
    cascade = found["early_exit"].query("setting == 1.0 and system == 'cascade' and criterion == 'max_softmax'")
    whole = found["ensembles"].query("rule == 'wise' and prefix == 12")
    for (kind, method), rows in cascade[cascade["rule"] == "wise"].groupby(["kind", "method"]):
        never = rows[rows["order"] == "residual motion iframe"]
        right = whole[(whole["kind"] == kind) & (whole["method"] == method)]
        assert round((never["accuracy"] * never["clips"]).sum()) == correct(right)


def test_running_everything_is_told_beside_the_policies(p, found):
    (run,) = workspace.selected_runs(p)
    table = found["policies"]
    for kind, method in p.plan.chosen:
        own = table[table["kind"] == kind]
        prices = run_exits.of(run).cascade_costs(kind, p.plan.orders[0])
        np.testing.assert_allclose(own[own["share"] == 1]["gmac"], prices[-1])
        assert (own["gmac"] <= prices[-1] + 1e-9).all()
        whole = found["ensembles"].query("rule == 'wise' and prefix == 12")
        right = whole[(whole["kind"] == kind) & (whole["method"] == method)]
        assert correct(own[own["share"] == 1]) == correct(right)


def test_a_policy_keeps_its_budget_on_validation_and_none_there_is_better(p):
    (run,) = workspace.selected_runs(p)
    truth = counts.labels(run, "validation")

    def outcome(order, criterion, threshold):
        system = operating_points.System("light", "ce", order, criterion=criterion)
        scores, prices = system.scores(run_exits.of(run), "validation"), system.costs(run_exits.of(run))
        exits = policies.leave_at(scores, threshold, criterion)
        answers = scores[np.arange(len(exits)), exits].argmax(axis=1)
        return (answers == truth).mean(), prices[exits].mean(), prices[-1]

    policy = operating_points.choose(run_exits.of(run), "light", "ce", 0.5)
    best, paid, whole = outcome(policy.order, policy.criterion, policy.threshold)
    assert paid <= whole / 2
    for order, (criterion, thresholds) in itertools.product(p.plan.orders, policies.THRESHOLDS.items()):
        for threshold in thresholds:
            accuracy, cost, _ = outcome(order, criterion, threshold)
            assert cost > whole / 2 or accuracy <= best + 1e-12


def test_the_executor_answers_what_the_tables_say(p):
    (run,) = workspace.selected_runs(p)
    policy = operating_points.choose(run_exits.of(run), "light", "ce", 0.5)
    test = workspace.dataset(p).splits[run.split].test
    inputs = sampling.evaluation_batch(
        workspace.frame_bank(p), test, modalities=policy.order, size=p.input_size, segments=p.segments
    )
    nets = run_exits.of(run).load("light", "ce")
    answers = policies.execute(nets, lambda modality, left: inputs[modality][left], len(test), policy)
    scores = operating_points.System("light", "ce", policy.order, criterion=policy.criterion).scores(
        run_exits.of(run), "test"
    )
    exits = policies.leave_at(scores, policy.threshold, policy.criterion)
    sure = answers.distances > 1e-5
    assert (answers.exits == exits)[sure].all()


def test_times_are_told_for_every_system_and_batch(p, found):
    table = found["latency"]
    assert len(table) == 2 * (p.segments + 2 * (len(operating_points.SHARES) + 1))
    assert (table["milliseconds"] > 0).all()
    whole = found["decoding"].query(f"segments == {p.segments}")["milliseconds"].sum()
    every = table.query("setting == 1.0 and system == 'policy'")["decoding"]
    np.testing.assert_allclose(every, whole)


def test_the_audit_takes_the_best_look_only_where_it_selects_on_test(p, found):
    (run,) = workspace.selected_runs(p)
    looks = load_file(protocol.audit_step(run_exits.of(run)) / protocol.ANSWERS)
    table = (
        found["audit"]
        .groupby(["gain", "switch"])
        .apply(lambda rows: np.average(rows["difference"], weights=rows["clips"]), include_groups=False)
    )
    gain = 0.0
    for modality in MODALITIES:
        for method, sign in (("pkd", 1), ("ce", -1)):
            own = looks[f"clean/{modality}/light/{schedules.canonical(method, modality)}/x1"].numpy()
            assert own.shape[:2] == (p.audit_epochs, 3)
            gain += sign * 100 * own.mean(axis=2).max(axis=0).sum() / 9
    assert table["PKD - CE", "selection on test"] == pytest.approx(gain)
    longer = looks["drift/motion/light/pkd/x1/epochs-x2"]
    assert len(longer) == 2 * p.audit_epochs
    whole = found["ensembles"].query("kind == 'paper' and method == 'pkd' and rule == 'wise' and prefix == 12")
    fused = found["ensembles"].query("rule == 'late_fitted'")
    expected = 100 * (correct(whole) - correct(fused)) / whole["clips"].sum()
    assert table["WISE - fusion", "clean"] == pytest.approx(expected)


def test_backbones_drift_only_where_they_are_told_to(p):
    (run,) = workspace.selected_runs(p)
    bank, split = workspace.frame_bank(p), workspace.dataset(p).splits[0]
    batch = sampling.evaluation_batch(
        bank, split.train[:4], modalities=MODALITIES, size=p.input_size, segments=p.segments
    )
    for forward, moves in ((exit_training.frozen_pass, False), (protocol.drifting_pass, True)):
        nets = run_backbones.of(run).load()
        before = {name: value.clone() for name, value in nets["motion"].state_dict().items()}
        forward(nets, batch)
        after = nets["motion"].state_dict()
        moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
        assert all("running" in name or "num_batches" in name for name in moved)
        assert bool(moved) == moves and not nets["motion"].training


def test_costs_of_the_cascade_add_up(p, found):
    cost = found["cost"]
    for kind in ("light", "paper"):
        own = cost[cost["kind"] == kind]
        never = found["early_exit"].query("setting == 1.0 and system == 'cascade' and criterion == 'max_softmax'")
        np.testing.assert_allclose(never[never["kind"] == kind]["gmac"], own[own["exit"] == 4]["gmac"].sum())
        fewest = found["early_exit"].query("system == 'fewer_segments' and setting == 1.0")["gmac"].iloc[0]
        assert fewest == pytest.approx(own[own["exit"] == 4]["gmac_bare"].sum() / p.segments)


def test_the_reader_of_results_knows_every_table():
    assert set(results.NAMES) == set(tables.TABLES)


def test_a_table_is_written_beside_the_runs(p):
    frame = tables.table(p, "exits")
    path = folders.run_folder(p) / "tables" / "split0_seed0" / "exits.csv"
    pd.testing.assert_frame_equal(pd.read_csv(path), frame)


def test_a_run_of_one_seed_leaves_the_tables_of_all_seeds_alone(p):
    def written(name, **changes):
        changed = p.replace(**changes)
        assert folders.run_folder(changed) == folders.run_folder(p)
        frame = tables.table(changed, name)
        path = tables.tables_folder(changed) / f"{name}.csv"
        pd.testing.assert_frame_equal(pd.read_csv(path), frame)
        return path, path.read_bytes()

    selections = ({"seeds": 3}, {"seed": 2}, {}, {"seeds": 3, "splits": 2})
    every = [written("cost", **changes) for changes in selections]
    every += [written("flatness_biases"), written("flatness_biases", flatness_controls="same,mix")]
    names = [path.parent.name for path, _ in every[:4]]
    assert names == ["split0_seed0-2", "split0_seed2", "split0_seed0", "split0-1_seed0-2"]
    assert len({path for path, _ in every}) == 6 and all(path.read_bytes() == content for path, content in every)


def test_auto_finds_the_steps_of_the_device_that_it_stands_for(p, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    auto = Parameters.for_profile(**p.flat() | {"device": "auto"})
    (run,), (same,) = workspace.selected_runs(p), workspace.selected_runs(auto)
    assert same.store.root == run.store.root
    record = run_backbones.logits_step(run_backbones.of(run)) / store.RECORD
    before = record.stat().st_mtime_ns
    assert run_backbones.logits_step(run_backbones.of(same)) == record.parent and record.stat().st_mtime_ns == before
    assert _files.read_json(record)["settings"]["device"] == "cpu"


def test_latency_is_measured_where_the_parameters_say(p, monkeypatch):
    (trained,) = workspace.selected_runs(p)
    run = workspace.Run(p.replace(device="cuda"), trained.split, trained.seed)
    # No GPU is needed: what was trained on the processor stays there, and what is asked of the GPU is written down.
    backbones = run_backbones.of(trained).load()
    cascades_ = {chosen: run_exits.of(trained).load(*chosen) for chosen in p.plan.chosen}
    policies = {
        (*chosen, share): operating_points.choose(run_exits.of(trained), *chosen, share)
        for chosen in p.plan.chosen
        for share in (*operating_points.SHARES, 1.0)
    }
    monkeypatch.setattr(Backbones, "load", lambda own: backbones)
    monkeypatch.setattr(Exits, "load", lambda own, *chosen: cascades_[chosen])
    monkeypatch.setattr(operating_points, "choose", lambda run, *chosen: policies[chosen])
    placed, read, calls, evaluation_batch = [], [], [], sampling.evaluation_batch
    monkeypatch.setattr(devices, "place", lambda network, device: placed.append((network, device)) or network)
    monkeypatch.setattr(devices, "wait", lambda device: calls.append(f"wait {device}"))
    monkeypatch.setattr(
        sampling,
        "evaluation_batch",
        lambda *own, device="cpu", **shape: read.append(device) or evaluation_batch(*own, **shape),
    )
    clock = latency.time.perf_counter
    monkeypatch.setattr(latency.time, "perf_counter", lambda: calls.append("clock") or clock())
    timed = latency._systems(run_exits.of(run), [0, 1])
    assert {device for _, device in placed} == set(read) == {"cuda"}
    wanted = [network for networks in (backbones, *cascades_.values()) for network in networks.values()]
    assert {id(network) for network, _ in placed} == {id(network) for network in wanted}
    assert calls == ["wait cuda", "clock", "wait cuda", "clock"] * (len(timed) * (latency.ROUNDS + 1))


def test_a_step_records_its_settings_and_data(p, found):
    (run,) = workspace.selected_runs(p)
    record = _files.read_json(run.store.root / "logits-backbones" / store.RECORD)
    assert record["settings"]["protocol"] == "clean"
    assert record["settings"]["data"] == workspace.dataset(p).checksum


def test_tables_written_by_name_keep_a_record_of_their_own_until_all_are_written(p, found, tmp_path):
    where = tables.publish(p, tmp_path)
    whole = (where / "run.json").read_bytes()

    def records():
        return {path.name: _files.read_json(path)["tables"] for path in where.glob("*.run.json")}

    tables.publish(p, tmp_path, ["audit", "latency", "decoding"])
    assert (where / "run.json").read_bytes() == whole
    assert _files.read_json(where / "audit.run.json")["runs"] == [{"split": 0, "seed": 0}]
    assert records() == {"audit.run.json": ["audit", "latency", "decoding"]}
    tables.publish(p, tmp_path, ["audit"])
    assert records() == {"audit.run.json": ["audit"], "latency.run.json": ["latency", "decoding"]}
    tables.publish(p, tmp_path)
    assert sorted(path.name for path in where.glob("*.json")) == ["run.json"]


def test_published_tables_are_packed_and_equal_tables_are_equal_bytes(p, found, tmp_path):
    first, second = (tables.publish(p, tmp_path / name) for name in "ab")
    names = {f"{name}.csv.xz" for name in tables.TABLES}
    assert {path.name for path in first.iterdir()} == names | {store.RECORD}
    for name in names:
        packed = (first / name).read_bytes()
        assert packed == (second / name).read_bytes()
        # What is packed is what lies beside the runs, which no packing touched.
        assert lzma.decompress(packed) == (tables.tables_folder(p) / name.removesuffix(".xz")).read_bytes()
        pd.testing.assert_frame_equal(pd.read_csv(first / name), found[name.removesuffix(".csv.xz")], rtol=1e-9)


def test_published_results_come_back_and_are_judged(p, found, tmp_path, monkeypatch):
    where = tables.publish(p, tmp_path)
    record = _files.read_json(where / store.RECORD)
    assert record["runs"] == [{"split": 0, "seed": 0}]
    assert record["data"]["clips"] == 12
    original = _resources.folder
    monkeypatch.setattr(_resources, "folder", lambda name: tmp_path if name == "results" else original(name))
    assert results.published_sets() == [(p.variant, "marionette")]
    judged = verdict_tables.judged(fewest_seeds=1)
    assert (judged["verdict"].isin(["undecided", "not measured"])).all()  # one seed decides nothing
    mine = verdicts.judge(found, "marionette")
    both = judged.merge(mine, on=["claim", "comparison"], suffixes=("", "_mine")).dropna(subset=["estimate"])
    np.testing.assert_allclose(both["estimate_mine"], both["estimate"], atol=1e-6)  # the same runs
    told = verdict_tables.findings(judged).set_index("claim")["Marionette"]
    own = verdict_tables.own_figures(mine).set_index("claim")[verdict_tables.YOURS]
    assert "PKD improves internal classifiers" in own.index
    for claim, figure in own.items():
        assert told[claim].startswith(f"{figure}: ") and "(fewer than 5 seeds)" in told[claim]
    assert set(verdict_tables.primary_effects(judged, mine)["label"]) == {f"marionette ({p.variant})", "your run"}
    ((name, accuracies),) = verdict_tables.accuracies(fewest_seeds=1)
    assert name == f"marionette ({p.variant})"
    pooled = found["exits"].query("part == 'test' and modality == 'motion' and exit == 4")
    expected = 100 * (pooled["correct"] / pooled["clips"]).mean()
    told = accuracies.set_index("system").loc["motion-vector network", "test accuracy, %"]
    estimate, low, high = (float(figure) for figure in re.findall(r"[\d.]+", told))
    assert estimate == pytest.approx(expected, abs=0.05) and low <= estimate <= high
    ((_, table),) = verdict_tables.every_comparison(judged)
    assert list(table.columns[:4]) == ["claim", "comparison", "role", "verdict"]
    assert "..." not in display.table(table).markup


def test_export_writes_what_predict_reads(p, found, tmp_path):
    export.export(p, tmp_path / "out", log=lambda line: None)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "model.safetensors",
        "model.json",
        "logits.safetensors",
    }


def test_what_is_shipped_is_checked_in_half_precision_and_says_where_it_comes_from(p, tmp_path, monkeypatch):
    lines = []
    export.ship(p, tmp_path / "shipped", log=lines.append)
    assert {value.dtype for value in load_file(tmp_path / "shipped" / "model.safetensors").values()} == {
        torch.float16,
        torch.int64,
    }
    (run,) = workspace.selected_runs(p)
    origin = predictor.load(tmp_path / "shipped").origin
    # The executor, as `pkd predict` runs it, answers as the table of weights and logits says.
    cascade, truth = predictor.load(export.model_step(run)), counts.labels(run, "validation")
    system = operating_points.System("paper", "pkd", cascade.policy.order)
    scores = system.scores(run_exits.of(run), "validation")
    exits = policies.leave_at(scores, cascade.policy.threshold)
    right = int((scores[np.arange(len(exits)), exits].argmax(axis=1) == truth).sum())
    assert origin["validation"]["clips"] == len(truth) and origin["validation"]["right_as_trained"] == right
    assert lines == [
        f"{origin['validation']['right']} of {len(truth)} validation clips are answered rightly in half precision, "
        f"{right} as it was trained"
    ]
    data = workspace.dataset(p)
    tested = [data.clips[index] for index in data.splits[run.split].test]
    told = [predictor.predict(clip.path, tmp_path / "shipped") for clip in tested]
    right = sum(answer.label == data.classes[clip.label] for answer, clip in zip(told, tested, strict=True))
    assert {answer.tested for answer in told} == {(len(tested), right)}
    assert origin["test"] == {"clips": len(tested), "right": right}
    assert origin["clips"]["licence"] == data.licence and set(origin["begun_from"].values()) == {""}
    lite = workspace.Run(p.replace(iframe_network="lite", backbone_weights="marionette"), 0, 0)
    begun_from = export._sources(lite)["begun_from"]
    assert "Apache-2.0" in begun_from["iframe"] and begun_from["motion"] == "marionette"

    answers = iter((len(truth), 0))
    monkeypatch.setattr(export, "_right", lambda run, cascade, clips: next(answers))
    with pytest.raises(predictor.CascadeError, match="worse is not written: 0 of"):
        export.ship(p, tmp_path / "worse")
    assert not (tmp_path / "worse").exists()


def test_teamnets_tables_are_of_one_network_with_four_exits(team):
    # What surrounds its minimum takes longest; at night alone.
    around = () if NIGHTLY else ("flatness_spectrum", "flatness_slices", "flatness_surface")
    found = tables.all_tables(team, [name for name in tables.TABLES if name not in around])
    for name, frame in found.items():
        assert set(frame["backbone"]) == {"teamnet"} or name in ("flatness_biases", "crossfit", "temperatures"), name
        assert set(frame.get("modality", ["joint"])) == {"joint"}, name
        assert set(frame.get("kind", ["none"])) <= {"squeezed", "none"}, name
    assert set(found["trials"]["method"]) == set(schedules.METHODS)
    assert not found["trials"].duplicated(["method", "lr_factor", "exit", "group"]).any()
    whole = found["ensembles"].query("method == 'pkd' and prefix == 4")
    rules = whole.groupby("rule")["correct"].sum()
    assert set(rules.index) == {*fusion.RULES, "last", "stacking", "no_scaling", "no_lateral"}
    # Its own end is the sum of its branches; the reference's two fallbacks and late fusion of one are that, too.
    end = correct(found["exits"].query("part == 'test' and exit == 4"))
    late = found["ensembles"].query("prefix == 0").groupby("rule")["correct"].sum()
    assert {rules["last"], rules["no_scaling"], rules["no_lateral"], *late} == {end}
    paid = found["cost"].set_index("exit")
    never = found["early_exit"].query("setting == 1.0 and system == 'cascade' and criterion == 'max_softmax'")
    np.testing.assert_allclose(never["gmac"], paid["gmac"][4])
    assert paid["gmac_bare"][4] == pytest.approx(paid["gmac"][4] - paid["gmac_ic"].sum())


def test_teamnets_executor_answers_what_the_tables_say(team):
    (run,) = workspace.selected_runs(team)
    ((kind, method),) = team.plan.chosen
    policy = operating_points.choose(run_exits.of(run), kind, method, 0.5)
    test = workspace.dataset(team).splits[run.split].test
    inputs = sampling.evaluation_batch(
        workspace.frame_bank(team), test, modalities=policy.order, size=team.input_size, segments=team.segments
    )
    nets = run_exits.of(run).load(kind, method)
    answers = policies.execute(nets, lambda name, left: inputs[name][left], len(test), policy)
    scores = operating_points.System(kind, method, policy.order, criterion=policy.criterion).scores(
        run_exits.of(run), "test"
    )
    exits = policies.leave_at(scores, policy.threshold, policy.criterion)
    sure = answers.distances > 1e-5
    assert (answers.exits == exits)[sure].all()


def test_teamnets_model_predicts_from_the_file(team):
    (run,) = workspace.selected_runs(team)
    clip = workspace.dataset(team).clips[workspace.dataset(team).splits[0].test[0]]
    answer = predictor.predict(clip.path, export.model_step(run))
    assert answer.exit in {f"joint-{number}" for number in (1, 2, 3, 4)}
    assert answer.gmac in run_exits.of(run).cascade_costs("squeezed", ("joint",))


def test_drifting_teachers_drop_out_alike_in_every_epoch(team):
    # The reference's teachers of TEAM-Net have dropout; what it drops is a function of (seed, epoch).
    (run,) = workspace.selected_runs(team)
    test = workspace.dataset(team).splits[0].test
    inputs = sampling.evaluation_batch(
        workspace.frame_bank(team), test, modalities=["joint"], size=team.input_size, segments=team.segments
    )
    finals = []
    for epoch in (0, 0, 1):
        loop.seed_dropout(3, epoch, 0)
        finals.append(protocol.drifting_pass(run_backbones.of(run).load(), inputs)[1])
    for name in ("joint", *MODALITIES):
        first, again, other = (values[name] for values in finals)
        assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "folder"}, "needs the parameter root"),
        ({"dataset": "folder", "root": "somewhere"}, "needs the parameter pattern"),
        ({"split": 9}, "split = 9: the data set marionette has splits 0 to 2"),
    ],
)
def test_wrong_data_is_refused_in_one_line(p, changes, message):
    values = p.flat() | changes
    with pytest.raises(DatasetError, match=message):
        workspace.selected_runs(Parameters.for_profile(**values))


@pytest.mark.parametrize("kind", ["light", "paper"])
def test_a_look_sees_what_the_classifiers_answer(p, kind):
    (run,) = workspace.selected_runs(p)
    nets = run_backbones.of(run).load()
    run = dataclasses.replace(run, parameters=p.replace(audit_classifiers=kind))
    trial = ExitSpec("motion", kind, "ce")
    shape = {"num_classes": 2, "segments": p.segments, "seed": 3}
    groups = [group.eval() for group in exit_training.stacked(nets, [trial], **shape)]
    test = workspace.dataset(p).splits[0].test
    bank = workspace.frame_bank(p)
    inputs = sampling.evaluation_batch(bank, test, modalities=MODALITIES, size=p.input_size, segments=p.segments)
    features, _ = exit_training.frozen_pass(nets, inputs)
    exits = groups[0].unstack()[trial]
    answers = [exit_(stage, p.segments).argmax(1) for exit_, stage in zip(exits, features["motion"], strict=True)]
    expected = torch.stack([answer == bank.labels[list(test)] for answer in answers]).to(torch.uint8)
    for moving in (False, True):
        assert torch.equal(protocol._TestAnswers(run, nets, moving=moving)(groups)[trial.key], expected)
