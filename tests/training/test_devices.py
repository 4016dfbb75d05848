import pytest
import torch

from pkdlib.training import devices


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


def test_what_is_fetched_is_laid_out_as_files_keep_it():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    values = [value.clone() for value in network.state_dict().values()]
    network.to(memory_format=torch.channels_last)
    assert not network[0].weight.is_contiguous()
    fetched = devices.fetch(network)
    assert all(value.is_contiguous() for value in fetched.state_dict().values())
    assert all(torch.equal(a, b) for a, b in zip(fetched.state_dict().values(), values, strict=True))


def test_a_gpu_is_waited_for_and_a_processor_is_not(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    for device in ("cpu", "cuda:1"):
        devices.wait(device)
    assert waited == ["cuda:1"]


def test_readers_are_told_the_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"name of {device}")
    assert devices.told("cpu") == "the processor"
    assert devices.told("cuda:1") == "the GPU cuda:1 (name of cuda:1)"
    assert devices.told("cuda:7") == "the GPU cuda:7 (which torch does not see here)"


def test_determinism_is_switched_on_and_off():
    devices.prepare("cpu", torch.get_num_threads(), deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()
    devices.prepare("cpu", torch.get_num_threads())
    assert not torch.are_deterministic_algorithms_enabled()
