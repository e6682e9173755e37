"""A small randomly initialised Qwen3 with a tokenizer of its own: the real architecture, without the real weights."""

from collections.abc import Iterable
from pathlib import Path

END, PAD = "<|im_end|>", "<|endoftext|>"


def write_tiny_qwen(folder: Path, texts: Iterable[str]) -> Path:
    """As Qwen3-Embedding is published, without modules.json: the post-processor ends every text with the pad token."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=600, special_tokens=[PAD, END], initial_alphabet=alphabet)
    )
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {PAD}", special_tokens=[(PAD, 0)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, padding_side="left"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=600,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=128,
        pad_token_id=0,
        eos_token_id=1,
    )
    Qwen3Model(config).save_pretrained(folder)
    return folder
