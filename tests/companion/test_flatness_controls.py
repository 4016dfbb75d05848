import pytest

from pkdlib.companion import flatness_controls


def test_controls_come_in_their_own_order_once():
    assert flatness_controls.selected("mix, same,mix") == ("same", "mix")


def test_an_unknown_control_names_the_known_ones():
    with pytest.raises(
        flatness_controls.ControlError, match=r"control 'equal' is not known; the controls are: same, matched, mix"
    ):
        flatness_controls.selected("equal")
