"""LoRA: off it is the model it began as, saved it is what plain peft and plain transformers load."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from families import tiny_family
from rather.errors import BadFile, BadModel, BadSetting, MissingExtra
from rather.models.fingerprint import fingerprint, fingerprint_folder
from rather.models.heads import reward_model_from
from rather.models.load import load_policy, save_policy
from rather.models.lora import ALL, LoRA, adapted, attach, merged, reference_of, sharing, targets_of, unadapted
from rather.models.reward_folder import load_reward_model, save_reward_model
from rather.models.tiny import TinyConfig, tiny

TEXTS = [f"the {a} cat sees a {c} ." for a in ("old", "red", "shy") for c in ("fox", "hen", "bee")]
SIZES = TinyConfig(vocabulary=300, hidden=32, layers=2, heads=2, mlp=48, context=64, template="none")
IDS = torch.arange(20)[None] % 7 + 3  # (1, T)


@pytest.fixture
def base(tmp_path) -> Path:
    return save_policy(tiny(SIZES, TEXTS, torch.Generator().manual_seed(0)), tmp_path / "base")


def moved(model: torch.nn.Module) -> None:
    """As if it had been trained: B is no longer 0."""
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(0.2 * torch.randn(p.shape, generator=rng))


@torch.no_grad()
def logits(model: torch.nn.Module) -> torch.Tensor:
    return model(input_ids=IDS).logits


def test_adapters_begin_as_nothing_and_off_they_are_the_reference_to_the_bit(base):
    policy, plain = load_policy(base), load_policy(base)
    adapters = attach(policy.model, LoRA(rank=4), seed=0)
    assert torch.equal(logits(policy.model), logits(plain.model))
    reference = reference_of(policy.model)
    moved(policy.model)
    assert not torch.allclose(logits(policy.model), logits(plain.model), atol=1e-2)
    assert torch.equal(logits(reference), logits(plain.model))
    assert not adapted(reference)
    assert fingerprint(reference) == adapters.sha256 == fingerprint_folder(base)
    assert {id(p) for p in reference.parameters()} <= {id(p) for p in policy.model.parameters()}  # not a copy


def test_only_the_adapters_are_trained_and_their_beginning_follows_from_the_seed(base):
    models = [load_policy(base).model for _ in range(3)]
    found = [
        attach(model, LoRA(rank=4, targets=["q_proj", "v_proj"]), seed)
        for model, seed in zip(models, (5, 5, 6), strict=True)
    ]
    trained = [{n: p for n, p in model.named_parameters() if p.requires_grad} for model in models]
    assert all("q_proj.lora_" in name or "v_proj.lora_" in name for name in trained[0])
    assert found[0].trained == sum(p.numel() for p in trained[0].values()) == 2 * 2 * (4 * 32 + 32 * 4)
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])
    assert not all(torch.equal(trained[0][name], trained[2][name]) for name in trained[0])


def test_without_a_rank_nothing_is_done(base):
    model = load_policy(base).model
    before = fingerprint(model)
    assert attach(model, LoRA(), seed=0) is None
    assert fingerprint(model) == before
    assert all(p.requires_grad for p in model.parameters())
    copy = reference_of(model)
    assert not {id(p) for p in copy.parameters()} & {id(p) for p in model.parameters()}


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gpt2"])
def test_merged_is_the_adapted_model_in_every_family(family):
    model = tiny_family(family).double()  # its logits are loud: float32 shows the order of sums in the fifth digit
    attach(model, LoRA(rank=3), seed=0)
    moved(model)
    plain = merged(model)
    assert not adapted(plain)
    assert [n for n, _ in plain.named_parameters()] == [n for n, _ in tiny_family(family).named_parameters()]
    torch.testing.assert_close(logits(plain), logits(model), atol=1e-5, rtol=1e-5)
    assert torch.equal(logits(unadapted(model)), logits(tiny_family(family).double()))


def test_a_folder_is_a_plain_model_and_its_adapter_is_plain_peft_s(base, tmp_path):
    policy = load_policy(base)
    attach(policy.model, LoRA(rank=4), seed=0)
    moved(policy.model)
    trained = logits(policy.model)
    folder = save_policy(policy, tmp_path / "checkpoint")
    ours, plain = load_policy(folder).model, AutoModelForCausalLM.from_pretrained(folder)
    by_peft = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder / "adapter")
    by_itself = AutoPeftModelForCausalLM.from_pretrained(folder / "adapter")  # it says what it was trained on
    for model in (ours, plain, by_peft, by_itself, by_peft.merge_and_unload()):
        torch.testing.assert_close(logits(model.eval()), trained, atol=1e-5, rtol=1e-5)
    settings = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(base.resolve())
    assert settings["target_modules"] == sorted(settings["target_modules"])
    again = save_policy(policy, tmp_path / "again")
    for file in ("model.safetensors", "adapter/adapter_model.safetensors", "adapter/adapter_config.json"):
        assert (folder / file).read_bytes() == (again / file).read_bytes()
    with pytest.raises(BadModel, match=rf"holds an adapter(?s:.)*The merged model is {folder}"):
        load_policy(folder / "adapter")


def test_a_reward_model_s_adapter_loads_in_plain_peft_and_lacks_only_the_bias(base, tmp_path):
    policy = load_policy(base)
    model = reward_model_from(policy.model, torch.Generator().manual_seed(0))
    attach(model.body, LoRA(rank=4), seed=0)
    moved(model)
    with torch.no_grad():
        trained = float(model.eval().score(IDS))
    save_reward_model(model, policy.tokenizer, tmp_path / "reward", [[3, 4, 5]])
    reward = load_reward_model(tmp_path / "reward").model
    assert not adapted(reward.body)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward")
    begun = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    by_peft = PeftModel.from_pretrained(begun, tmp_path / "reward" / "adapter").eval()
    with torch.no_grad():
        assert float(reward.score(IDS)) == pytest.approx(trained, abs=1e-5)
        assert float(plain(IDS).logits) == pytest.approx(trained, abs=1e-4)
        assert float(by_peft(IDS).logits) + float(model.head.bias.detach()) == pytest.approx(trained, abs=1e-5)


def test_a_shared_model_has_layers_of_its_own_on_the_same_weights(base):
    first = load_policy(base).model
    second = sharing(first)
    attach(second, LoRA(rank=2), seed=0)
    assert not adapted(first)
    assert adapted(second)
    assert first.get_input_embeddings().weight is second.get_input_embeddings().weight


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ("q_porj", "Did you mean 'q_proj'"),
        (["q_proj", "query"], "'query'"),
        ("lm_head", "output projection"),
        ("embed_tokens", "Embeddings"),
        ("q_proj\x1b[31m", r"x1b\[31m"),
    ],
)
def test_names_that_no_layer_has_are_refused_in_words(base, targets, said):
    model = load_policy(base).model
    before = fingerprint(model)
    with pytest.raises(BadSetting, match=said) as refused:
        attach(model, LoRA(rank=2, targets=targets), seed=0)
    assert "\x1b" not in str(refused.value)
    assert "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj" in str(refused.value)
    assert f"lora.targets={ALL}" in str(refused.value)
    assert fingerprint(model) == before


def test_gpt_2_has_layers_of_its_own_kind():
    assert targets_of(tiny_family("gpt2"), ALL) == ("c_attn", "c_fc", "c_proj")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["lora.rank=0"], "at least 1"),
        (["lora.alpha=0"], "more than 0"),
        (["lora.four_bit=true"], "without a rank"),
        (["lora.targets=[]", "lora.rank=2"], "targets is empty"),
        (["lora.rnak=4"], "lora.rank"),
        (["rank=4"], "Did you mean 'lora.rank'"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_words(settings, said):
    from rather.stages.sft import SFTConfig  # below: a stage, to have its keys as a user types them

    with pytest.raises(BadSetting, match=said):
        SFTConfig.load(None, settings)


def without(monkeypatch, package: str) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == package else found(name, *a))


@pytest.mark.parametrize(("package", "extra"), [("peft", "lora"), ("bitsandbytes", "qlora")])
def test_a_package_that_is_missing_is_named_with_what_to_type(base, monkeypatch, package, extra):
    without(monkeypatch, package)
    model = load_policy(base).model
    with pytest.raises(MissingExtra, match=rf"'{package}'(?s:.)*pip install 'rather\[{extra}\]'"):
        attach(model, LoRA(rank=2, four_bit=package == "bitsandbytes"), seed=0)
    assert not adapted(model)


def test_a_state_over_other_weights_is_refused(base):
    model = load_policy(base).model
    adapters = attach(model, LoRA(rank=2), seed=0)
    adapters.load_state_dict(adapters.state_dict())
    with pytest.raises(BadFile, match="frozen weights are not those"):
        adapters.load_state_dict({"frozen_sha256": "0" * 64})


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs the extra `qlora`")
def test_in_four_bits_it_trains_beside_rounded_weights_and_saves_what_they_stand_for(tmp_path):
    sizes = SIZES.model_copy(update={"hidden": 64, "mlp": 128})
    base = save_policy(tiny(sizes, TEXTS, torch.Generator().manual_seed(0)), tmp_path / "base")
    policy = load_policy(base)
    exact = logits(policy.model)
    attach(policy.model, LoRA(rank=4, four_bit=True), seed=0)
    begun = logits(policy.model)
    assert torch.equal(begun, logits(reference_of(policy.model)))
    assert 1e-4 < (begun - exact).abs().max() < 1
    policy.model(input_ids=IDS, labels=IDS).loss.backward()
    assert all((p.grad is not None) == p.requires_grad for p in policy.model.parameters())
    moved(policy.model)
    trained = logits(policy.model)
    folder = save_policy(policy, tmp_path / "checkpoint")
    torch.testing.assert_close(logits(load_policy(folder).model), trained, atol=1e-4, rtol=1e-4)
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
