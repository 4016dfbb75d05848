from pkdlib.companion.book.page_tables import protocol_tables
from pkdlib.distillation import schedules


def test_every_method_stands_with_its_teachers_and_their_shares():
    table = protocol_tables.methods().set_index("method")
    assert len(table) == len(schedules.METHODS)
    own, team = table.loc["`pkd`"]
    assert own == "motion-vector 1/6, residual 1/6, I-frame 2/3"
    assert team == "motion-vector 3/40, residual 3/40, I-frame 17/20"
    assert table.loc["`pkd+labels`"].iloc[0] == f"{own}, with weight 1/2 on the labels"
