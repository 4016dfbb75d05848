import pytest
import torch

from pkdlib import devices


def test_a_device_that_is_not_there_is_named_with_what_to_do():
    message = r"device = 'cuda:99': torch .* sees \d+ GPUs here; take device = 'cpu'"
    with pytest.raises(devices.DeviceError, match=message):
        devices.prepare("cuda:99", torch.get_num_threads())


def test_autocast_changes_products_and_nothing_at_float32():
    a = torch.randn(4, 4)
    with devices.autocast("cpu", "bfloat16"):
        assert (a @ a).dtype == torch.bfloat16
    with devices.autocast("cpu", "float32"):
        assert (a @ a).dtype == torch.float32
