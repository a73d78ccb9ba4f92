"""The folder of a reward model: scored by plain transformers as it is, and checked by its own probes when loaded.

config.json, model.safetensors, tokenizer   what `AutoModelForSequenceClassification` and `AutoTokenizer` read
reward.json                                 how the bias was written, the body without what that added, tokenizer facts
probe.json                                  token ids of a few texts, and the scores they had when it was saved
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from rather import files
from rather.errors import BadModel
from rather.models import lora
from rather.models.dropout import set_dropout
from rather.models.heads import RewardModel, plain_attention
from rather.models.load import check_weights, folder_of, load_weights, read_config, read_json
from rather.models.plain import How, Plain, as_plain, whole
from rather.models.tokenizers import check_same, facts, first_line, load_tokenizer, quiet, save_tokenizer

SCORING = "scoring.json"  # beside the weights, where the stage that made it had more to say
TOLERANCE = 1e-4  # of a score, in fp32; between machines sums come out in another order


@dataclass(frozen=True)
class Reward:
    """A reward model with its tokenizer.

    how: the way its bias was written, see `rather.models.plain`
    scoring: what the stage that made it says besides, see `rather.stages.reward_scoring`; None where nothing is said
    """

    model: RewardModel
    tokenizer: PreTrainedTokenizerBase
    how: How
    scoring: dict[str, Any] | None = None


def save_reward_model(
    model: RewardModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: str | Path,
    probes: Sequence[Sequence[int]],
    more: Mapping[str, Any] | None = None,
) -> How:
    """Write the folder, whole or not at all, after plain transformers has scored the probes as the model does.

    probes: token ids of a few texts as they are scored, say the first demonstrations
    more: JSON that belongs to the model, by the name of its file
    """
    assert probes, "a reward model is saved with texts to check it by"
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id), "prepare the tokenizer: pad is not EOS"
    assert all(p.dtype == torch.float32 for p in model.parameters()), "the fp32 master weights are what is saved"
    scores = _scores(model, probes)
    adapted = model
    if lora.adapted(model.body):
        model = RewardModel(lora.merged(model.body), model.head).eval()
    if wrong := [score for score in scores if not math.isfinite(score)]:
        raise BadModel(f"{folder} was not written: {wrong[0]} is not a score.", "Expected a model that has learned.")
    with plain_attention(model.body):
        plain = as_plain(model)
    missing = model.head.bias.item() if plain.how == "constant" else 0.0
    with files.replacing_folder(folder) as unfinished, quiet():
        _write_weights(plain, missing, tokenizer.pad_token_id, unfinished)
        save_tokenizer(tokenizer, unfinished, folder)
        body = json.loads(plain.body.to_json_string(use_diff=False))
        files.write_json(unfinished / "reward.json", {"how": plain.how, "body": body, "tokenizer": facts(tokenizer)})
        files.write_json(unfinished / "probe.json", {"tokens": [list(map(int, p)) for p in probes], "scores": scores})
        for name, value in (more or {}).items():
            files.write_json(unfinished / name, value)
        if adapted is not model:
            _save_adapter(adapted, unfinished)
        stored = AutoModelForSequenceClassification.from_pretrained(unfinished).to(model.head.weight.device)
        with torch.no_grad():
            found = [stored.eval()(_row(probe, stored)).logits.item() + missing for probe in probes]
        _compare(found, scores, f"{folder} was not written", "plain transformers would score")
    return plain.how


def load_reward_model(name: str | Path) -> Reward:
    """Read a folder of `save_reward_model` and score its probes again. fp32, eval mode, every dropout 0."""
    folder = folder_of(name)
    config = read_config(folder)
    reward = read_json(folder / "reward.json", f"{folder} has no reward.json: it was not saved by rather.")
    probe = read_json(folder / "probe.json", f"{folder} has no probe.json, so there is nothing to check its scores by.")
    check_weights(folder)
    tokenizer = load_tokenizer(folder).tokenizer
    check_same(facts(tokenizer), reward.get("tokenizer"), f"{folder}: the tokenizer is not the one it was saved with")
    stored = load_weights(AutoModelForSequenceClassification, folder, config, torch.float32)
    try:
        model = _reward_model(stored, reward)
        set_dropout(model.body, 0.0)
        expected = [float(score) for score in probe["scores"]]
        found = _scores(model, probe["tokens"])
    except BadModel:
        raise
    except Exception as error:  # the body's configuration is foreign, as that of any model
        raise BadModel(
            f"{folder}: reward.json or probe.json does not fit the weights: {first_line(error)}",
            "Expected the files that were saved together.",
            "Copy the folder again, whole",
        ) from error
    _compare(found, expected, str(folder), "its probes score")
    scoring = read_json(folder / SCORING, "") if (folder / SCORING).is_file() else None
    return Reward(model, tokenizer, reward["how"], scoring)


def _save_adapter(model: RewardModel, folder: Path) -> None:
    """For the sequence classifier of plain transformers over the model begun from; its scores lack the bias."""
    config: Any = copy.deepcopy(model.config)
    config.num_labels = 1
    prefix, head = _names(config)
    more = {f"{head}.weight": model.head.weight}
    lora.save_adapter(model.body, folder / lora.FOLDER, prefix=f"{prefix}.", task="SEQ_CLS", more=more)


def _names(config: Any) -> tuple[str, str]:
    """What plain transformers calls the body and the linear layer of a sequence classifier: model, score."""
    try:
        with torch.device("meta"):
            shape = AutoModelForSequenceClassification.from_config(config)
    except ValueError as error:
        raise BadModel(
            f"transformers has no sequence classifier for models of type {config.model_type!r}.",
            "Expected one, because a reward model is saved as one.",
        ) from error
    heads = [name for name in shape.state_dict() if not name.startswith(f"{shape.base_model_prefix}.")]
    if len(heads) != 1:
        raise BadModel(
            f"{type(shape).__name__} scores with {', '.join(heads)}.", "Expected one linear layer without a bias."
        )
    config.architectures = [type(shape).__name__]
    return shape.base_model_prefix, heads[0].removesuffix(".weight")


def _write_weights(plain: Plain, score_bias: float, pad: int, folder: Path) -> None:
    config: Any = copy.deepcopy(plain.config)
    config.num_labels = 1
    config.pad_token_id = pad  # by which the last token is found
    config.score_bias = score_bias
    config.dtype = torch.float32
    prefix, head = _names(config)
    config.save_pretrained(folder)
    tensors = {f"{prefix}.{name}": tensor for name, tensor in plain.state.items()}
    tensors[f"{head}.weight"] = plain.weight
    save_torch_state_dict({name: tensor.contiguous() for name, tensor in tensors.items()}, folder)


def _reward_model(stored: PreTrainedModel, reward: dict[str, Any]) -> RewardModel:
    """Ours from what plain transformers loaded."""
    config: Any = stored.config
    tensors = stored.base_model.state_dict()
    (weight,) = (
        tensor for name, tensor in stored.state_dict().items() if not name.startswith(stored.base_model_prefix)
    )
    own = AutoConfig.for_model(**reward["body"])
    state, weight, bias = whole(Plain(reward["how"], config, tensors, weight, own))
    with torch.random.fork_rng(devices=[]):  # what is drawn here is overwritten
        body = AutoModel.from_config(own, dtype=torch.float32)
    body.load_state_dict(state)
    head = nn.Linear(weight.shape[1], 1)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias + config.score_bias)
    return RewardModel(body, head).eval()


@torch.no_grad()
def _scores(model: RewardModel, texts: Sequence[Sequence[int]]) -> list[float]:
    """One at a time, so that no padding takes part, and without dropout."""
    was_training = model.training
    model.eval()
    scores = [model.score(_row(tokens, model)).item() for tokens in texts]
    model.train(was_training)
    return scores


def _row(tokens: Sequence[int], model: Any) -> Tensor:
    """(1, T)"""
    return torch.tensor([[int(token) for token in tokens]], device=next(model.parameters()).device)


def _compare(found: Sequence[float], expected: Sequence[float], where: str, who: str) -> None:
    if len(found) != len(expected) or not expected:
        raise BadModel(
            f"{where}: {len(found)} probes and {len(expected)} scores.", "Expected one score for each probe."
        )
    far, new, old = max((abs(new - old), new, old) for new, old in zip(found, expected, strict=True))
    if not far <= TOLERANCE * max(1.0, abs(old)):  # so written that NaN is refused as well
        raise BadModel(
            f"{where}: {who} {new:.6f} where the model scored {old:.6f} when it was saved.",
            f"Expected a difference below {TOLERANCE}: a weight or the bias was lost, or transformers computes "
            "something else.",
            "Copy the folder again, whole, or train the reward model again",
        )
