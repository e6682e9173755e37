"""The GPU gate: which encoders can be built on this machine, and the memory one must find before it starts.

Belongs here: looking at the GPU, waiting for it and refusing it in words. Does not: what runs on it.
"""

import gc
import importlib.metadata
import logging
import os
import shutil
import subprocess
import time
from dataclasses import dataclass

import dagster as dg

# The pool of everything that needs the GPU; dagster_home/dagster.yaml lets one step at a time into it.
POOL = "gpu"
TAG = {"gpu": "required"}
LOOK_AGAIN_SECONDS = 5.0
DRIVER_SECONDS = 10


@dataclass(frozen=True)
class GpuNeed:
    """What a step asks of the GPU.

    Attributes:
        gib: free memory, in GiB.
        encoder: for which encoder.
        instead: the command that builds another encoder without a GPU, or None.
    """

    gib: float
    encoder: str
    instead: str | None


class GpuResource(dg.ConfigurableResource[None]):
    """The GPU that steps run on which need one."""

    device: str = "cuda:0"
    wait_seconds: int = 0

    def claim(self, need: GpuNeed) -> str:
        """The torch device, once it has enough free memory.

        Raises:
            dagster.Failure: there is no GPU, or not enough of it is free; the message says what is needed, what was
                found, and what runs here.
        """
        # what an earlier step of this process has left is no one's: torch keeps it, and counts it as taken
        gc.collect()
        deadline = time.monotonic() + self.wait_seconds
        while True:
            free, found = self.free_gib()
            if free >= need.gib:
                return self.device
            if time.monotonic() >= deadline or free < 0:
                instead = f"; without a GPU: {need.instead}" if need.instead else ""
                raise dg.Failure(
                    f"{need.encoder} needs a GPU with {need.gib:g} GiB free, found {found}{instead}",
                    allow_retries=False,
                )
            time.sleep(min(LOOK_AGAIN_SECONDS, max(0.0, deadline - time.monotonic())))

    def free_gib(self) -> tuple[float, str]:
        """Free memory (-1 without a GPU), and what was found, in words."""
        import torch

        if not torch.cuda.is_available():
            return -1.0, "none (this torch is built " + (
                f"for CUDA {torch.version.cuda} and sees none)" if torch.version.cuda else "for the CPU)"
            )
        index = torch.device(self.device).index or 0
        if index >= torch.cuda.device_count():
            return -1.0, f"{torch.cuda.device_count()} GPUs and no {self.device} (gpu.device in the catalog)"
        name = torch.cuda.get_device_name(index)
        torch.cuda.empty_cache()
        try:
            free, total = torch.cuda.mem_get_info(index)
        except RuntimeError as error:  # so full that not even a context fits
            return 0.0, f"{name}, which refuses ({str(error).splitlines()[0]})"
        return free / 2**30, f"{name} with {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"


def gpu_gib(device: str) -> float:
    """Memory of a torch device in GiB, 0 where there is no such GPU; asked of the driver, without loading torch.

    0 also where torch would not see it: built for the CPU, or told so by CUDA_VISIBLE_DEVICES.
    """
    # nvidia-smi, and so whoever names a device, numbers by the slots, torch the fastest first unless it is told before
    # it looks for GPUs, as loading an encoder makes it do; this is asked when the definitions load
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    smi = shutil.which("nvidia-smi")
    if smi is None or importlib.metadata.version("torch").endswith("+cpu"):
        return 0.0
    command = [smi, "--query-gpu=uuid,memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=DRIVER_SECONDS, check=False)
    except (subprocess.TimeoutExpired, OSError) as error:  # a driver that hangs: no GPU can be worked with
        logging.getLogger(__name__).warning("%s does not answer, so no GPU is used: %s", smi, error)
        return 0.0
    if told.returncode:  # so also where it finds no GPU, which is no fault
        reason = (told.stdout + told.stderr).strip()
        if "no devices were found" not in reason.lower():
            logging.getLogger(__name__).warning("%s fails, so no GPU is used: %s", smi, reason)
        return 0.0
    rows = [line.split(", ") for line in told.stdout.splitlines()]
    # a GPU that shares the machine's memory has none of its own to tell
    gpus = [(row[0], float(row[1]) / 1024 if row[1].isdigit() else 0.0) for row in rows if len(row) == 2]
    sizes = _visible(gpus, os.environ.get("CUDA_VISIBLE_DEVICES"))
    place = int(device.partition(":")[2] or 0)
    return sizes[place] if place < len(sizes) else 0.0


def _visible(gpus: list[tuple[str, float]], told: str | None) -> list[float]:
    """Sizes of the GPUs that CUDA_VISIBLE_DEVICES names, in its order, up to a name of none; all where it is unset."""
    sizes = [size for _, size in gpus]
    if told is None:
        return sizes
    names = [name.strip() for name in told.split(",") if name.strip()]
    if any(name.startswith("MIG-") for name in names):  # a part whose size the driver does not list; the claim looks
        return [max(sizes, default=0.0)] * len(names)
    found: list[float] = []
    for name in names:
        named = [
            size
            for place, (uuid, size) in enumerate(gpus)
            if name == str(place) or (name.startswith("GPU-") and uuid.startswith(name))
        ]
        if not named:
            break
        found.append(named[0])
    return found
