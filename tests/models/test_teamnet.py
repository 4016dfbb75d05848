import math

import pytest
import torch
from torch import nn

from pkdlib.early_exit import criteria, policies
from pkdlib.models import cost, exit_heads, teamnet
from pkdlib.models.backbones import MODALITIES, MultiExitNetwork, NetworkError


def build(segments=2, size="small", num_classes=5):
    torch.manual_seed(0)
    backbone = teamnet.team_backbone(size=size, num_classes=num_classes)
    exits = exit_heads.squeezed_classifiers(backbone, num_classes, segments)
    return MultiExitNetwork(backbone=backbone, exits=exits).eval()


def joint(batch=2, segments=2, side=32):
    torch.manual_seed(1)
    return torch.randn(batch, segments, 8, side, side)


@pytest.mark.parametrize(("batch", "segments"), [(2, 2), (1, 3), (3, 1), (1, 1), (2, 5)])
def test_small_networks_have_four_exits_of_the_right_shape(batch, segments):
    outputs = build(segments)(joint(batch, segments))
    assert [tuple(logits.shape) for logits in outputs] == [(batch, 5)] * 4


def on_paper():
    with torch.device("meta"):
        return build(segments=8, size="paper", num_classes=101)


def test_the_papers_network_is_the_papers():
    net = on_paper()
    assert [exit_.head.in_features for exit_ in net.exits] == [384, 768, 1536]
    assert net.backbone.widths == (48, 96, 192, 384)
    outputs = net(torch.zeros(1, 8, 8, 224, 224, device="meta"))
    assert [tuple(logits.shape) for logits in outputs] == [(1, 101)] * 4


# paper-facts, section 5: convolutions and linear layers of 8 segments
def test_leaving_costs_what_the_paper_pays():
    costs = cost.exit_costs(on_paper(), torch.zeros(1, 8, 8, 224, 224, device="meta"))
    gmac = [each / cost.GMAC for each in costs.cumulative]
    assert gmac == pytest.approx([2.5, 15.3, 30.1, 61.4], rel=0.01)
    assert costs.own == (384 * 101, 768 * 101, 1536 * 101, 0)
    assert costs.bare == costs.cumulative[-1] - sum(costs.own)


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def gated_by_hand(module, streams):
    """One clip's streams, nested lists (channels, h, w), scaled in plain loops."""
    reduce, places = module.reduce.weight.tolist(), module.place_gates.weight.tolist()
    height, width = len(streams[0][0]), len(streams[0][0][0])
    pooled = [sum(map(sum, plane)) / (height * width) for stream in streams for plane in stream]
    squeezed = [max(0.0, sum(w * x for w, x in zip(row, pooled, strict=True))) for row in reduce]
    scaled = []
    for stream, layer in zip(streams, module.channel_gates, strict=True):
        factors = [sigmoid(sum(w * x for w, x in zip(row, squeezed, strict=True))) for row in layer.weight.tolist()]
        scaled.append([[[f * x for x in row] for row in plane] for f, plane in zip(factors, stream, strict=True)])
    result = []
    for own, stream in zip(places, scaled, strict=True):
        gates = [[0.0] * width for _ in range(height)]
        for y in range(height):
            for x in range(width):
                total = 0.0
                for source, other in zip(own, scaled, strict=True):
                    for i in range(3):
                        for j in range(3):
                            if 0 <= y + i - 1 < height and 0 <= x + j - 1 < width:
                                values = [plane[y + i - 1][x + j - 1] for plane in other]
                                total += source[i][j] * sum(values) / len(values)
                gates[y][x] = sigmoid(total)
        result.append([[[plane[y][x] * gates[y][x] for x in range(width)] for y in range(height)] for plane in stream])
    return squeezed, result


def test_aggregation_is_that_of_plain_loops():
    torch.manual_seed(2)
    module = teamnet.Aggregation(channels=(7, 4, 5)).double()
    assert module.width == 4
    assert not [name for name, _ in module.named_parameters() if "bias" in name]
    streams = [torch.randn(2, channels, 4, 5, dtype=torch.double) for channels in (7, 4, 5)]
    squeezed, gated = module.squeeze(streams), module(streams)
    for row in range(2):
        expected_vector, expected = gated_by_hand(module, [stream[row].tolist() for stream in streams])
        torch.testing.assert_close(squeezed[row], torch.tensor(expected_vector, dtype=torch.double))
        for stream, by_hand in zip(gated, expected, strict=True):
            torch.testing.assert_close(stream[row], torch.tensor(by_hand, dtype=torch.double))


def test_the_last_exit_is_the_sum_of_the_modalities_and_the_network_alone():
    net, clips = build(), joint()
    *_, last = net.backbone.features(clips.flatten(0, 1))
    parts = net.backbone.branches(last, 2)
    assert tuple(parts) == MODALITIES
    torch.testing.assert_close(sum(parts.values()), net(clips)[3])
    torch.testing.assert_close(net.backbone(clips), net(clips)[3])


def counted(net):
    """Names of the parts that run, in order."""
    ran = []
    parts = {f"squeeze {i}": module.reduce for i, module in enumerate(net.backbone.aggregations)}
    parts |= {f"gate {i}": module.place_gates for i, module in enumerate(net.backbone.aggregations)}
    for modality, backbone in net.backbone.backbones.items():
        parts[f"{modality} stem"] = backbone.stem
        parts |= {f"{modality} stage {i}": stage for i, stage in enumerate(backbone.stages, start=1)}
    for name, part in parts.items():
        part.register_forward_hook(lambda *_, name=name: ran.append(name))
    return ran


def test_asking_for_one_exit_computes_nothing_behind_it():
    net = build()
    ran = counted(net)
    exits = net.iterate(joint())
    next(exits)
    expected = [*(f"{modality} stem" for modality in MODALITIES), "squeeze 0"]
    assert ran == expected
    for number in (1, 2):
        next(exits)
        stages = [f"{modality} stage {number}" for modality in MODALITIES]
        expected += [f"gate {number - 1}", *stages, f"squeeze {number}"]
        assert ran == expected
    exits.close()
    assert ran == expected


def test_the_rows_that_stay_get_what_they_get_alone():
    net, clips = build(3), joint(4, 3)
    alone = net(clips[[1, 3]])
    exits = net.iterate(clips)
    next(exits)
    torch.testing.assert_close(exits.send(torch.tensor([1, 2, 3]))[[0, 2]], alone[1])
    torch.testing.assert_close(exits.send(torch.tensor([0, 2])), alone[2])
    torch.testing.assert_close(exits.send(None), alone[3])


def test_the_executor_takes_it_as_one_more_network():
    net, clips = build(), joint(6)
    scores = torch.stack(net(clips), dim=1).double().detach().numpy()
    confidences = criteria.max_softmax(scores)
    threshold = float(sorted(confidences[:, 0])[3])  # the two surest leave at once
    weights = tuple([0.0] * number + [1.0] for number in range(4))
    policy = policies.Policy(order=("joint",), weights=weights, threshold=threshold)
    answers = policies.execute({"joint": net}, lambda _, left: clips[left], 6, policy)
    expected = policies.leave_at(scores, threshold)
    assert answers.exits.tolist() == expected.tolist()
    assert (answers.exits == 0).sum() == 2
    assert answers.labels.tolist() == scores[range(6), expected].argmax(axis=1).tolist()


def test_dropout_is_active_in_training_alone():
    net, clips = build(), joint()
    assert all(torch.equal(a, b) for a, b in zip(net(clips), net(clips), strict=True))
    drops = [(name, part.p) for name, part in net.named_modules() if isinstance(part, nn.Dropout)]
    assert drops == [(f"backbone.backbones.{modality}.head.0", 0.5) for modality in MODALITIES]
    for part in net.modules():  # dropout alone: batch norm is not asked here
        part.training = isinstance(part, nn.Dropout)
    first, second = net(clips), net(clips)
    assert [torch.equal(a, b) for a, b in zip(first, second, strict=True)] == [True, True, True, False]


def test_every_weight_gets_a_gradient():
    net = build(3).train()
    sum(logits.square().sum() for logits in net(joint(2, 3))).backward()
    assert not [name for name, value in net.named_parameters() if value.grad is None or not value.grad.any()]


def test_exits_refuse_another_number_of_segments():
    with pytest.raises(NetworkError, match="exit: made for clips of 3 segments, not 2"):
        build(3)(joint(3, 2))


def test_the_backbone_alone_takes_any_number_of_segments():
    assert build(3).backbone(joint(2, 5)).shape == (2, 5)


def test_an_unknown_size_names_the_known_ones():
    with pytest.raises(NetworkError, match="'large' is not known; the sizes are: small, small-mix, paper"):
        build(size="large")


def test_clips_of_other_channels_are_refused():
    with pytest.raises(NetworkError, match="clips have 6 channels; TEAM-Net reads 8: iframe 3, motion 2, residual 3"):
        build()(joint()[:, :, :6])
