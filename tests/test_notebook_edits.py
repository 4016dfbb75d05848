"""A reader changes three lines of a page: what is new trains alone, and stands in the page's tables and charts."""

import json

import jupytext
import pytest
from IPython.core.interactiveshell import InteractiveShell

from pkdlib.companion.book import charts
from pkdlib.companion.runs import store
from pkdlib.early_exit import policies
from tests.conftest import REPOSITORY

TINY = {
    "profile": "smoke",
    "marionette_actors": 6,
    "marionette_actions": 2,
    "input_size": 32,
    "candidates": 4,
    "batch_size": 6,
    "backbone_epochs": 1,
    "exit_epochs": 2,
    "threads": 1,
    "light_methods": "ce,pkd",
    "paper_methods": "ce,pkd",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("edits")
    return {"runs": str(place / "runs"), "cache": str(place / "cache")}


@pytest.fixture
def run_page(folders, monkeypatch):
    """Run the code of a page up to a heading, after edits; gives its variables, its charts, and the steps it made."""

    def run(number, *edits, until):
        steps, drawn, begin, show = [], [], store._begin, charts.show
        monkeypatch.setattr(
            store, "_begin", lambda partial, wanted: steps.append(partial.name) or begin(partial, wanted)
        )
        monkeypatch.setattr(charts, "show", lambda chart, *more: drawn.append(chart.to_dict()) or show(chart, *more))
        (path,) = (REPOSITORY / "notebooks").glob(f"{number}_*.md")
        source = path.read_text(encoding="utf-8")
        for old, new in edits:
            assert source.count(old) == 1, old
            source = source.replace(old, new)
        shell = InteractiveShell()
        for cell in jupytext.reads(source, "md:myst").cells:
            if until in cell.source:
                break
            if cell.cell_type == "code" and "remove-cell" not in cell.metadata.get("tags", ()):
                shell.run_cell(cell.source).raise_error()
                if "parameters" in cell.metadata.get("tags", ()):
                    shell.push({**TINY, **folders})
        monkeypatch.undo()
        return shell.user_ns, drawn, [name for name in steps if "frames" not in name]

    return run


def shows(drawn, name):
    return [chart for chart in drawn if name in json.dumps(chart)]


@pytest.mark.slow
def test_a_schedule_a_kind_of_exit_and_a_loss_of_ones_own(run_page):
    before, drawn, _ = run_page("05", until="### In all committed studies")
    assert not shows(drawn, "mine")

    schedule = ('    "self": ', '    "mine": progressive(iframe=1 / 2, own=1 / 2),\n    "self": ')
    after, drawn, steps = run_page("05", schedule, until="### In all committed studies")
    assert [name.split("-")[0] for name in sorted(steps)] == [".exits", ".logits"]
    assert {"mine"} == set(after["exits"]["method"]) - set(before["exits"]["method"])
    assert (
        len(shows(drawn, "mine")) == len(drawn) - 1 == 5
    )  # all but the picture of the networks: the schedules, by exit, by method, and the gain with both kinds of exits
    for name in ("exits", "trials"):
        kept = after[name][after[name]["method"] != "mine"].reset_index(drop=True)
        assert kept.equals(before[name])

    own = "def own_kind(*shape):\n    return exit_heads.paper_classifiers(*shape)\n"
    kind = ("kinds = exit_heads.KINDS\n", f'{own}\n\nkinds = {{**exit_heads.KINDS, "light": own_kind}}\n')
    after, _, steps = run_page("05", kind, until="## When a teacher helps")
    assert [name.split("-")[0] for name in sorted(steps)] == [".exits", ".logits"]
    light = before["trials"]["kind"] == "light"
    assert not after["trials"][light]["correct"].equals(before["trials"][light]["correct"])
    assert after["trials"][~light].equals(before["trials"][~light])

    squared = (
        "def squared(logits, teacher, temperature):\n    return (logits - teacher).square().mean(dim=(-2, -1))\n\n\n"
    )
    loss = (
        ("exit_rows, method_rows = [], []\n", f"{squared}exit_rows, method_rows = [], []\n"),
        ("loss=soft_cross_entropy", "loss=squared"),
    )
    after, _, steps = run_page("05", *loss, until="## When a teacher helps")
    assert [name.split("-")[0] for name in sorted(steps)] == [".exits", ".logits"]
    labelled = before["trials"]["method"] == "ce"
    assert after["trials"][labelled].equals(before["trials"][labelled])
    assert not after["trials"][~labelled].equals(before["trials"][~labelled])


@pytest.mark.slow
def test_a_penalty_of_wise_of_ones_own(run_page):
    rule = ('    "uniform": ', '    "wise_ridge": partial(wise.wise_weights, ridge=1.0),\n    "uniform": ')
    found, drawn, _ = run_page("06", rule, until="## The weights")
    assert "wise_ridge" in set(found["ensembles"]["rule"])
    assert len(shows(drawn, "wise_ridge")) == 1  # the chart of every rule; the other one is of five rules


@pytest.mark.slow
def test_an_exit_criterion_of_ones_own(run_page, monkeypatch):
    monkeypatch.setattr(policies, "CRITERIA", dict(policies.CRITERIA))
    line = 'CRITERIA["top"] = lambda scores: scores.max(axis=-1)\n'
    criterion = ("first, *other_orders = p.plan.orders\n", f"{line}first, *other_orders = p.plan.orders\n")
    found, drawn, _ = run_page("07", criterion, until="## Policies, chosen on validation")
    assert "top" in set(found["curves"]["criterion"])
    assert len(shows(drawn, '"top"')) == 1
