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
            free, found = self._free_gib()
            if free >= need.gib:
                return self.device
            if time.monotonic() >= deadline or free < 0:
                instead = f"; without a GPU: {need.instead}" if need.instead else ""
                raise dg.Failure(
                    f"{need.encoder} needs a GPU with {need.gib:g} GiB free, found {found}{instead}",
                    allow_retries=False,
                )
            time.sleep(min(LOOK_AGAIN_SECONDS, max(0.0, deadline - time.monotonic())))

    def _free_gib(self) -> tuple[float, str]:
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


def gpu_gib() -> float:
    """Memory of the largest GPU the driver knows, in GiB, 0 without one; asked without loading torch.

    0 also where torch would not see it: built for the CPU, or told by CUDA_VISIBLE_DEVICES to see none.
    """
    smi = shutil.which("nvidia-smi")
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if smi is None or hidden or importlib.metadata.version("torch").endswith("+cpu"):
        return 0.0
    command = [smi, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=DRIVER_SECONDS, check=False)
    except (subprocess.TimeoutExpired, OSError) as error:  # a driver that hangs: no GPU can be worked with
        logging.getLogger(__name__).warning("%s does not answer, so no GPU is used: %s", smi, error)
        return 0.0
    # a driver that finds no GPU says so on stdout and fails
    sizes = [float(line) for line in told.stdout.split("\n") if line.strip().isdigit()]
    return max(sizes, default=0.0) / 1024 if told.returncode == 0 else 0.0
