import pytest

from pkdlib import distillation
from pkdlib.distillation import schedules
from pkdlib.distillation.schedules import METHODS, Method, MethodError, Stage


def test_every_schedule_is_whole():
    for name, method in METHODS.items():
        assert sum(stage.share for stage in method.stages) == pytest.approx(1), name


def test_pkd_takes_its_teachers_in_the_papers_order_and_shares():
    teachers = [schedules.teacher_at(METHODS["pkd"].stages, epoch / 300) for epoch in range(300)]
    assert teachers == ["motion"] * 50 + ["residual"] * 50 + ["iframe"] * 200
    assert {schedules.teacher_at(METHODS["ce"].stages, epoch / 300) for epoch in range(300)} == {"labels"}


@pytest.mark.parametrize(
    ("modality", "method", "first"),
    [
        ("iframe", "iframe", "self"),
        ("iframe", "pkd_reference", "pkd"),
        ("motion", "motion_only", "self"),
        ("residual", "residual_only", "self"),
        ("motion", "iframe", "iframe"),
        ("motion", "pkd_reference", "pkd_reference"),
    ],
)
def test_methods_that_coincide_for_a_modality_have_one_name(modality, method, first):
    assert schedules.canonical(method, modality) == first


def test_methods_are_read_from_a_list():
    assert schedules.selected("pkd, ce") == ["ce", "pkd"]
    assert schedules.selected("all") == list(METHODS)
    assert schedules.selected("") == []
    with pytest.raises(MethodError, match=r"'pdk' is not known; the methods are: ce, pkd, self"):
        schedules.selected("ce,pdk")


def test_a_boundary_on_a_whole_epoch_stays_there():
    thirds = (Stage("motion", 1 / 3), Stage("residual", 1 / 3), Stage("iframe", 1 / 3))
    assert [schedules.teacher_at(thirds, epoch / 3) for epoch in range(3)] == ["motion", "residual", "iframe"]


def test_constructors_say_who_teaches_when():
    mine = distillation.progressive(iframe=1 / 2, own=1 / 4, labels=1 / 4, label_weight=0.1)
    assert mine == Method((Stage("iframe", 0.5), Stage("own", 0.25), Stage("labels", 0.25)), label_weight=0.1)
    assert [schedules.teacher_at(mine.stages, epoch / 4) for epoch in range(4)] == ["iframe", "iframe", "own", "labels"]
    assert distillation.labels() == METHODS["ce"] and distillation.teacher("own") == METHODS["self"]
    assert distillation.teacher("motion", label_weight=1.0).label_weight == 1


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"motion": 0.5, "iframe": 0.4}, r"\(motion = 0.5, iframe = 0.4\): they sum to 0.9; they must sum to 1"),
        ({}, r"\(none\): they sum to 0"),
        ({"motion": 0, "iframe": 1}, r"\(motion = 0, iframe = 1\): each must be above 0"),
        ({"motion": float("nan")}, r"each must be above 0"),
        ({"motion": 1, "label_weight": 1.5}, "label_weight = 1.5: it must be within 0 and 1"),
    ],
)
def test_what_makes_no_schedule_is_refused_in_one_line(shares, message):
    with pytest.raises(MethodError, match=message) as caught:
        distillation.progressive(**shares)
    assert "\n" not in str(caught.value)
