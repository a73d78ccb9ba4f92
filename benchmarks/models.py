"""The same random weights for both systems, as plain transformers models."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from benchmarks.sizes import Size
from benchmarks.workload import EOS, PAD


def config(size: Size) -> PretrainedConfig:
    if size.model_type == "llama":
        return LlamaConfig(
            vocab_size=size.vocab,
            hidden_size=size.hidden,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            intermediate_size=size.mlp,
            max_position_embeddings=1024,
            tie_word_embeddings=False,
            pad_token_id=PAD,
            eos_token_id=EOS,
            bos_token_id=None,
        )
    return GPT2Config(
        vocab_size=size.vocab,
        n_embd=size.hidden,
        n_layer=size.layers,
        n_head=size.heads,
        n_inner=size.mlp,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        pad_token_id=PAD,
        eos_token_id=EOS,
        bos_token_id=None,
    )


def language_model(
    size: Size, seed: int, attention: str = "eager", dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config(size), attn_implementation=attention)
    return _cast(model, dtype)


def reward_model(
    size: Size, seed: int, attention: str = "eager", dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """A body and a scalar head without bias.

    The head is drawn with variance 1/(D+1), so that scores differ by about one: at transformers' own 0.02 every loss
    is ln 2 whatever was computed, and equal losses would show nothing.
    """
    torch.manual_seed(seed)
    shape = config(size)
    shape.num_labels = 1
    model = AutoModelForSequenceClassification.from_config(shape, attn_implementation=attention)
    torch.nn.init.normal_(model.score.weight, std=(size.hidden + 1) ** -0.5)
    return _cast(model, dtype)


def tokenizer(size: Size) -> PreTrainedTokenizerFast:
    """One word, one token: token i is written `i`, but for padding and the end."""
    names = {PAD: "<pad>", EOS: "</s>"}
    vocabulary = {names.get(index, str(index)): index for index in range(size.vocab)}
    plain = Tokenizer(WordLevel(vocabulary, unk_token="<pad>"))
    plain.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="<pad>", eos_token="</s>")


def _cast(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """Parameters only: `model.to(bfloat16)` would also round the rotary frequencies, as no loading of a model does."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model
