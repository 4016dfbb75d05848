import hashlib
import urllib.error

import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.models import resnet

from pkdlib import _resources
from pkdlib.models import backbones, pretrained, registry
from pkdlib.models.pretrained import WeightsError


@pytest.fixture(scope="module")
def source():
    torch.manual_seed(3)
    return resnet.resnet18(num_classes=7)


def backbone(modality="residual", num_classes=7):
    torch.manual_seed(0)
    return backbones.paper_backbone(modality=modality, num_classes=num_classes).eval()


def coviar(source):
    """The keys of the reference's checkpoints: DataParallel's and its own prefix, with the input's batch norm."""
    state = {f"module.base_model.{name}": value for name, value in source.state_dict().items()}
    norm = torch.nn.BatchNorm2d(3)
    torch.nn.init.uniform_(norm.weight)
    return state | {f"module.data_bn.{name}": value for name, value in norm.state_dict().items()}, norm.eval()


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_a_network_begun_from_torchvisions_layout_computes_what_torchvision_does(source, tmp_path, ending):
    path = tmp_path / f"residual.{ending}"
    if ending == "pth":
        torch.save({"epoch": 3, "state_dict": source.state_dict()}, path)
    else:
        save_file(source.state_dict(), path)
    net = backbone()
    pretrained.begin(net, "residual", str(tmp_path / ("{modality}." + ending)))
    net.stem[0] = torch.nn.Identity()  # torchvision normalises no input
    clips = torch.randn(2, 1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(net(clips), source.eval()(clips[:, 0]), rtol=1e-4, atol=1e-5)


def test_the_references_layout_brings_the_inputs_batch_norm(source):
    state, norm = coviar(source)
    net = backbone()
    pretrained.load(net, state, "checkpoint")
    clips = torch.randn(2, 1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(net(clips), source.eval()(norm(clips[:, 0])), rtol=1e-4, atol=1e-5)


def test_a_classifier_of_other_classes_stays_new(source):
    net, fresh = backbone(num_classes=5), backbone(num_classes=5)
    pretrained.load(net, source.state_dict(), "weights")
    assert torch.equal(net.head.weight, fresh.head.weight)
    assert torch.equal(net.stages[3][1].conv2.weight, source.layer4[1].conv2.weight)


def test_imagenets_first_convolution_is_not_for_motion(source, monkeypatch):
    monkeypatch.setattr(
        resnet.ResNet18_Weights.IMAGENET1K_V1.__class__, "get_state_dict", lambda *_, **__: source.state_dict()
    )
    net, fresh = backbone("motion"), backbone("motion")
    pretrained.begin(net, "motion", "imagenet")
    assert torch.equal(net.stem[1].weight, fresh.stem[1].weight)
    assert torch.equal(net.stages[0][0].conv1.weight, source.layer1[0].conv1.weight)


def test_what_cannot_be_downloaded_says_where_it_lies(monkeypatch):
    def refuse(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(resnet.ResNet50_Weights.IMAGENET1K_V1.__class__, "get_state_dict", refuse)
    with pytest.raises(WeightsError, match=r"cannot download https://.*resnet18.*; fetch it by other means"):
        pretrained.begin(backbone(), "residual", "imagenet")


def test_no_weights_leave_the_network_as_it_was():
    net, fresh = backbone(), backbone()
    pretrained.begin(net, "residual", "")
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), fresh.state_dict().values(), strict=True))


def test_what_does_not_fit_is_named(source, tmp_path):
    net = backbone()
    state = source.state_dict()
    with pytest.raises(WeightsError, match=r"1 missing, 0 more\): 'stages.1.0.conv1.weight' is missing"):
        pretrained.load(net, {k: v for k, v in state.items() if k != "layer2.0.conv1.weight"}, "weights")
    with pytest.raises(WeightsError, match=r"'layer5.weight' is not a weight of it"):
        pretrained.load(net, state | {"layer5.weight": torch.zeros(1)}, "weights")
    with pytest.raises(WeightsError, match="there is no file"):
        pretrained.begin(net, "residual", str(tmp_path / "absent.pth"))
    (tmp_path / "noise.pth").write_bytes(b"noise")
    with pytest.raises(WeightsError, match=r"noise\.pth holds no weights that can be read safely"):
        pretrained.begin(net, "residual", str(tmp_path / "noise.pth"))
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match=r"list\.pth holds no state dict"):
        pretrained.begin(net, "residual", str(tmp_path / "list.pth"))
    with pytest.raises(WeightsError, match="only a network for one modality"):
        pretrained.begin(torch.nn.Linear(1, 1), "joint", "imagenet")


def test_the_shipped_networks_give_all_but_the_classifier():
    torch.manual_seed(0)
    net = registry.backbone(reads="motion", size="small", num_classes=12)
    fresh = {name: value.clone() for name, value in net.state_dict().items()}
    pretrained.begin(net, "motion", "marionette")
    shipped = load_file(_resources.folder("results") / "model" / "model.safetensors")
    for name, value in net.state_dict().items():
        expected = fresh[name] if name.startswith("head.") else shipped[f"motion.backbone.{name}"].to(value.dtype)
        assert torch.equal(value, expected), name


def test_one_file_of_weights_is_told_from_another(tmp_path):
    path = tmp_path / "motion.safetensors"
    path.write_bytes(b"one")
    source = str(tmp_path / "{modality}.safetensors")
    assert pretrained.checksum(source, "motion") == hashlib.sha256(b"one").hexdigest()
    assert pretrained.checksum(source, "iframe") == pretrained.checksum("", "motion") == ""
    path.write_bytes(b"other")
    assert pretrained.checksum(source, "motion") == hashlib.sha256(b"other").hexdigest()
