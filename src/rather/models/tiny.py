"""A small Llama from nothing: a standard configuration, a byte-level BPE trained on given text, drawn weights."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Self

import torch
from pydantic import Field, model_validator
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel, PreTrainedTokenizerFast

from rather.config import Config
from rather.models.load import Policy, ready_policy
from rather.models.tokenizers import NAMED_TEMPLATES, PAD, prepare

BOS, EOS = "<|bos|>", "<|eos|>"
BYTES = 256
# Words with their space, digits one by one, punctuation, white space. Byte-level BPE joins bytes only within a piece.
PIECES = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


class TinyConfig(Config):
    """Sizes of a model that a laptop trains in minutes. None of them is the paper's, whose smallest has 1.3B."""

    vocabulary: int = Field(1024, ge=BYTES + 3, description="tokens at most; a small text gives fewer")
    hidden: int = Field(128, ge=2, description="width of the residual stream, a multiple of 2 x heads")
    layers: int = Field(4, ge=1)
    heads: int = Field(4, ge=1)
    kv_heads: int | None = Field(None, ge=1, description="none: as many as heads; a divisor of heads")
    mlp: int | None = Field(None, ge=1, description="none: four times hidden")
    context: int = Field(512, ge=8, description="tokens of prompt and response together")
    tied: bool = Field(True, description="one table for embeddings and head")
    template: str = Field("plain", description="'plain' (Human and Assistant), 'page' or 'none'")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.hidden % (2 * self.heads):
            raise ValueError(f"hidden={self.hidden} is not a multiple of 2 x heads={2 * self.heads}")
        if self.kv_heads and self.heads % self.kv_heads:
            raise ValueError(f"kv_heads={self.kv_heads} does not divide heads={self.heads}")
        if self.template not in ("none", *NAMED_TEMPLATES):
            raise ValueError(f"template {self.template!r} is not one of none, {', '.join(NAMED_TEMPLATES)}")
        return self


def tiny(config: TinyConfig, texts: Iterable[str], rng: torch.Generator) -> Policy:
    """A policy that has learned nothing yet. The same texts and the same generator give the same bytes."""
    tokenizer = train_tokenizer(texts, config.vocabulary)
    tokenizer.model_max_length = config.context
    vocabulary = prepare(tokenizer, template=config.template)
    policy = ready_policy(draw(llama(config, tokenizer), rng), vocabulary, "tiny")
    if len(tokenizer) == config.vocabulary:
        return policy
    fewer = f"The text has words for {len(tokenizer)} tokens, not {config.vocabulary}: the vocabulary is smaller."
    return Policy(policy.model, policy.tokenizer, policy.stops, (*policy.notes, fewer))


def train_tokenizer(texts: Iterable[str], size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE: every text has an encoding, and decoding it gives the text back."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[BOS, EOS, PAD],  # ids 0, 1, 2
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    bpe.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
    )


def llama(config: TinyConfig, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden,
        intermediate_size=config.mlp or 4 * config.hidden,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads or config.heads,
        max_position_embeddings=config.context,
        tie_word_embeddings=config.tied,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def draw(config: LlamaConfig, rng: torch.Generator) -> PreTrainedModel:
    """Weights N(0, 0.02), what adds to the residual stream smaller by sqrt(2 layers), as GPT-2 and GPT-3 began."""
    with torch.random.fork_rng(devices=[]):  # transformers draws from the global generator; all of it is overwritten
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    quiet = math.sqrt(2 * config.num_hidden_layers)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.fill_(1.0)  # norms: a Llama has no other vector
            else:
                adds = name.endswith(("o_proj.weight", "down_proj.weight"))
                parameter.normal_(0.0, config.initializer_range / (quiet if adds else 1.0), generator=rng)
    return model
