"""The GPU figures of Qwen3-Embedding-4B: memory and speed of 4-bit LoRA training and of embedding.

    python benchmarks/gpu.py                  # the 4B shape with random weights, on a GPU
    python benchmarks/gpu.py --shape tiny     # the same code on a small shape; also on a CPU

Embedding is measured twice: as the product embeds, and with its norms compiled (Qwen3's are chains of float32
operations, which the product leaves as they are), which says what share of the distance to the goal is theirs.

Weights are random, because speed and memory do not depend on their values; so nothing is downloaded. Needs torch,
transformers, peft and bitsandbytes alone, and nothing of this project.
"""

import argparse
import time
from collections.abc import Callable

import bitsandbytes as bnb
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn
from transformers import Qwen3Config, Qwen3Model
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

SHAPES: dict[str, dict[str, int]] = {
    "4b": {
        "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128,
    },
    "0.6b": {
        "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
        "num_key_value_heads": 8, "head_dim": 128,
    },
    "tiny": {
        "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 32,
    },
}  # fmt: skip
VOCABULARY = {"4b": 151665, "0.6b": 151669, "tiny": 1000}
PAIRS, TOKENS, STEPS = 16, 64, 20
DOCUMENT_TOKENS, DOCUMENT_BATCH, BATCHES = 64, 256, 20
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj"]
GOAL_GIB, GOAL_SHARE = 12.0, 0.40
# Dense bfloat16 in TFLOP/s, from NVIDIA's data sheets.
DATA_SHEET = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="4b")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    if options.shape != "tiny" and options.device == "cpu":
        print("nothing measured: this shape needs a GPU and torch sees none; --shape tiny runs the same code on a CPU")
        return
    device = torch.device(options.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, bitsandbytes {bnb.__version__}, Qwen3 {options.shape}, random weights")
    torch.manual_seed(42)
    config = Qwen3Config(vocab_size=VOCABULARY[options.shape], max_position_embeddings=512, **SHAPES[options.shape])
    floor = _matmul_rate(device)
    print(f"floor: a bare bfloat16 matrix product runs at {floor / 1e12:.1f} TFLOP/s")
    whole = _model(config, device, four_bit=False)
    _embedding("bf16", whole, config, device, floor, name)
    plain = Qwen3RMSNorm.forward
    Qwen3RMSNorm.forward = torch.compile(plain)
    _embedding("bf16, norms compiled", whole, config, device, floor, name)
    Qwen3RMSNorm.forward = plain
    del whole
    _empty(device)
    quantised = _model(config, device, four_bit=True)
    _embedding("4-bit", quantised, config, device, floor, name)
    _training(quantised, config, device)


def _model(config: Qwen3Config, device: torch.device, *, four_bit: bool) -> Qwen3Model:
    """Random weights, drawn on the device in bfloat16; in four bits linear by linear."""
    torch.set_default_dtype(torch.bfloat16)
    with device:
        model = Qwen3Model(config)
    torch.set_default_dtype(torch.float32)
    # as sentence-transformers embeds
    model.config.use_cache = False
    if four_bit:
        for module in list(model.layers.modules()):
            for child, linear in list(module.named_children()):
                if isinstance(linear, nn.Linear):
                    setattr(module, child, _in_four_bit(linear, device))
        # by which peft knows that its layers stand over 4-bit ones
        model.is_loaded_in_4bit = True
    return model.to(device).eval()


def _in_four_bit(linear: nn.Linear, device: torch.device) -> bnb.nn.Linear4bit:
    quantised = bnb.nn.Linear4bit(
        linear.in_features, linear.out_features, bias=False, compute_dtype=torch.bfloat16, compress_statistics=True,
        quant_type="nf4", device="meta",
    )  # fmt: skip
    quantised.weight = bnb.nn.Params4bit(
        linear.weight.data, requires_grad=False, compress_statistics=True, quant_type="nf4", module=quantised
    )
    quantised.support_avx512bf16_for_cpu = False
    return quantised.to(device)


def _embedding(
    label: str, model: Qwen3Model, config: Qwen3Config, device: torch.device, floor: float, name: str
) -> None:
    ids = torch.randint(0, config.vocab_size, (DOCUMENT_BATCH, DOCUMENT_TOKENS), device=device)

    def embed() -> Tensor:
        with torch.inference_mode():
            last: Tensor = model(input_ids=ids).last_hidden_state[:, -1]
            return nn.functional.normalize(last.float(), dim=1)

    seconds = _seconds(embed, device, 3 if device.type == "cpu" else BATCHES)
    # two operations a weight of the layers and a token, and attention over the text
    weights = sum(
        module.in_features * module.out_features
        for module in model.layers.modules()
        if isinstance(module, (nn.Linear, bnb.nn.Linear4bit))
    )
    attention = 4 * DOCUMENT_TOKENS * config.num_attention_heads * config.head_dim * config.num_hidden_layers
    done = DOCUMENT_BATCH * DOCUMENT_TOKENS * (2 * weights + attention) / seconds
    sheet = next((rate for chip, rate in DATA_SHEET.items() if chip in name), None)
    of_sheet = f", {done / (sheet * 1e12):.0%} of the data sheet's {sheet:.0f} (goal {GOAL_SHARE:.0%})" if sheet else ""
    print(
        f"embedding in {label}: {DOCUMENT_BATCH / seconds:,.0f} documents/s of {DOCUMENT_TOKENS} tokens, "
        f"{done / 1e12:.1f} TFLOP/s, {done / floor:.0%} of the floor{of_sheet}"
    )


def _training(model: Qwen3Model, config: Qwen3Config, device: torch.device) -> None:
    """Steps of in-batch InfoNCE over pairs, as tuning.py takes them: LoRA in float32, activation checkpointing."""
    inject_adapter_in_model(LoraConfig(r=8, lora_alpha=16, target_modules=TARGETS), model)
    trained = []
    for label, weights in model.named_parameters():
        weights.requires_grad_("lora_" in label)
        if weights.requires_grad:
            weights.data = weights.data.float()
            trained.append(weights)
    # by its old name, which older transformers have too
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    optimiser = torch.optim.AdamW(trained, lr=1e-4)
    texts = torch.randint(0, config.vocab_size, (2 * PAIRS, TOKENS), device=device)

    def step() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            vectors = nn.functional.normalize(model(input_ids=texts).last_hidden_state[:, -1].float(), dim=1)
        loss = nn.functional.cross_entropy(20 * vectors[:PAIRS] @ vectors[PAIRS:].T, torch.arange(PAIRS, device=device))
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        return loss.detach()

    first = step()
    _empty(device)
    seconds = _seconds(step, device, 2 if device.type == "cpu" else STEPS)
    last = step()
    if not last < first:
        raise SystemExit(f"training does not learn: loss {first:.4f} before, {last:.4f} after")
    share = sum(weights.numel() for weights in trained)
    print(f"4-bit LoRA training: {share:,} trained weights, {PAIRS / seconds:.1f} pairs/s of {TOKENS} tokens", end="")
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**30
        reserved = torch.cuda.max_memory_reserved() / 2**30
        print(f", peak {peak:.2f} GiB allocated, {reserved:.2f} reserved (goal under {GOAL_GIB:g})", end="")
    print()


def _matmul_rate(device: torch.device) -> float:
    size = 8192 if device.type == "cuda" else 512
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * size**3 / _seconds(lambda: left @ right, device, 20)


def _seconds(work: Callable[[], Tensor], device: torch.device, repeats: int) -> float:
    """Median wall time, after three runs to warm up."""
    taken = []
    for turn in range(repeats + 3):
        _wait(device)
        started = time.perf_counter()
        work()
        _wait(device)
        if turn >= 3:
            taken.append(time.perf_counter() - started)
    return sorted(taken)[len(taken) // 2]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _empty(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    main()
