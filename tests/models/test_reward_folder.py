"""A saved reward model scores the same in plain transformers, and says so when it does not."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPTNeoXConfig,
    PhiConfig,
    StableLmConfig,
)

from families import FAMILIES, VOCABULARY, tiny_family
from rather.errors import BadModel
from rather.models.heads import reward_model_from
from rather.models.load import load_policy
from rather.models.reward_folder import load_reward_model, save_reward_model
from rather.models.tiny import train_tokenizer

TOKENIZER = train_tokenizer(["a few words"], 259)  # bos 0, eos 1, pad 2, as in the families
PROBES = [[3, 4, 5, 1], list(range(20, 60))]
WIDE = {"intermediate_size": 80}  # Gemma 2 and 3 need twice the hidden size to say a constant


def reward_model(name, shift=-1.7, **sizes):
    model = reward_model_from(tiny_family(name, **sizes), torch.Generator().manual_seed(1))
    model.shift(shift)
    return model.eval()


def saved(folder, name="llama", **sizes):
    model = reward_model(name, **sizes)
    save_reward_model(model, TOKENIZER, folder, PROBES)
    return model


@pytest.fixture(scope="module")
def saved_once(tmp_path_factory):
    """name, sizes -> (model, folder), each saved once for all tests that only read it."""
    known = {}

    def get(name, sizes):
        key = (name, str(sizes))
        if key not in known:
            folder = tmp_path_factory.mktemp(name) / "rm"
            known[key] = saved(folder, name, **sizes), folder
        return known[key]

    return get


def padded_texts():
    """(6, 30) ids of texts of several lengths, padded on the right, and their mask."""
    rng = torch.Generator().manual_seed(2)
    tokens = torch.randint(3, VOCABULARY, (6, 30), generator=rng)
    mask = (torch.arange(30) < torch.tensor([30, 1, 7, 12, 29, 2])[:, None]).long()
    return tokens.masked_fill(mask == 0, TOKENIZER.pad_token_id), mask


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


EXACT = [(name, {}) for name in FAMILIES if name not in ("gemma2", "gemma3_text")]
EXACT += [("gemma2", WIDE), ("gemma3_text", WIDE)]
EXACT += [("qwen2", {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1})]
EXACT += [("mistral", {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 500.0}})]


@pytest.mark.parametrize(("name", "sizes"), EXACT)
def test_plain_transformers_gives_the_same_scores_bias_included(name, sizes, saved_once):
    model, folder = saved_once(name, sizes)
    tokens, mask = padded_texts()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain, report = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values())  # nothing missing, nothing left over
    assert plain.num_labels == 1
    assert plain.dtype == torch.float32
    with torch.no_grad():
        ours = model.score(tokens, mask)
        theirs = plain.eval()(input_ids=tokens, attention_mask=mask).logits
    assert theirs.shape == (6, 1)
    # In Gemma 2 and 3 a second norm undoes the first one's epsilon: 1e-6 against a mean square of about 0.1 here.
    assert torch.allclose(theirs[:, 0], ours, atol=2e-5 if sizes == WIDE else 2e-6, rtol=0)
    assert plain.config.score_bias == 0


@pytest.mark.parametrize("config", [GPTNeoXConfig, PhiConfig, StableLmConfig])
def test_a_last_norm_with_a_bias_is_found_whatever_it_is_called(config, tmp_path):
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    torch.manual_seed(0)
    policy = AutoModelForCausalLM.from_config(config(**sizes, num_attention_heads=4, num_key_value_heads=4))
    model = reward_model_from(policy, torch.Generator().manual_seed(1)).eval()
    model.shift(1.3)
    assert save_reward_model(model, TOKENIZER, tmp_path / "rm", PROBES) == "norm"
    tokens, mask = padded_texts()
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm").eval()
    with torch.no_grad():
        theirs = plain(input_ids=tokens, attention_mask=mask).logits[:, 0]
        assert torch.allclose(theirs, model.score(tokens, mask), atol=2e-6)


@pytest.mark.parametrize("name", ["gemma2", "gemma3_text"])
def test_where_the_bias_does_not_fit_the_config_has_it(name, tmp_path):
    model = saved(tmp_path / "rm", name)
    tokens, mask = padded_texts()
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm").eval()
    with torch.no_grad():
        theirs = plain(input_ids=tokens, attention_mask=mask).logits[:, 0] + plain.config.score_bias
        assert torch.allclose(theirs, model.score(tokens, mask), atol=1e-6, rtol=0)
    assert plain.config.score_bias == pytest.approx(-1.7)


@pytest.mark.parametrize(("name", "sizes"), [*EXACT, ("gemma2", {})])
def test_loading_gives_back_what_was_saved(name, sizes, saved_once):
    model, folder = saved_once(name, sizes)
    loaded = load_reward_model(folder)
    tokens, mask = padded_texts()
    with torch.no_grad():
        assert torch.allclose(loaded.model.score(tokens, mask), model.score(tokens, mask), atol=1e-6, rtol=0)
    if name not in ("gemma", "gpt2"):  # Gemma comes back as the Llama it is, GPT-2 keeps the bias in its last norm
        before = model.state_dict()
        after = loaded.model.state_dict()
        assert list(before) == list(after)
        assert all(torch.equal(after[key], before[key]) for key in before)
        assert loaded.model.config.num_hidden_layers == model.config.num_hidden_layers
    assert loaded.tokenizer.pad_token == "<|pad|>"
    assert not loaded.model.training


@pytest.mark.parametrize("name", ["llama", "gemma", "gpt2"])
def test_saved_twice_it_is_the_same(name, tmp_path):
    saved(tmp_path / "once", name)
    once = load_reward_model(tmp_path / "once")
    save_reward_model(once.model, once.tokenizer, tmp_path / "twice", PROBES)
    twice = load_reward_model(tmp_path / "twice")
    for key, tensor in once.model.state_dict().items():
        assert torch.equal(twice.model.state_dict()[key], tensor), key


def test_large_scores_and_loud_hidden_states_keep_their_digits(tmp_path):
    model = reward_model("llama", shift=1000.0)
    with torch.no_grad():
        model.body.embed_tokens.weight.mul_(1000.0)
        model.head.weight.mul_(50.0)
    save_reward_model(model, TOKENIZER, tmp_path / "rm", PROBES)
    tokens, mask = padded_texts()
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm").eval()
    with torch.no_grad():
        theirs, ours = plain(input_ids=tokens, attention_mask=mask).logits[:, 0], model.score(tokens, mask)
    assert torch.allclose(theirs, ours, rtol=1e-6, atol=0)
    assert ours.std() > 10


@pytest.mark.parametrize(("name", "sizes"), EXACT)
def test_in_bf16_plain_transformers_is_as_near_as_the_model_itself(name, sizes, saved_once):
    model, folder = saved_once(name, sizes)
    tokens, mask = padded_texts()
    plain = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.bfloat16).eval()
    with torch.no_grad():
        exact = model.score(tokens, mask)
        theirs = plain(input_ids=tokens, attention_mask=mask).logits[:, 0].float()
    assert torch.allclose(theirs, exact, atol=0.1)


def test_a_lost_bias_is_noticed(tmp_path):
    saved(tmp_path / "rm")
    path = tmp_path / "rm" / "model.safetensors"
    tensors = load_file(path)
    tensors["model.layers.2.mlp.up_proj.bias"].zero_()
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(BadModel, match=r"its probes score .* where the model scored .* when it was saved"):
        load_reward_model(tmp_path / "rm")


def test_a_weight_that_changed_is_noticed(tmp_path):
    saved(tmp_path / "rm", "gpt2")
    path = tmp_path / "rm" / "model.safetensors"
    tensors = load_file(path)
    tensors["transformer.wpe.weight"][2, 5] += 0.1
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(BadModel, match="its probes score"):
        load_reward_model(tmp_path / "rm")


def test_another_template_is_noticed(tmp_path):
    saved(tmp_path / "rm")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "rm")
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    tokenizer.save_pretrained(tmp_path / "rm")
    with pytest.raises(BadModel, match="the tokenizer is not the one it was saved with: template changed"):
        load_reward_model(tmp_path / "rm")


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("reward.json", None, "not saved by rather"),
        ("probe.json", None, "nothing to check its scores by"),
        ("probe.json", '{"tokens": [[3, 4, 5, 1]], "scores": []}', "1 probes and 0 scores"),
        ("probe.json", '{"tokens": [[3, 400]], "scores": [1.0]}', "does not fit the weights"),
        ("probe.json", '{"tokens": [[1e999]], "scores": [1.0]}', "does not fit the weights"),
        ("probe.json", '{"tokens": [[3, 4]]}', "does not fit the weights"),
        ("probe.json", "{", "is not JSON"),
        ("reward.json", "[]", "holds a list"),
        ("reward.json", "{}", "the tokenizer is not the one"),
        ("model.safetensors", None, "has no weights"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused_in_words(file, content, words, tmp_path):
    saved(tmp_path / "rm")
    path = tmp_path / "rm" / file
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(BadModel, match=words):
        load_reward_model(tmp_path / "rm")


@pytest.mark.parametrize("change", [{"num_hidden_layers": 7}, {"hidden_size": "wide"}, {"pad_token_id": [None]}])
def test_a_body_that_does_not_fit_is_refused_in_words(change, tmp_path):
    saved(tmp_path / "rm")
    path = tmp_path / "rm" / "reward.json"
    body = json.loads(path.read_text())["body"]
    edit(path, body=body | change)
    with pytest.raises(BadModel, match="does not fit the weights"):
        load_reward_model(tmp_path / "rm")


def test_a_model_whose_scores_are_not_numbers_is_not_saved(tmp_path):
    model = reward_model("llama")
    with torch.no_grad():
        model.head.weight.fill_(float("nan"))
    with pytest.raises(BadModel, match="nan is not a score"):
        save_reward_model(model, TOKENIZER, tmp_path / "rm", PROBES)
    assert list(tmp_path.iterdir()) == []


def test_saving_leaves_the_model_as_it_was(tmp_path):
    model = reward_model("llama").train()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    save_reward_model(model, TOKENIZER, tmp_path / "rm", PROBES)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert model.training
    assert model.config.num_hidden_layers == 2


@pytest.mark.shared
def test_a_reward_model_from_a_trained_body_scores_the_same_in_plain_transformers(shared_data, tmp_path):
    policy = load_policy(shared_data / "model_stories260k")
    model = reward_model_from(policy.model, torch.Generator().manual_seed(0)).eval()
    texts = ["Once upon a time there was a little dog.", "Lily went home", "The"]
    ids = [[*policy.tokenizer(text)["input_ids"], policy.tokenizer.eos_token_id] for text in texts]
    with torch.no_grad():
        model.shift(-sum(model.score(torch.tensor([row])).item() for row in ids) / len(ids))
    save_reward_model(model, policy.tokenizer, tmp_path / "rm", ids)
    batch = AutoTokenizer.from_pretrained(tmp_path / "rm", padding_side="right").pad(
        {"input_ids": ids}, return_tensors="pt"
    )
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm").eval()
    with torch.no_grad():
        theirs = plain(**batch).logits[:, 0]
        ours = model.score(batch["input_ids"], batch["attention_mask"])
    assert torch.allclose(theirs, ours, atol=2e-6)
    assert theirs.mean().item() == pytest.approx(0, abs=1e-5)
    assert load_reward_model(tmp_path / "rm").how == "layer"
