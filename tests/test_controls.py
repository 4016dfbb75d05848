import pytest

from pkdlib import controls


def test_controls_come_in_their_own_order_once():
    assert controls.selected("mix, same,mix") == ("same", "mix")


def test_an_unknown_control_names_the_known_ones():
    with pytest.raises(
        controls.ControlError, match=r"control 'equal' is not known; the controls are: same, matched, mix"
    ):
        controls.selected("equal")
