import pytest
import torch

from pkdlib.models import registry, teamnet
from pkdlib.models.backbones import CHANNELS, Backbone, NetworkError


@pytest.mark.parametrize("reads", CHANNELS)
def test_every_network_is_made_by_what_it_reads(reads):
    kind = "squeezed" if reads == "joint" else "light"
    network = registry.network(reads=reads, size="small", kind=kind, segments=2, num_classes=3)
    assert isinstance(network.backbone, teamnet.TeamBackbone if reads == "joint" else Backbone)
    assert not network.training
    logits = network(torch.randn(2, 2, CHANNELS[reads], 32, 32))
    assert [tuple(values.shape) for values in logits] == [(2, 3)] * 4


def test_an_unknown_size_or_kind_names_the_known_ones():
    shape = {"reads": "joint", "segments": 2, "num_classes": 3}
    with pytest.raises(NetworkError, match="'large' is not known; the sizes are: small, small-mix, paper, lite"):
        registry.network(size="large", kind="squeezed", **shape)
    with pytest.raises(
        NetworkError, match="'heavy' is not known; the internal classifiers are: paper, light, squeezed"
    ):
        registry.network(size="small", kind="heavy", **shape)
