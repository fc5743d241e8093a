"""Which number format a GPU has, and how many GPUs a process that trains alone sees; the GPUs are made up."""

from types import SimpleNamespace

import pytest
import torch
from srlm.engines import factory
from srlm.models import devices
from srlm.models.devices import all_cores, has_bfloat16, use_one_gpu


@pytest.mark.parametrize(("major", "native"), [(7, False), (8, True), (9, True)], ids=["turing", "ampere", "hopper"])
def test_emulated_bfloat16_does_not_count(monkeypatch, major, native):
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(major=major))
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda _: True)
    assert torch.cuda.is_bf16_supported()  # what must not be asked
    assert has_bfloat16() == native
    chosen = factory.weights_dtype(SimpleNamespace(dtype="auto"))
    assert chosen == (torch.bfloat16 if native else torch.float16)


def test_without_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not has_bfloat16()
    assert factory.weights_dtype(SimpleNamespace(dtype="auto")) == torch.float32


@pytest.fixture
def machine(monkeypatch):
    """A machine with four GPUs, all of them visible."""
    for name in devices.VISIBLE:
        monkeypatch.setenv(name, "")  # restored at the end
        monkeypatch.delenv(name)
    monkeypatch.setattr(devices, "_installed", lambda: 4)
    return monkeypatch


@pytest.mark.parametrize(("visible", "count", "left"), [(None, 4, "0"), ("2,3,1", 3, "2"), ("3", 1, "3"), ("", 4, "0")])
def test_a_process_that_trains_alone_sees_one_gpu(machine, visible, count, left):
    if visible is not None:
        machine.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert use_one_gpu() == count
    assert torch.cuda._parse_visible_devices() == [int(left)]  # what torch counts
    assert use_one_gpu() == 1


def test_uuids_and_amd(machine):
    machine.setenv("CUDA_VISIBLE_DEVICES", "GPU-1b2c,GPU-7f")
    machine.setenv("HIP_VISIBLE_DEVICES", "5,6")
    assert use_one_gpu() == 2
    assert {name: devices.os.environ[name] for name in devices.VISIBLE} == {
        "CUDA_VISIBLE_DEVICES": "GPU-1b2c",
        "HIP_VISIBLE_DEVICES": "5",
    }


def test_nothing_is_set_without_several_gpus(machine):
    machine.setattr(devices, "_installed", lambda: 0)
    assert use_one_gpu() == 0
    assert "CUDA_VISIBLE_DEVICES" not in devices.os.environ


def test_all_cores():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with all_cores():
            assert torch.get_num_threads() == len(devices.os.sched_getaffinity(0))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
