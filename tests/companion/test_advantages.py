"""Lines of gain against advantage: planted ones come back, and intervals cover what was simulated."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pkdlib import _resources
from pkdlib.companion import advantages, results
from pkdlib.companion.advantages import POINT
from pkdlib.companion.book import charts
from pkdlib.companion.book.page_tables import advantage_tables
from pkdlib.distillation import schedules
from pkdlib.statistics import intervals
from pkdlib.statistics.differences import NotMeasured
from tests.extent import examples, nightly

NETWORKS = ("iframe", "motion", "residual")
EXITS = (1, 2, 3)
# Validation accuracy, in per cent, of the networks of several studies.
MARIONETTE = {"iframe": 62, "motion": 92, "residual": 87}
UT = {"iframe": 60, "motion": 55, "residual": 51}
PLAIN = {"iframe": 34, "motion": 29, "residual": 46}
STRONG = {"iframe": 70, "motion": 29, "residual": 46}


def tables(accuracy, gain, seeds=(0, 1), kind="light") -> dict[str, pd.DataFrame]:
    """Tables of 100 clips a group where a single teacher gains just `gain(its advantage)` of them, and PKD loses 3."""
    exits, trials = [], []
    for seed, network, (part, group) in itertools.product(
        seeds, NETWORKS, (("validation", "v1"), ("validation", "v2"), ("test", "t1"))
    ):
        right = accuracy[network] if part == "validation" else 50
        exits.append((0, seed, network, "backbone", 4, part, group, 100, right))
        exits.append((0, seed, network, "ce", 3, part, group, 100, 1))
    for seed, group, student, exit_, method in itertools.product(
        seeds, ("t1", "t2"), NETWORKS, EXITS, schedules.METHODS
    ):
        if schedules.canonical(method, student) != method:
            continue
        stages = schedules.METHODS[method].stages
        teacher = student if stages[0].teacher == schedules.OWN else stages[0].teacher
        gained = gain(accuracy[teacher] - accuracy[student]) if len(stages) == 1 and method != "ce" else 0
        right = 40 + seed + 5 * (group == "t2") + gained - 3 * (method == "pkd")
        for lr_factor, epochs_factor, correct in ((1.0, 1, right), (3.0, 1, 99), (1.0, 2, 98)):
            row = (0, seed, student, kind, method, lr_factor, epochs_factor, exit_, "test", group, 100, correct)
            trials.append(row)
    counts = ["exit", "part", "group", "clips", "correct"]
    return {
        "exits": pd.DataFrame(exits, columns=["split", "seed", "modality", "method", *counts]),
        "trials": pd.DataFrame(
            trials, columns=["split", "seed", "modality", "kind", "method", "lr_factor", "epochs_factor", *counts]
        ),
    }


@pytest.fixture
def commit(tmp_path, monkeypatch):
    """What writes tables as committed results, of which there are no others."""
    original = _resources.folder
    monkeypatch.setattr(_resources, "folder", lambda name: tmp_path if name == "results" else original(name))

    def write(profile: str, dataset: str, found: dict[str, pd.DataFrame]) -> None:
        folder = tmp_path / profile / dataset
        folder.mkdir(parents=True)
        for name, table in found.items():
            table.to_csv(folder / f"{name}{results.PACKED}", index=False)
        runs = found["exits"][["split", "seed"]].drop_duplicates().to_dict("records")
        (folder / "run.json").write_text(json.dumps({"runs": runs}), encoding="utf-8")

    return write


# --- simulation ------------------------------------------------------------------------------------------------


def layout(splits: int, seeds: int, per_split: int) -> pd.MultiIndex:
    """The cells of a study: a split tests every so many groups, and validates on those that the next one tests."""
    cells = [
        (part, split, seed, f"g{group:02}")
        for part, later in (("test", 0), ("validation", 1))
        for split, seed, group in itertools.product(range(splits), range(seeds), range(per_split * splits))
        if group % splits == (split + later) % splits
    ]
    return pd.MultiIndex.from_tuples(cells, names=["part", *intervals.CELL])


def simulate(rng, studies, truth, spreads, quality=0.0) -> pd.DataFrame:
    """Draw cells: the truth, and for each network and classifier an effect of the run, of the group and of the cell.

    `studies` holds data, source, accuracies and layout of each. What two studies of a source share is drawn once.
    `quality` is the spread, from run to run, of what a network is worth on any clips; its pupils gain accordingly.
    """
    drawn: dict[tuple, np.ndarray] = {}

    def noise(key, *sides):
        if key not in drawn:
            drawn[key] = sum(
                spread * rng.standard_normal(codes.max() + 1)[codes] for spread, codes in zip(*sides, strict=True)
            )
        return drawn[key]

    found = []
    for data, source, accuracy, index in studies:
        frame = index.to_frame(index=False)
        sides = [frame.groupby(by).ngroup().to_numpy() for by in (intervals.RUN, "group")] + [np.arange(len(frame))]
        test = (frame["part"] == "test").to_numpy()
        worth = {n: accuracy[n] + noise((source, n, accuracy[n]), [quality], sides[:1]) for n in NETWORKS}
        seen = {n: worth[n] + noise((source, n, accuracy[n], "seen"), spreads, sides) for n in NETWORKS}
        columns = {}
        for student, exit_, teacher in itertools.product(NETWORKS, EXITS, NETWORKS):
            here = (source, student, accuracy[student], exit_)
            learnt = noise((*here, teacher, accuracy[teacher]), spreads, sides) - noise(here, spreads, sides)
            gain = truth(worth[teacher] - worth[student]) + learnt
            place = (data, source, "light", student, exit_, f"{teacher}_only", teacher)
            columns[place] = np.where(test, gain, seen[teacher] - seen[student])
        found.append(
            pd.concat({source: pd.DataFrame(columns, index=index).rename_axis(columns=POINT)}, names=["source"])
        )
    return pd.concat(found, axis=1)


SEVERAL = [
    ("marionette", "marionette", MARIONETTE, layout(3, 5, 8)),
    ("ut", "ut", UT, layout(5, 5, 4)),
    ("plain", "ucf101", PLAIN, layout(3, 2, 12)),
    ("strong", "ucf101", STRONG, layout(3, 2, 12)),
]
SPREADS = (1.5, 2.5, 8.0)  # of runs, groups and cells, in points
REPETITIONS = 60


def projected(studies, truth, shape) -> np.ndarray:
    """The coefficients of the line through the true points."""
    x = np.array(
        [a[t] - a[s] for _, _, a, _ in studies for s, _, t in itertools.product(NETWORKS, EXITS, NETWORKS)], float
    )
    columns = [x] if shape == "straight" else [np.minimum(x, 0), np.maximum(x, 0)]
    return np.linalg.lstsq(np.stack([np.ones_like(x), *columns], axis=1), truth(x), rcond=None)[0]


def straight(x):
    return -1.0 + 0.1 * x


def kinked(x):
    return 0.25 * np.minimum(x, 0)


# --- points ----------------------------------------------------------------------------------------------------


def test_every_network_teaches_every_exit_of_each_once():
    points = advantages.points(advantages.differences(tables(MARIONETTE, lambda x: x // 10), "marionette", "here"))
    alone, pkd = points[points["method"] != "pkd"], points[points["method"] == "pkd"]
    assert sorted(map(tuple, alone[["student", "exit", "teacher"]].to_numpy())) == sorted(
        itertools.product(NETWORKS, EXITS, NETWORKS)
    )
    assert set(alone.loc[alone["teacher"] == alone["student"], "method"]) == {"self"}
    for own in (alone, pkd):
        expected = own["teacher"].map(MARIONETTE) - own["student"].map(MARIONETTE)
        np.testing.assert_allclose(own["advantage"], expected)
    np.testing.assert_allclose(alone["gain"], alone["advantage"] // 10)
    assert len(pkd) == 9 and set(pkd["teacher"]) == {"iframe"} and set(pkd["gain"]) == {-3.0}


def test_a_points_intervals_are_those_of_its_paired_differences():
    found = results.published("full", "marionette")
    points = advantages.points(advantages.differences(found, "marionette", "here"))
    trials, exits = found["trials"], found["exits"]
    trials = trials[(trials["lr_factor"] == 1) & (trials["kind"] == "light")]
    row = points.set_index(["kind", "student", "exit", "method"]).loc["light", "residual", 2, "iframe"]
    own = trials[(trials["modality"] == "residual") & (trials["exit"] == 2)]
    gain = intervals.group_differences(*(own[own["method"] == name] for name in ("iframe", "ce")))
    ends = exits[(exits["method"] == "backbone") & (exits["part"] == "validation")]
    advantage = intervals.group_differences(*(ends[ends["modality"] == name] for name in ("iframe", "residual")))
    for name, differences in (("gain", gain), ("advantage", advantage)):
        interval = intervals.two_way_interval(differences)
        expected = [interval.estimate, interval.low, interval.high, interval.standard_error]
        np.testing.assert_allclose(row[[name, f"{name}_low", f"{name}_high", f"{name}_error"]].tolist(), expected)


def test_what_was_not_tested_everywhere_is_told():
    found = tables(MARIONETTE, lambda x: 0)
    trials = found["trials"]
    lacking = (trials["method"] == "iframe") & (trials["seed"] == 1)
    with pytest.raises(ValueError, match=r"here: .* lacks a method in some split, seed and group"):
        advantages.differences(found | {"trials": trials[~lacking]}, "marionette", "here")


def test_a_teacher_without_a_network_of_its_own_has_no_advantage():
    found = {
        name: table[table["modality"] == "iframe"].assign(modality="joint")
        for name, table in tables(MARIONETTE, lambda x: 1).items()
    }
    points = advantages.points(advantages.differences(found, "marionette", "here"))
    assert set(points["method"]) == {"self"} and set(points["advantage"]) == {0.0}
    untaught = found | {"trials": found["trials"].query("method in ('ce', 'pkd')")}
    assert advantages.points(advantages.differences(untaught, "marionette", "here")).empty


def test_all_committed_results_of_several_seeds_are_found(commit):
    commit("full", "ut_interaction", tables(UT, lambda x: x))
    commit("full", "ucf101-25", tables(PLAIN, lambda x: x))
    commit("full-lite", "ucf101-25", tables(STRONG, lambda x: x))
    commit("quick", "marionette", tables(MARIONETTE, lambda x: 7, seeds=(0,)))
    commit("full", results.CONTROL, tables(PLAIN, lambda x: 7))
    points = advantages.points(advantages.studies())
    assert points.groupby(["data", "source"]).size().to_dict() == {
        ("UCF-101, plain I-frame network", "ucf101"): 36,
        ("UCF-101, strong I-frame network", "ucf101"): 36,
        ("UT-Interaction", "ut_interaction"): 36,
    }


def test_the_committed_studies_have_all_their_points():
    points = advantages.points(advantages.studies())
    light = points[(points["kind"] == "light") & (points["method"] != "pkd")]
    assert {"Marionette", "UT-Interaction"} <= set(light["data"])
    assert set(light.groupby("data").size()) == {27}


# --- lines -----------------------------------------------------------------------------------------------------


def test_planted_lines_come_back(commit):
    commit("full", "marionette", tables(MARIONETTE, lambda x: 2 + x // 5))  # multiples of 5 apart
    commit("full-lite", "ucf101-25", tables({"iframe": 80, "motion": 30, "residual": 45}, lambda x: 2 + x // 5))
    cells = advantages.single(advantages.studies())
    for by in ((), ("data", "student", "exit")):
        line = advantages.fit(cells, by=by)
        np.testing.assert_allclose(line.slopes()[["estimate", "low", "high"]], [[0.2] * 3], atol=1e-9)
        np.testing.assert_allclose(line.at([0.0, 10.0])["estimate"], [2.0, 4.0], atol=1e-9)
    np.testing.assert_allclose(advantages.fit(cells).zero(), [-10.0] * 3, atol=0.11)


def test_a_bend_comes_back():
    cells = advantages.differences(tables(MARIONETTE, lambda x: min(x, 0) // 5), "marionette", "here")
    line = advantages.fit(advantages.single(cells), "bent")
    np.testing.assert_allclose(line.slopes()["estimate"], [0.2, 0.0, -0.2], atol=1e-9)
    np.testing.assert_allclose(line.at([-10.0, 0.0, 10.0])["estimate"], [-2.0, 0.0, 0.0], atol=1e-9)


@examples(25)
@given(st.integers(0, 10**6), st.sampled_from(["straight", "bent"]), st.sampled_from([[], ["student", "exit"]]))
def test_an_influence_is_what_a_cells_weight_moves(seed, shape, by):
    """Against the formula of the coefficients, with each mean of cells weighted: the infinitesimal jackknife."""
    rng = np.random.default_rng(seed)
    cells = simulate(rng, SEVERAL[:1], straight, SPREADS)
    line, points = advantages.fit(cells, shape, by), advantages.points(cells)
    ((influence, runs, groups),) = line.influences
    own = pd.get_dummies(points[by].astype(str).agg(" ".join, axis=1) if by else points["source"]).to_numpy(float)
    row = rng.integers(len(cells))

    def coefficients(weight):
        weights = np.ones(len(cells))
        weights[row] = weight
        part = cells.index.get_level_values("part")
        y, x = (np.average(cells[part == p], axis=0, weights=weights[part == p]) for p in ("test", "validation"))
        slopes = [x] if shape == "straight" else [np.minimum(x, 0), np.maximum(x, 0)]
        return np.linalg.lstsq(np.column_stack([own, *slopes]), y, rcond=None)[0]

    np.testing.assert_allclose(line.coefficients, coefficients(1.0))
    change = (coefficients(1.0 + 1e-4) - coefficients(1.0 - 1e-4)) / 2e-4
    np.testing.assert_allclose(influence[row], change, rtol=1e-3, atol=1e-6)
    place = cells.index[row]
    same = cells.index.get_level_values("group") == place[-1]
    np.testing.assert_array_equal(groups == groups[row], same)
    same = [key[2:4] == place[2:4] for key in cells.index]
    np.testing.assert_array_equal(runs == runs[row], same)


def test_a_study_twice_is_no_surer_than_once():
    first = simulate(np.random.default_rng(0), SEVERAL[:1], straight, SPREADS)
    again = first.rename(columns={"marionette": "again"}, level="data")
    elsewhere = again.rename(columns={"marionette": "other"}, level="source").rename({"marionette": "other"})
    (once,), (twice,), (two,) = (
        advantages.fit(cells).slopes()[["estimate", "low", "high"]].to_numpy()
        for cells in (first, pd.concat([first, again], axis=1), pd.concat([first, elsewhere], axis=1))
    )
    np.testing.assert_allclose(twice, once)
    assert two[2] - two[1] < 0.8 * (once[2] - once[1])


def test_other_studies_cells_do_not_count():
    cells = simulate(
        np.random.default_rng(0), [SEVERAL[0], ("larger", "marionette", STRONG, layout(5, 9, 8))], kinked, SPREADS
    )
    own = simulate(np.random.default_rng(0), SEVERAL[:1], kinked, SPREADS)
    chosen = cells.loc[:, cells.columns.get_level_values("data") == "marionette"]
    pd.testing.assert_frame_equal(advantages.fit(chosen).slopes(), advantages.fit(own).slopes())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("studies", "truth"),
    [pytest.param(SEVERAL, straight, marks=nightly), (SEVERAL[:1], kinked)],
    ids=["several", "one"],
)
def test_intervals_cover_the_line_through_the_true_points(studies, truth):
    rng = np.random.default_rng(0)
    covered, naive = [], []
    for _ in range(REPETITIONS):
        cells = simulate(rng, studies, truth, SPREADS, quality=1.5)
        for shape in ("straight", "bent"):
            true, line = projected(studies, truth, shape), advantages.fit(cells, shape)
            told = pd.concat([line.at([0.0]), line.slopes().iloc[: len(true) - 1]])
            covered.extend(zip(itertools.repeat(shape), range(3), (told["low"] <= true) & (true <= told["high"])))
        points = advantages.points(cells)
        simple = stats.linregress(points["advantage"], points["gain"])
        reach = stats.t.ppf(0.975, len(points) - 2) * simple.intercept_stderr
        naive.append(abs(simple.intercept - projected(studies, truth, "straight")[0]) <= reach)
    found = pd.DataFrame(covered, columns=["shape", "what", "covered"]).groupby(["shape", "what"])["covered"].mean()
    assert len(found) == 5 and found.min() >= 0.86, found
    if truth is straight:
        assert np.mean(naive) < 0.85  # least squares takes points for independent, which share runs and clips


@pytest.mark.slow
def test_reliability_says_how_much_chance_flattens_the_line():
    rng = np.random.default_rng(0)
    studies = [(f"study {n}", f"source {n}", UT, layout(3, 2, 4)) for n in range(8)]
    lines = [advantages.fit(simulate(rng, studies, lambda x: 2.0 * x, SPREADS)) for _ in range(10)]
    slope = np.mean([line.slopes()["estimate"][0] for line in lines])
    reliability = np.mean([line.reliability for line in lines])
    assert 0.6 < reliability < 0.9
    assert slope / 2 == pytest.approx(reliability, abs=0.05)


def test_where_the_line_crosses_zero_is_where_its_interval_does():
    line = advantages.fit(simulate(np.random.default_rng(3), SEVERAL, lambda x: -2.0 + 0.2 * x, SPREADS))
    at, low, high = line.zero()
    assert abs(line.at([at])["estimate"][0]) < 1e-9 and low < at < high
    ends = line.at([low, high])
    assert abs(ends["high"][0]) < 0.05 and abs(ends["low"][1]) < 0.05
    (costs,), (pays,) = line.decided(-1), line.decided(1)
    assert costs == (line.seen[0], pytest.approx(low, abs=0.11)) and pays == (
        pytest.approx(high, abs=0.11),
        line.seen[1],
    )


def test_a_slope_that_may_be_zero_has_no_crossing():
    line = advantages.fit(simulate(np.random.default_rng(0), SEVERAL, lambda x: 0.0 * x, SPREADS))
    assert line.zero() is None
    paying = advantages.fit(simulate(np.random.default_rng(0), SEVERAL, lambda x: 20 + 0.2 * x, SPREADS))
    assert paying.zero() is None and paying.decided(-1) == [] and paying.decided(1) == [paying.seen]


def test_points_that_tell_no_line_are_refused():
    cells = simulate(np.random.default_rng(0), SEVERAL[:1], straight, SPREADS)
    student, teacher = (cells.columns.get_level_values(name) for name in ("student", "teacher"))
    for chosen in (cells.iloc[:, :0], cells.loc[:, teacher == student]):
        with pytest.raises(NotMeasured, match=r"there are too few different advantages$"):
            advantages.fit(chosen)
    weaker = cells.loc[:, (student == "motion") | (teacher == student)]
    assert advantages.fit(weaker).num_points == 15
    with pytest.raises(NotMeasured, match=r"too few different advantages on both sides of equal accuracy$"):
        advantages.fit(weaker, "bent")


# --- tables and pictures ----------------------------------------------------------------------------------------


@pytest.fixture
def told(commit):
    """What is said of a study where every point of advantage gains 0.2 points, and PKD loses 3."""
    commit("full", "marionette", tables(MARIONETTE, lambda x: 3 + x // 5))
    commit("full-lite", "marionette", tables({"iframe": 97, "motion": 92, "residual": 87}, lambda x: 3 + x // 5))
    cells = advantages.studies()
    return cells, advantage_tables.fitted(cells)


def test_the_table_takes_the_planted_line(told):
    table = advantage_tables.main_lines(told[1]).set_index("line")
    straight_line = table.loc["straight"]
    assert straight_line["points"] == "54"
    assert straight_line["gain at equal accuracy"] == "+3.0 (+3.0 to +3.0)"
    assert straight_line["10 points of advantage add"] == "+2.0 (+2.0 to +2.0)"
    assert straight_line["crosses 0 at"].startswith("-15.0") and straight_line["costs at"].startswith("-30.0 to -15")


def test_a_bend_is_told_where_there_is_one():
    for truth, bends in ((straight, False), (kinked, True)):
        cells = simulate(np.random.default_rng(0), SEVERAL, truth, SPREADS)
        bend = advantage_tables.main_lines(advantage_tables.fitted(cells))["the bend adds"].iloc[1]
        low, high = map(float, bend.split("(")[1].rstrip(")").split(" to "))
        assert (low > 0 or high < 0) == bends


def test_points_are_counted_by_what_their_teacher_is(told):
    table = advantage_tables.counted(advantages.points(told[0]))
    counts = table.set_index(["taught by", "which is"])[["gain", "lose", "points"]].apply(tuple, axis=1).to_dict()
    single, pkd = "a single teacher", "PKD's last teacher"
    assert counts[single, "weaker than the student's network"] == ("12", "6", "18")
    assert counts[single, "stronger"] == ("18", "0", "18")
    assert counts[pkd, "weaker than the student's network"] == ("0", "6", "6")
    assert counts[pkd, "the student's network itself"] == ("0", "6", "6")


def test_the_tables_hold_every_line_and_every_point(told):
    cells, lines = told
    table = advantage_tables.lines_table(lines).set_index(["points of", "line"])
    assert {name for name, _ in lines} == set(table.index.levels[0])
    assert table.loc[("Marionette", "straight"), "points"] == "27"
    assert table.loc[("without Marionette", "straight"), "crosses 0 at"] == "not told"  # it does beyond
    assert (
        table.loc[("the paper's classifiers", "straight"), "gain at equal accuracy"]
        == "no line: there are too few different advantages"
    )
    points = advantage_tables.points_table(advantages.points(cells))
    assert len(points) == 72 and {"own end", "PKD", "motion teacher"} <= set(points["taught by"])
    assert set(points.loc[points["taught by"] == "PKD", "gain (points)"]) == {"-3.0 (-3.0 to -3.0)"}


def test_a_picture_shows_points_and_lines(told):
    ((title, points, fitted),) = advantage_tables.panels(*told)
    assert title == "light classifiers" and len(points) == 72
    assert set(fitted["shape"]) == {"straight", "bent at equal accuracy"}
    line = fitted[fitted["shape"] == "straight"].set_index("advantage")["estimate"]
    np.testing.assert_allclose(line.loc[[-30.0, 0.0, 30.0]], [-3.0, 3.0, 9.0], atol=1e-9)
    assert charts.show(charts.gain_by_advantage(points, fitted), "Gains").markup


def test_a_run_of_one_group_has_points_and_no_line():
    found = {
        name: table[table["group"] != f"{table['part'].iloc[0][0]}2"]
        for name, table in tables(UT, lambda x: 1, (0,)).items()
    }
    cells = advantages.differences(found, "ut_interaction", "this run")
    lines = advantage_tables.fitted(cells)
    assert advantage_tables.main_lines(lines)["gain at equal accuracy"].str.contains("one group in one run").all()
    ((_, points, fitted),) = advantage_tables.panels(cells, lines)
    assert np.isinf(points["gain_low"]).all() and fitted.empty
    assert "Infinity" not in charts.show(charts.gain_by_advantage(points, fitted), "Gains").markup


def test_without_results_there_is_nothing_to_show(commit):
    cells = advantages.studies()
    lines = advantage_tables.fitted(cells)
    assert advantage_tables.main_lines(lines)["gain at equal accuracy"].str.contains("too few different").all()
    assert list(advantage_tables.panels(cells, lines)) == []
    assert advantage_tables.counted(advantages.points(cells)).empty
    assert advantage_tables.points_table(advantages.points(cells)).empty
