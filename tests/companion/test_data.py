from pkdlib.companion.data import dataset
from pkdlib.companion.parameters import Parameters


def described(tmp_path, **changes):
    return dataset(Parameters.for_profile("smoke", cache=str(tmp_path), **changes))


def test_each_marionette_turns_by_its_own_dial_alone(tmp_path):
    dials = {"marionette": "marionette_appearance", "marionette_1": "marionette_scene_bias"}
    for name, own in dials.items():
        usual = described(tmp_path, dataset=name)
        assert usual.name == name and f"/{name}-" in usual.clips[0].path.as_posix()
        for dial in dials.values():
            turned = described(tmp_path, dataset=name, **{dial: 0.5})
            assert (turned.checksum != usual.checksum) == (dial == own)
            assert (turned.clips[0].path != usual.clips[0].path) == (dial == own)
    assert described(tmp_path).checksum != described(tmp_path, dataset="marionette_1").checksum
