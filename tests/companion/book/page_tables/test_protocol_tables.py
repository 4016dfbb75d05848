import pandas as pd
import pytest

from pkdlib.companion.book.page_tables import protocol_tables
from pkdlib.distillation import schedules


def test_every_method_stands_with_its_teachers_and_their_shares():
    table = protocol_tables.methods().set_index("method")
    assert len(table) == len(schedules.METHODS)
    own, team = table.loc["`pkd`"]
    assert own == "motion-vector 1/6, residual 1/6, I-frame 2/3"
    assert team == "motion-vector 3/40, residual 3/40, I-frame 17/20"
    assert table.loc["`pkd+labels`"].iloc[0] == f"{own}, with weight 1/2 on the labels"


@pytest.fixture
def audited():
    return pd.DataFrame(
        {
            "gain": ["PKD - CE", "PKD - CE", "cost saved"],
            "switch": ["clean", "all together", "clean"],
            "difference": [1.0, 4.25, 30.0],
            "low": [0.5, -1.0, 20.0],
            "high": [1.5, 9.5, 40.0],
        }
    )


def test_gains_stand_with_their_intervals_and_each_is_named_once(audited):
    assert protocol_tables.gains(audited).to_numpy().tolist() == [
        ["PKD - CE", "clean", "+1.0 (+0.5 to +1.5)"],
        ["", "all together", "+4.2 (-1.0 to +9.5)"],
        ["cost saved", "clean", "+30.0 (+20.0 to +40.0)"],
    ]


def test_what_is_saved_is_that_of_every_audited_study(audited, monkeypatch):
    studies = [("one", audited), ("none of it", audited[audited["gain"] != "cost saved"])]
    monkeypatch.setattr(protocol_tables.aggregate, "audited_studies", lambda: iter(studies))
    assert protocol_tables.saved().to_numpy().tolist() == [["one", "+30.0 (+20.0 to +40.0)"]]
