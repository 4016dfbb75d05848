import pytest
import torch

from pkdlib.models import backbones, exit_heads
from pkdlib.models.backbones import MODALITIES, MultiExitNetwork


def build(modality, size="small", num_classes=5):
    torch.manual_seed(0)
    backbone = backbones.backbone(modality=modality, size=size, num_classes=num_classes)
    exits = exit_heads.internal_classifiers("paper", backbone=backbone, num_classes=num_classes)
    return MultiExitNetwork(backbone=backbone, exits=exits).eval()


@pytest.mark.parametrize("modality", MODALITIES)
def test_small_networks_have_four_exits_of_the_right_shape(modality):
    net = build(modality)
    clips = torch.randn(2, 3, backbones.CHANNELS[modality], 64, 64)
    assert [tuple(logits.shape) for logits in net(clips)] == [(2, 5)] * 4


def test_the_small_architecture_is_one_for_all_modalities():
    counts = {}
    for modality in MODALITIES:
        tensors = build(modality).backbone.stages.state_dict()
        counts[modality] = {name: tuple(value.shape) for name, value in tensors.items()}
    assert counts["iframe"] == counts["motion"] == counts["residual"]


@pytest.mark.slow
@pytest.mark.parametrize("modality", MODALITIES)
def test_paper_networks_are_the_papers(modality):
    net = build(modality, size="paper", num_classes=101)
    widths = {"iframe": (256, 512, 1024, 2048)}.get(modality, (64, 128, 256, 512))
    assert net.backbone.widths == widths
    # conv(no bias) + BN + 4x4 pool + linear: paper-facts, section 3.
    expected = (
        [(1024, 64), (4096, 256), (16384, 1024)] if modality == "iframe" else [(1024, 64), (2048, 128), (4096, 256)]
    )
    assert [(e.head.in_features, e.body[0].out_channels) for e in net.exits] == expected
    assert net.exits[0].body[0].kernel_size == ((3, 3) if modality == "iframe" else (7, 7))
    clips = torch.randn(1, 1, backbones.CHANNELS[modality], 224, 224)
    assert [tuple(logits.shape) for logits in net(clips)] == [(1, 101)] * 4
    stage = next(iter(net.backbone.features(clips.flatten(0, 1))))
    assert stage.shape[2:] == (56, 56)


def test_asking_for_one_exit_computes_nothing_behind_it():
    net = build("residual")
    ran = []
    for number, stage in enumerate(net.backbone.stages, start=1):
        stage.register_forward_hook(lambda *_, number=number: ran.append(number))
    exits = net.iterate(torch.randn(1, 2, 3, 64, 64))
    next(exits)
    assert ran == [1]
    next(exits)
    assert ran == [1, 2]


def test_the_last_exit_is_the_backbone_alone():
    net = build("iframe")
    clips = torch.randn(2, 3, 3, 64, 64)
    torch.testing.assert_close(net(clips)[3], net.backbone(clips))


def test_a_clips_logits_are_the_mean_of_its_segments():
    net = build("motion")
    clips = torch.randn(2, 3, 2, 64, 64)
    whole = net(clips)
    alone = [net(clips[:, i : i + 1]) for i in range(3)]
    for exit_ in range(4):
        mean = torch.stack([logits[exit_] for logits in alone]).mean(0)
        torch.testing.assert_close(whole[exit_], mean, atol=1e-5, rtol=1e-4)


def test_an_unknown_size_names_the_known_ones():
    with pytest.raises(
        backbones.NetworkError, match="'large' is not known; the sizes are: small, small-mix, paper, lite"
    ):
        backbones.backbone(modality="motion", size="large", num_classes=3)
