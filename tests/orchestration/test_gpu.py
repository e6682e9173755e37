"""The GPU gate: what it says on this machine, how it waits, and that nothing else is coloured by it."""

import importlib.metadata
import os

import dagster as dg
import pytest
import torch

from hybrid_assets.orchestration import gpu
from hybrid_assets.orchestration.gpu import GpuNeed, GpuResource

NEED = GpuNeed(12, "qwen3_4b_lora", "hybrid-assets backfill smollm2_lora")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_one_sentence_says_what_is_needed_found_and_what_runs_here():
    with pytest.raises(dg.Failure) as refused:
        GpuResource().claim(NEED)
    told = refused.value.description
    assert told.startswith("qwen3_4b_lora needs a GPU with 12 GiB free, found none (this torch is built for")
    assert told.endswith("without a GPU: hybrid-assets backfill smollm2_lora")
    assert refused.value.allow_retries is False


def a_gpu_with(monkeypatch, *free):
    """A GPU of 24 GiB whose free memory is each of these at one look after the other."""
    looks = iter(free)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Example GPU")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (next(looks) * 2**30, 24 * 2**30))
    monkeypatch.setattr(gpu, "LOOK_AGAIN_SECONDS", 0.01)


def test_enough_free_memory_is_claimed(monkeypatch):
    a_gpu_with(monkeypatch, 12)
    assert GpuResource().claim(NEED) == "cuda:0"


def test_a_half_free_gpu_is_refused_with_the_figures(monkeypatch):
    a_gpu_with(monkeypatch, 5)
    with pytest.raises(dg.Failure, match=r"found Example GPU with 5\.0 of 24\.0 GiB free"):
        GpuResource().claim(NEED)


def test_what_an_earlier_step_of_the_process_left_is_let_go_before_the_look(monkeypatch):
    a_gpu_with(monkeypatch, 20)
    kept = [15]
    monkeypatch.setattr(torch.cuda, "empty_cache", kept.clear)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: ((20 - sum(kept)) * 2**30, 24 * 2**30))
    assert GpuResource().claim(NEED) == "cuda:0"


def test_a_gpu_without_room_for_a_context_is_refused_in_words(monkeypatch):
    a_gpu_with(monkeypatch)

    def full(index):
        raise RuntimeError("CUDA error: out of memory\nmore words")

    monkeypatch.setattr(torch.cuda, "mem_get_info", full)
    with pytest.raises(dg.Failure, match=r"found Example GPU, which refuses \(CUDA error: out of memory\)"):
        GpuResource().claim(NEED)


def test_a_half_free_gpu_is_waited_for(monkeypatch):
    a_gpu_with(monkeypatch, 5, 5, 20)
    assert GpuResource(wait_seconds=60).claim(NEED) == "cuda:0"


def test_waiting_ends(monkeypatch):
    a_gpu_with(monkeypatch, *[5] * 1000)
    with pytest.raises(dg.Failure, match=r"5\.0 of 24\.0"):
        GpuResource(wait_seconds=1).claim(NEED)


def test_a_gpu_that_is_not_there_is_named(monkeypatch):
    a_gpu_with(monkeypatch, 20)
    with pytest.raises(dg.Failure, match=r"1 GPUs and no cuda:3 \(gpu.device in the catalog\)"):
        GpuResource(device="cuda:3").claim(NEED)


@pytest.fixture
def torch_of_cuda(monkeypatch):
    """As where torch is the build that pip offers, and every GPU is to be seen."""
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.13.0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def with_driver(monkeypatch, folder, script):
    smi = folder / "nvidia-smi"
    smi.write_text(script)
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_a_gpu_without_memory_of_its_own_keeps_its_place(monkeypatch, tmp_path, torch_of_cuda):
    with_driver(monkeypatch, tmp_path, "#!/bin/sh\nprintf 'GPU-aa, [N/A]\\nGPU-bb, 24576\\n'\n")
    assert (gpu.gpu_gib("cuda:0"), gpu.gpu_gib("cuda:1")) == (0, 24)


def test_a_driver_that_hangs_is_no_gpu(monkeypatch, tmp_path, torch_of_cuda):
    with_driver(monkeypatch, tmp_path, "#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(gpu, "DRIVER_SECONDS", 0.2)
    assert gpu.gpu_gib("cuda:0") == 0


def test_gpus_are_numbered_by_their_slots_unless_somebody_says_otherwise(monkeypatch):
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    gpu.gpu_gib("cuda:0")
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    gpu.gpu_gib("cuda:0")
    assert os.environ["CUDA_DEVICE_ORDER"] == "FASTEST_FIRST"


TWO_GPUS = "GPU-aa11, 8192\\nGPU-bb22, 24576\\n"


@pytest.mark.parametrize(
    ("told", "status", "gib"), [(TWO_GPUS, 0, 8.0), ("No devices were found\\n", 6, 0.0), ("", 0, 0.0)]
)
def test_the_driver_is_asked_without_torch(monkeypatch, tmp_path, torch_of_cuda, told, status, gib):
    with_driver(monkeypatch, tmp_path, f"#!/bin/sh\nprintf '{told}'\nexit {status}\n")
    assert gpu.gpu_gib("cuda:0") == gib


@pytest.mark.parametrize(
    ("visible", "device", "gib"),
    [
        (None, "cuda", 8),
        (None, "cuda:1", 24),
        (None, "cuda:2", 0),
        ("", "cuda:0", 0),
        ("-1", "cuda:0", 0),
        ("1", "cuda:0", 24),
        ("1,0", "cuda:1", 8),
        ("GPU-bb", "cuda:0", 24),
        ("GPU-bb", "cuda:1", 0),
        ("0,7,1", "cuda:1", 0),
        ("0,-1,1", "cuda:1", 0),
        ("MIG-cc33", "cuda:0", 24),
    ],
)
def test_the_gpu_that_steps_run_on_counts_and_no_other(monkeypatch, tmp_path, torch_of_cuda, visible, device, gib):
    with_driver(monkeypatch, tmp_path, f"#!/bin/sh\nprintf '{TWO_GPUS}'\n")
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpu.gpu_gib(device) == gib
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.13.0+cpu")
    assert gpu.gpu_gib(device) == 0
