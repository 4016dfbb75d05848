import os
import pickle
import subprocess
import sys

import pytest
import torch

from pkdlib import _resources
from pkdlib.companion.parameters import ParameterError, Parameters
from pkdlib.companion.presets import IFRAME_NETWORKS, PLANS
from pkdlib.training import default_device

PROFILES = sorted(path.stem for path in _resources.folder("profiles").glob("*.yaml") if "." not in path.stem)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("ce,pdk", "light_methods = 'ce,pdk': method 'pdk' is not known; the methods are: ce, pkd"),
        ("ce", "must hold ce and pkd"),
    ],
)
def test_methods_are_checked_before_anything_is_trained(value, message):
    with pytest.raises(ParameterError, match=message):
        Parameters.for_profile("smoke", light_methods=value)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_is_whole(profile):
    p = Parameters.for_profile(profile)
    assert p.profile == p.variant == profile


def test_an_unknown_name_is_refused_with_the_valid_ones():
    with pytest.raises(ParameterError) as caught:
        Parameters.for_profile("quick", backbone_epoch=3)
    message = str(caught.value)
    assert "unknown parameter 'backbone_epoch'; did you mean 'backbone_epochs'?" in message
    assert all(name in message for name in Parameters.model_fields)


def test_a_namespace_gives_its_flat_values_only():
    namespace = {
        "profile": "smoke",
        "seed": 3,
        "__name__": "__main__",
        "_private": 1,
        "In": [],
        "Out": {},
        "pytest": pytest,
        "open": open,
    }
    p = Parameters.from_namespace(namespace)
    assert (p.profile, p.seed) == ("smoke", 3)


def test_a_mistyped_name_in_a_namespace_is_refused():
    with pytest.raises(ParameterError, match=r"unknown parameter 'sed'; did you mean 'seed'\?"):
        Parameters.from_namespace({"profile": "smoke", "sed": 3})


OWN = 'profile = "smoke"\nseed = 3\n'
FIRST_CALL = "from pkdlib.companion.parameters import Parameters\n\np = Parameters.from_namespace(globals())"
PAGE = 'for kind in ("light",):\n    profile_of = kind\n'


def namespace(*cells: str, **values) -> dict:
    """What IPython's `globals()` hold after these cells, of which the last is being executed."""
    return {"__name__": "__main__", "In": ["", *cells], "Out": {}, "profile": "smoke", "seed": 3, **values}


def test_names_of_the_readers_own_do_not_disturb_a_page_that_runs_again():
    own = {"kind": "light", "profile_of": "light", "size": 5, "notes": ["a"], "exit_epochs": 7.5}
    cells = (OWN, FIRST_CALL, PAGE, 'size = 5\nnotes = ["a"]\nexit_epochs = 7.5')
    expected = Parameters.for_profile("smoke", seed=3)
    for again in ((FIRST_CALL,), (OWN, FIRST_CALL), (OWN, PAGE, FIRST_CALL)):
        assert Parameters.from_namespace(namespace(*cells, *again, **own)) == expected


def test_a_misspelt_name_in_the_cell_of_parameters_is_refused_until_it_is_mended():
    wrong = OWN + "exit_epoch = 2"
    values = {"exit_epoch": 2, "kind": "light"}
    for cells in ((wrong,), (OWN, FIRST_CALL, PAGE, wrong), (wrong, FIRST_CALL)):
        with pytest.raises(ParameterError, match="'exit_epoch'; did you mean 'exit_epochs'"):
            Parameters.from_namespace(namespace(*cells, FIRST_CALL, **values))
    mended = namespace(wrong, FIRST_CALL, OWN + "exit_epochs = 2", FIRST_CALL, exit_epochs=2, **values)
    assert Parameters.from_namespace(mended).exit_epochs == 2
    assert Parameters.from_namespace(namespace(wrong, FIRST_CALL, OWN, FIRST_CALL, **values)).seed == 3


def test_what_papermill_injects_counts_and_unknown_names_of_it_are_always_refused():
    injected = '# Parameters\nprofile = "smoke"\nthreads = 1\n'
    good = namespace(OWN, injected, FIRST_CALL, PAGE, OWN, FIRST_CALL, threads=1, kind="light")
    assert Parameters.from_namespace(good) == Parameters.for_profile("smoke", seed=3, threads=1)
    injected += "exit_epoch = 2\n"
    for again in ((), (FIRST_CALL,), (OWN, injected, FIRST_CALL), (OWN, FIRST_CALL)):
        with pytest.raises(ParameterError, match="unknown parameter 'exit_epoch'"):
            Parameters.from_namespace(namespace(OWN, injected, FIRST_CALL, *again, threads=1, exit_epoch=2))


def test_a_wrong_type_in_the_cell_of_parameters_is_named():
    cells = (OWN + "split = len", FIRST_CALL)
    with pytest.raises(ParameterError, match=r"parameter split = .* must be a valid integer"):
        Parameters.from_namespace(namespace(*cells, split=len))


def test_cells_that_are_no_python_are_passed_over():
    cells = ("profile = = 3", "profile = '\0'", OWN, FIRST_CALL)
    assert Parameters.from_namespace(namespace(*cells, kind="light")).seed == 3


def test_auto_is_a_gpu_where_torch_sees_one_else_the_processor(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    auto, cpu = (Parameters.for_profile("quick", **own) for own in ({}, {"device": "cpu"}))
    assert auto == cpu == Parameters.for_profile("quick", device="auto")
    assert (auto.device, auto.variant) == ("cpu", "quick")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    auto, cuda = (Parameters.for_profile("quick", **own) for own in ({}, {"device": "cuda"}))
    assert auto == cuda and auto.device == "cuda"
    assert auto.variant.startswith("quick-")  # `quick` alone are the processor's runs, here as there
    assert Parameters.for_profile("quick", device="cpu").variant == "quick"
    assert Parameters.for_profile("large").variant == "large"  # which names its device


@pytest.mark.parametrize("profile", ["large", "paper"])
def test_a_profile_that_names_a_gpu_is_not_turned_into_the_processors(profile, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Parameters.for_profile(profile).device == "cuda"
    assert Parameters.for_profile(profile, device="auto").device == "cpu"
    assert Parameters.for_profile(profile, device="auto").variant.startswith(f"{profile}-")


@pytest.mark.parametrize("there", [False, True])
def test_auto_on_a_page_leaves_the_device_to_a_profile_that_names_one(there, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    for profile in ("smoke", "quick", "large"):
        page = Parameters.from_namespace({"profile": profile, "device": "auto"})
        assert page == Parameters.for_profile(profile)
        assert Parameters.from_namespace({"profile": profile, "device": "cpu"}).device == "cpu"


@pytest.mark.parametrize("driver", [False, True])
def test_torch_is_loaded_only_where_there_may_be_a_gpu(driver):
    code = (
        "import sys; from pkdlib.companion import parameters; from pkdlib.training import default_device\n"
        f"default_device._has_driver = lambda: {driver}\n"
        "parameters.Parameters.for_profile('quick')\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8")
    assert done.stdout.strip() == str(driver)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_where_torch_sees_a_gpu_there_is_a_driver():
    assert default_device._has_driver()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": "3"}, "seed = '3': must be a valid integer"),
        ({"seed": True}, "seed = True: must be a valid integer"),
        ({"seed": -2}, "seed = -2: must be greater than or equal to -1. The seed to run, from 0; -1 for all"),
        ({"backbone_epochs": 0}, "backbone_epochs = 0: must be greater than 0"),
        ({"backbone_lr": float("nan")}, "backbone_lr = nan: must be a finite number"),
        ({"backbone": "resnet"}, "backbone = 'resnet': must be 'coviar' or 'teamnet'"),
        ({"backbone": 1}, "backbone = 1: must be 'coviar' or 'teamnet'"),
        ({"candidates": 1}, "candidates = 1: must be at least segments = 2"),
        ({"device": "gpu"}, "device = 'gpu': must be 'auto', 'cpu', 'cuda' or"),
        ({"iframe_network": "small"}, "iframe_network = 'small': must be '' or 'lite'"),
        (
            {"iframe_network": "lite", "backbone": "teamnet"},
            "'lite': the backbone 'teamnet' has no network for I-frames",
        ),
        ({"iframe_lr": 0.0}, "iframe_lr = 0.0: must be greater than 0"),
        (
            {"backbone_weights": "imagenet"},
            "backbone_weights = 'imagenet': these are of networks of size 'paper', not of",
        ),
        (
            {"backbone_weights": "a.pth", "backbone": "teamnet"},
            "backbone_weights = 'a.pth': only networks of the backbone 'coviar'",
        ),
        ({"temperatures": "4, x"}, "temperatures = '4, x': must be numbers, separated by commas"),
        ({"temperatures": "4,1.0"}, "temperatures = '4,1.0': must be numbers above 0, other than 1"),
        ({"backbone_recipe": "adam"}, "backbone_recipe = 'adam': must be 'scratch' or 'fine_tuning'"),
        ({"precision": "fp8"}, "precision = 'fp8': must be 'float32' or 'bfloat16'"),
        ({"frames": "disk"}, "frames = 'disk': must be 'bank', 'packed' or 'decode'"),
        ({"audit_classifiers": "squeezed"}, "audit_classifiers = 'squeezed': must be 'light' or 'paper'"),
        ({"marionette_scene_bias": 2.0}, "marionette_scene_bias = 2.0: must be less than or equal to 1"),
        ({"dataset": "kinetics"}, "dataset = 'kinetics': must be 'marionette', 'marionette_1', 'ut_interaction'"),
        ({"marionette_appearance": -0.1}, "marionette_appearance = -0.1: must be greater than or equal to 0"),
        ({"batch_parts": 9}, "batch_parts = 9: must be at most batch_size = 8"),
    ],
)
def test_wrong_values_are_named(values, message):
    for wrong in (
        lambda: Parameters.for_profile("smoke", **values),
        lambda: Parameters.for_profile("smoke").replace(**values),
    ):
        with pytest.raises(ParameterError) as caught:
            wrong()
        assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_profile_of_ones_own_that_lacks_a_value_is_told_which(tmp_path, monkeypatch):
    text = (_resources.folder("profiles") / "smoke.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(text.replace("segments: 2\n", ""), encoding="utf-8")
    monkeypatch.setattr(_resources, "folder", lambda name: tmp_path)
    with pytest.raises(ParameterError, match="parameter segments has no value: name it, or let the profile do so"):
        Parameters.for_profile("mine")
    assert Parameters.for_profile("mine", segments=3).segments == 3


def test_every_parameter_says_what_it_means():
    assert not [name for name, field in Parameters.model_fields.items() if not field.description]


def test_parameters_cannot_change_and_equal_ones_are_one_key():
    p = Parameters.for_profile("smoke")
    with pytest.raises(ValueError, match="frozen"):
        p.seed = 3
    changed = p.replace(seed=3, exit_temperature=2)
    assert (p.seed, changed.seed, changed.exit_temperature) == (-1, 3, 2.0)
    assert {changed: 1}[Parameters.for_profile("smoke", seed=3, exit_temperature=2.0)] == 1
    assert pickle.loads(pickle.dumps(changed)) == changed != p


def test_a_path_that_is_no_unicode_is_kept():
    clip = os.fsdecode(b"caf\xe9.avi")
    assert Parameters.for_profile("smoke", clip=clip).flat()["clip"] == clip


def test_an_unknown_profile_names_the_known_ones():
    with pytest.raises(ParameterError, match=r"'fast' is not known; the profiles are: .*quick"):
        Parameters.for_profile("fast")


def test_a_whole_number_serves_as_a_float():
    assert Parameters.for_profile("smoke", backbone_lr=1).backbone_lr == 1.0


def test_changed_values_get_a_folder_of_their_own():
    plain = Parameters.for_profile("smoke")
    placed = Parameters.for_profile("smoke", runs="elsewhere", split=0, seed=4)
    changed = Parameters.for_profile("smoke", exit_epochs=7)
    assert plain.variant == placed.variant == "smoke"
    assert changed.variant.startswith("smoke-")


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_what_a_data_set_has_for_separate_networks_is_not_for_a_joint_one(profile):
    p, team = (Parameters.for_profile(profile, dataset="ucf101", backbone=name) for name in ("coviar", "teamnet"))
    assert p.backbone_weights == "marionette" and not team.backbone_weights and not team.iframe_network
    assert (p.variant, team.variant) == ({"quick": "quick-lite", "full": "full"}[profile], f"{profile}-teamnet")


def test_a_backbone_has_its_own_values_and_its_own_folder():
    p = Parameters.for_profile("smoke", backbone="teamnet")
    assert (p.variant, p.plan) == ("smoke-teamnet", PLANS["teamnet"])
    assert (p.backbone_lr, p.exit_lr) == (0.0025, 0.01)  # of profiles/any.teamnet.yaml
    assert p.exit_epochs == Parameters.for_profile("smoke").exit_epochs
    assert Parameters.for_profile("smoke", backbone="teamnet", backbone_lr=0.02).variant.startswith("smoke-teamnet-")
    assert Parameters.for_profile(**p.flat()) == p
    assert Parameters.for_profile("large", backbone="teamnet").backbone_lr == 0.01  # of its own file
    p = Parameters.for_profile("full", backbone="teamnet", dataset="ut_interaction")
    assert p.backbone_epochs == Parameters.for_profile("full", dataset="ut_interaction").backbone_epochs


def test_the_iframe_network_is_chosen_apart_from_the_others():
    plain = Parameters.for_profile("smoke")
    strong = Parameters.for_profile("smoke", iframe_network="lite", iframe_epochs=3)
    assert strong.variant.startswith("smoke-lite-") and Parameters.for_profile(**strong.flat()) == strong
    assert strong.replace(iframe_epochs=plain.iframe_epochs).variant == "smoke-lite"
    own = strong.network_of("iframe")
    assert (own.size, own.weights, own.epochs, own.lr) == ("lite", "imagenet", 3, strong.iframe_lr)
    assert own.tuning == IFRAME_NETWORKS["lite"]
    for modality in ("motion", "residual"):
        assert strong.network_of(modality) == plain.network_of(modality) == plain.network_of("iframe")
    common = plain.common_network
    assert (common.size, common.weights, common.epochs) == ("small", "", plain.backbone_epochs)


def test_flat_values_make_the_same_parameters_again():
    p = Parameters.for_profile("smoke", seed=2)
    assert Parameters.for_profile(**p.flat()) == p


def test_a_profile_may_say_otherwise_for_one_data_set():
    general, own = (Parameters.for_profile("full", dataset=name) for name in ("marionette", "ut_interaction"))
    assert own.backbone_epochs > general.backbone_epochs
    assert own.variant == general.variant == "full"
    assert Parameters.for_profile("full", dataset="ut_interaction", backbone_epochs=7).variant != "full"
