"""A reward model in a shape that plain transformers scores with, bias included.

`AutoModelForSequenceClassification` reads the hidden state of the last token with a linear layer that has no bias. So
the bias has to come out of the body. How depends on the body's end; docs/models.md has the algebra.

    norm      The last norm has a bias (GPT-2, NeoX, Phi): w.(h + b w/|w|^2) = w.h + b.
    layer     The last norm is an RMSNorm. Its output is an odd function of the residual stream, so no linear layer
              after it can add a constant. But transformers builds as many layers as the configuration says: one more
              layer computes the head with its bias, from the norm that was last, and writes score and a constant into
              the residual stream so loudly that the new last norm passes the score on and divides by the constant.
    constant  Neither fits. The scores of plain transformers then lack the bias, which config.json has as `score_bias`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AutoModel, LlamaConfig, PretrainedConfig, PreTrainedModel, Qwen3Config, SmolLM3Config
from transformers.activations import ACT2FN

from rather.models.heads import RewardModel

How = Literal["norm", "layer", "constant"]
State = dict[str, Tensor]  # names as in the body, e.g. layers.0.mlp.up_proj.weight

# Powers of two: multiplying by them is exact in fp32 and bf16. (fp16 ends at 65504 and cannot hold them.)
OPEN = 2.0**6  # a gate so far open that silu and gelu return it as it is
GAIN = 2.0**36  # of the score over what flows in its coordinate already: a hidden state of 1000 moves it by 1.5e-8
LOUD = 2.0**60  # of the constant: a score of 1000 moves the length by 1e-9; its square still fits into fp32
SCORE, CONSTANT = 0, 1  # the coordinates of the residual stream that are written


@dataclass(frozen=True)
class Plain:
    """What plain transformers is given, and what `whole` needs to have the reward model back.

    config, state: of the body     weight: (1, D) of the linear layer
    body: configuration of the reward model's own body, without what was added
    """

    how: How
    config: PretrainedConfig
    state: State
    weight: Tensor
    body: PretrainedConfig


def as_plain(model: RewardModel) -> Plain:
    config: Any = model.config
    state = {name: tensor.detach() for name, tensor in model.body.state_dict().items()}
    weight, bias = model.head.weight.detach(), model.head.bias.detach()
    if (norm := _last_norm(model.body)) is not None:
        state[norm] = _with_bias(state[norm], weight[0], bias)
        return Plain("norm", config, state, weight, config)
    if (longer := _longer(config)) is None:
        return Plain("constant", config, state, weight, config)
    body = config
    if config.model_type == "gemma":
        state = _gemma_as_llama(state, config.hidden_size)
        body = LlamaConfig(**_shared(config))
    _add_zeros(state, longer)
    if longer.model_type in GEMMAS:
        _write_two_layers(state, longer, weight[0], bias)
    else:
        _write_layer(state, longer, weight[0], bias)
    picks = torch.zeros_like(weight)
    picks[0, SCORE] = 1.0
    return Plain("layer", longer, state, picks, body)


def whole(plain: Plain) -> tuple[State, Tensor, Tensor]:
    """State of the reward model's own body, head weight (1, D), and as much of its bias as is in there, (1,).

    To the bit what `as_plain` was given, but for `norm`, whose bias stays where it was put.
    """
    if plain.how != "layer":
        return plain.state, plain.weight, torch.zeros(1)
    layers: Any = plain.config
    last = f"layers.{layers.num_hidden_layers - 1}."
    norm, weight, bias = (plain.state[last + name] for name in _kept(layers))
    with torch.device("meta"):
        names = AutoModel.from_config(plain.body).state_dict()
    state = {name: plain.state[name] for name in names} | {"norm.weight": norm}
    return state, weight.reshape(-1, len(norm))[:1].clone(), bias[:1].clone()


# ---- norm


def _last_norm(body: PreTrainedModel) -> str | None:
    """Name of the bias of the LayerNorm that gives the last hidden state, found by looking; None if none does."""
    outputs: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(lambda _, inputs, output, name=name: outputs.__setitem__(name, output))
        for name, module in body.named_modules()
        if isinstance(module, nn.LayerNorm) and module.bias is not None
    ]
    try:
        with torch.no_grad():
            hidden = body(input_ids=torch.arange(4, device=body.device)[None], use_cache=False).last_hidden_state
    finally:
        for handle in handles:
            handle.remove()
    same = (name for name, out in outputs.items() if out.shape == hidden.shape and torch.equal(out, hidden))
    return next((f"{name}.bias" for name in same), None)


def _with_bias(norm_bias: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """norm_bias + b w/|w|^2, so that w.(...) is larger by b."""
    w = weight.double()
    return (norm_bias.double() + bias.double() * w / w.dot(w)).to(norm_bias.dtype)


# ---- layer

GEMMAS = ("gemma2", "gemma3_text")


def _longer(config: Any) -> PretrainedConfig | None:
    """The configuration of the same model with a layer more that can say a constant; None if there is none.

    Llama's MLP may have biases. Mistral, Qwen2 and Gemma are Llamas but for settings that Llama has too, and SmolLM3 is
    a Llama with windows. Qwen3 normalises queries and keys, which no model with MLP biases does; but its attention may
    have biases, and in a window of one token it is a linear layer. So may Gemma 2's and 3's, which have more norms too.
    """
    kind = config.model_type
    if kind not in ("llama", "mistral", "qwen2", "qwen3", "gemma", *GEMMAS) or _closes_gates(config):
        return None
    layers = config.num_hidden_layers
    windows = [bool(config.sliding_window)] * layers if kind == "mistral" else _windows(config)
    if kind in GEMMAS:
        if config.intermediate_size < 2 * config.hidden_size:
            return None
        types = [*config.layer_types, "full_attention", "full_attention"]
        return _changed(config, num_hidden_layers=layers + 2, attention_bias=True, layer_types=types)
    if kind == "qwen3":
        if any(windows):
            return None  # a model has windows of one size
        types = ["full_attention"] * layers + ["sliding_attention"]
        shared = _shared(config) | {"num_hidden_layers": layers + 1, "attention_bias": True}
        return Qwen3Config(**shared, layer_types=types, sliding_window=1, use_sliding_window=True)
    shared = _shared(config) | {"num_hidden_layers": layers + 1, "mlp_bias": True}
    if not any(windows):
        return LlamaConfig(**shared)
    return SmolLM3Config(
        **shared,
        layer_types=["sliding_attention" if window else "full_attention" for window in [*windows, True]],
        sliding_window=config.sliding_window,
        use_sliding_window=True,
        no_rope_layers=[1] * (layers + 1),  # 1 is "with": every layer has rotary positions
    )


SHARED = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings", "initializer_range"),
    *("rms_norm_eps", "rope_parameters", "attention_bias", "bos_token_id", "eos_token_id", "pad_token_id", "dtype"),
)


def _shared(config: Any) -> dict[str, Any]:
    shared = {name: getattr(config, name) for name in SHARED if hasattr(config, name)}
    # Qwen2 has biases on queries, keys and values without saying so.
    return shared | ({"attention_bias": True} if config.model_type == "qwen2" else {})


def _changed(config: PretrainedConfig, **changes: Any) -> PretrainedConfig:
    return type(config)(**config.to_dict() | changes)


def _windows(config: Any) -> list[bool]:
    return ["sliding" in layer for layer in getattr(config, "layer_types", None) or []]


def _closes_gates(config: Any) -> bool:
    act = ACT2FN[getattr(config, "hidden_activation", None) or config.hidden_act]
    return bool(act(torch.tensor(OPEN)) != OPEN)


def _gemma_as_llama(state: State, width: int) -> State:
    """Gemma's two habits written into the weights: embeddings times sqrt(D), norms with 1 + weight."""
    state = {name: 1.0 + tensor if "norm" in name else tensor for name, tensor in state.items()}
    state["embed_tokens.weight"] = state["embed_tokens.weight"] * width**0.5
    return state


def _add_zeros(state: State, longer: PretrainedConfig) -> None:
    """Everything that the longer configuration has more. A layer of zeros adds nothing to the residual stream."""
    like = state["norm.weight"]
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in AutoModel.from_config(longer).state_dict().items()}
    for name, shape in shapes.items():
        if name not in state:
            state[name] = torch.zeros(shape, dtype=like.dtype, device=like.device)


def _kept(longer: Any) -> tuple[str, str, str]:
    """Where in the last layer the norm that was last, the head's weight and the head's bias are to be found."""
    if longer.model_type in GEMMAS:
        return "pre_feedforward_layernorm.weight", "input_layernorm.weight", "self_attn.k_proj.bias"
    if longer.model_type == "qwen3":
        return "input_layernorm.weight", "self_attn.v_proj.weight", "self_attn.v_proj.bias"
    return "post_attention_layernorm.weight", "mlp.up_proj.weight", "mlp.up_proj.bias"


def _keep(state: State, longer: Any, weight: Tensor, bias: Tensor) -> None:
    norm, head, constant = (state[f"layers.{longer.num_hidden_layers - 1}.{name}"] for name in _kept(longer))
    norm.copy_(state["norm.weight"])
    head.view(-1, len(weight))[0] = weight
    constant[:1] = bias


def _write_layer(state: State, longer: Any, weight: Tensor, bias: Tensor) -> None:
    """One more layer: its norm is the norm that was last, one of its neurons is the head."""
    _keep(state, longer, weight, bias)
    layer = f"layers.{longer.num_hidden_layers - 1}."
    if longer.model_type == "qwen3":  # head 0 of an attention to oneself: its value is (score, 1)
        state[f"{layer}self_attn.v_proj.bias"][1] = 1.0
        state[f"{layer}self_attn.o_proj.weight"][SCORE, 0] = GAIN
        state[f"{layer}self_attn.o_proj.weight"][CONSTANT, 1] = LOUD
    else:  # neuron 0 of the MLP: its gate is open, its value is the score
        state[f"{layer}mlp.gate_proj.bias"][0] = OPEN
        state[f"{layer}mlp.down_proj.weight"][SCORE, 0] = GAIN / OPEN
        state[f"{layer}mlp.down_proj.bias"][CONSTANT] = LOUD
    # The stream is now x + GAIN score at SCORE, and LOUD at CONSTANT; it has the length LOUD whatever x is.
    state["norm.weight"] = torch.zeros_like(state["norm.weight"])
    state["norm.weight"][SCORE] = LOUD / len(weight) ** 0.5 / GAIN


def _write_two_layers(state: State, longer: Any, weight: Tensor, bias: Tensor) -> None:
    """Gemma 2 and 3 normalise what a layer adds as well, each norm with 1 + weight.

    First layer, MLP: pairs of neurons with the gates +g and -g give (act(g) + act(-g)) y, a positive multiple of the
    normalised stream y. Turned so that the head's direction becomes the coordinate SCORE, its norm makes of it y again,
    which no MLP without biases could write, and keeps only w.y. Second layer, attention: its output bias is the
    constant, and the head's bias beside it.
    """
    width, layers = len(weight), longer.num_hidden_layers
    first, second = f"layers.{layers - 2}.", f"layers.{layers - 1}."
    scaled = weight.double() * (1.0 + state["norm.weight"].double())
    length = float(scaled.norm())
    turn = _turn(scaled / length).to(weight.dtype)  # (D, D)
    loudest = int(state["embed_tokens.weight"].norm(dim=0).argmax())  # a coordinate that is not asleep
    for half, sign in ((slice(0, width), 1.0), (slice(width, 2 * width), -1.0)):
        state[f"{first}mlp.gate_proj.weight"][half, loudest] = sign * OPEN
        state[f"{first}mlp.up_proj.weight"][half] = torch.eye(width)
        state[f"{first}mlp.down_proj.weight"][:, half] = GAIN * turn
    only_score = torch.full_like(state["norm.weight"], -1.0)  # 1 + weight is 0
    state[f"{first}post_feedforward_layernorm.weight"] = only_score.clone()
    state[f"{first}post_feedforward_layernorm.weight"][SCORE] = GAIN * length

    _keep(state, longer, weight, bias)  # in parameters of the second layer that nothing reads: its queries are 0
    state[f"{second}self_attn.o_proj.bias"][[SCORE, CONSTANT]] = 1.0  # normalised: sqrt(D/2) each
    state[f"{second}post_attention_layernorm.weight"][SCORE] = GAIN * float(bias) / (width / 2) ** 0.5 - 1.0
    state[f"{second}post_attention_layernorm.weight"][CONSTANT] = LOUD / (width / 2) ** 0.5
    state["norm.weight"] = only_score
    state["norm.weight"][SCORE] = LOUD / width**0.5 / GAIN - 1.0


def _turn(direction: Tensor) -> Tensor:
    """The reflection that takes a unit vector (D,) to the coordinate SCORE."""
    target = torch.zeros_like(direction)
    target[SCORE] = 1.0
    between = direction - target
    square = between.dot(between)
    eye = torch.eye(len(direction), dtype=direction.dtype)
    return eye if square == 0 else eye - 2.0 * torch.outer(between, between) / square
