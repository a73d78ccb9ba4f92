"""Any causal LM in, the same out; what cannot be used is refused in two or three lines."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, BertConfig, BertForMaskedLM, dynamic_module_utils

from families import FAMILIES, tiny_family
from rather.errors import BadModel
from rather.models.fingerprint import fingerprint, fingerprint_folder
from rather.models.load import Policy, load_policy, save_policy
from rather.models.tiny import train_tokenizer

TOKENIZER = train_tokenizer(["a few words"], 259)  # bos 0, eos 1, pad 2, as in the families
IDS = torch.arange(3, 90).reshape(3, 29)


def write(model, folder, **how):
    model.save_pretrained(folder, **how)
    TOKENIZER.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return write(tiny_family("llama", vocab_size=259), tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture
def folder(llama, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(llama, tmp_path / "model")


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(folder, words, **how):
    with pytest.raises(BadModel, match=words) as refusal:
        load_policy(folder, **how)
    said = str(refusal.value)
    assert 2 <= len(said.splitlines()) <= 3
    assert "Traceback" not in said


@pytest.mark.parametrize("name", FAMILIES)
def test_a_policy_folder_gives_the_same_logits_in_plain_transformers_to_the_bit(name, tmp_path):
    # AutoTokenizer believes to know what a qwen2 model's tokenizer is and adds a token to it.
    original = tiny_family(name, vocab_size=260 if name == "qwen2" else 259)
    write(original, tmp_path / "in")
    policy = load_policy(tmp_path / "in")
    save_policy(policy, tmp_path / "out")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        expected = original(IDS).logits
        assert torch.equal(policy.model(IDS).logits, expected)
        assert torch.equal(plain(IDS).logits, expected)
    assert plain.dtype == torch.float32
    assert AutoTokenizer.from_pretrained(tmp_path / "out").pad_token_id == 2
    assert fingerprint(original) == fingerprint(policy.model) == fingerprint_folder(tmp_path / "out")


def test_a_loaded_policy_is_in_eval_mode_without_dropout_and_in_fp32(tmp_path):
    model = tiny_family("gpt2", vocab_size=259, resid_pdrop=0.2, attn_pdrop=0.1).to(torch.bfloat16)
    policy = load_policy(write(model, tmp_path / "model"))
    assert not policy.model.training
    assert {parameter.dtype for parameter in policy.model.parameters()} == {torch.float32}
    assert policy.model.config.resid_pdrop == policy.model.config.attn_pdrop == 0
    with torch.no_grad():
        assert torch.equal(policy.model.train()(IDS).logits, policy.model.eval()(IDS).logits)


def test_another_dtype_is_there_for_the_asking(llama):
    policy = load_policy(llama, dtype=torch.bfloat16)
    assert policy.model.dtype == torch.bfloat16
    assert fingerprint(policy.model) != fingerprint_folder(llama)


def test_weights_in_several_files_are_the_same_weights(tmp_path):
    model = tiny_family("llama", vocab_size=259)
    write(model, tmp_path / "parts", max_shard_size="20KB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 1
    assert fingerprint_folder(tmp_path / "parts") == fingerprint(model)
    assert fingerprint(load_policy(tmp_path / "parts").model) == fingerprint(model)


def test_a_fingerprint_notices_one_bit(llama):
    model = load_policy(llama).model
    before = fingerprint(model)
    with torch.no_grad():
        model.model.norm.weight[3] = torch.nextafter(model.model.norm.weight[3], torch.tensor(9.0))
    assert fingerprint(model) != before


def test_tied_embeddings_may_be_stored_once_or_twice(tmp_path):
    model = tiny_family("llama", vocab_size=259, tie_word_embeddings=True)
    write(model, tmp_path / "once")
    shutil.copytree(tmp_path / "once", tmp_path / "twice")
    path = tmp_path / "twice" / "model.safetensors"
    tensors = load_file(path)
    assert "lm_head.weight" not in tensors
    save_file(tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}, path, {"format": "pt"})
    once, twice = load_policy(tmp_path / "once"), load_policy(tmp_path / "twice")
    assert fingerprint(once.model) == fingerprint(twice.model) == fingerprint(model)


def test_a_folder_is_replaced_whole(llama, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "pytorch_model.bin").write_bytes(b"old")
    save_policy(load_policy(llama), tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert "pytorch_model.bin" not in names
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


# ---- what is refused


def test_a_folder_that_is_not_there(tmp_path):
    refused(tmp_path / "none", "There is no folder")


def test_a_file(llama):
    refused(llama / "config.json", "is a file")


@pytest.mark.skipif(os.environ.get("HF_HUB_OFFLINE") != "1", reason="would ask the hub")
def test_a_hub_id_without_a_network():
    refused("nobody/no-such-model", "the hub cannot be reached")


def test_a_name_that_is_neither_folder_nor_hub_id():
    refused("what is this?", "neither a folder nor a hub id")


def test_no_config(folder):
    (folder / "config.json").unlink()
    refused(folder, "has no config.json")


@pytest.mark.parametrize("content", ["{", "", "\x00", '{"model_type": "llama",}'])
def test_a_config_that_is_not_json(folder, content):
    (folder / "config.json").write_text(content)
    refused(folder, "config.json is not JSON")


def test_a_config_in_latin_1(folder):
    (folder / "config.json").write_bytes(b'{"model_type": "\xe9"}')
    refused(folder, "config.json is not JSON")


def test_a_config_that_is_a_list(folder):
    (folder / "config.json").write_text("[1]")
    refused(folder, "holds a list")


def test_a_config_with_a_value_of_the_wrong_type(folder):
    edit(folder / "config.json", hidden_size="large")
    refused(folder, "is no llama configuration")


def test_an_impossible_size(folder):
    edit(folder / "config.json", num_attention_heads=0)
    refused(folder, "is no llama configuration|cannot be loaded")


def test_more_layers_than_there_are_tensors(folder):
    edit(folder / "config.json", num_hidden_layers=10**9)  # building them would take for ever
    refused(folder, "config.json says 1,000,000,000 layers, and there are 21 tensors")


@pytest.mark.parametrize("named", [True, "GPT2LMHeadModel", [["x"]]])
def test_architectures_of_another_kind(folder, named):
    edit(folder / "config.json", architectures=named)
    refused(folder, "not a causal language model")


def test_a_link_to_a_device_is_no_file(folder):
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/dev/zero")
    refused(folder, "has no config.json")


@pytest.mark.parametrize("kind", [None, ["llama"], "lama", "no-such-thing"])
def test_an_unknown_model_type(folder, kind):
    edit(folder / "config.json", model_type=kind)
    refused(folder, "Did you mean 'llama'" if kind == "lama" else "which transformers does not know")


def test_code_in_the_folder(folder):
    edit(folder / "config.json", auto_map={"AutoModelForCausalLM": "modeling_mine.Mine"})
    (folder / "modeling_mine.py").write_text("raise SystemExit('this ran')")
    refused(folder, "brings its own code")


def test_code_in_the_folder_is_run_for_who_asks_by_name(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    (folder / "mine.py").write_text(
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class MyConfig(LlamaConfig):\n    model_type = 'mine'\n"
        "class MyModel(LlamaForCausalLM):\n    config_class = MyConfig\n"
    )
    code = {"AutoConfig": "mine.MyConfig", "AutoModelForCausalLM": "mine.MyModel"}
    edit(folder / "config.json", model_type="mine", architectures=["MyModel"], auto_map=code)
    refused(folder, r"brings its own code \(AutoConfig, AutoModelForCausalLM\), which was not run")
    assert type(load_policy(folder, trust_remote_code=True).model).__name__ == "MyModel"


def test_an_adapter(folder):
    (folder / "config.json").rename(folder / "adapter_config.json")
    refused(folder, "holds an adapter, not a model")


def test_quantised_weights(folder):
    edit(folder / "config.json", quantization_config={"quant_method": "bitsandbytes"})
    refused(folder, "holds quantised weights")


def test_a_model_that_does_not_write_from_left_to_right(tmp_path):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    refused(write(BertForMaskedLM(BertConfig(vocab_size=259, **sizes)), tmp_path / "bert"), "is a BertForMaskedLM")


def test_a_reward_model(folder):
    edit(folder / "config.json", architectures=["LlamaForSequenceClassification"])
    refused(folder, "is a LlamaForSequenceClassification, not a causal language model")


def test_a_pickle(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused(folder, r"only as a pickle \(pytorch_model.bin\)")


def test_no_weights(folder):
    (folder / "model.safetensors").unlink()
    refused(folder, "has no weights")


@pytest.mark.parametrize("kept", [0, 4, 100, 5000, -1])
def test_truncated_weights(folder, kept):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    refused(folder, "is damaged")


def test_weights_that_are_a_git_lfs_pointer(folder):
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    refused(folder, "is damaged")


def test_a_missing_part(tmp_path):
    write(tiny_family("llama", vocab_size=259), tmp_path / "parts", max_shard_size="20KB")
    sorted((tmp_path / "parts").glob("*.safetensors"))[1].unlink()
    refused(tmp_path / "parts", "lacks model-00002-of")


def test_an_index_without_a_map(folder):
    (folder / "model.safetensors.index.json").write_text("{}")
    refused(folder, "has no weight_map")


def test_a_part_without_what_the_index_promises(folder):
    index = {"weight_map": {"model.norm.weight": "model.safetensors", "model.more": "model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(folder, "lacks model.more, which the index promises")


def spoil(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_missing_weight_is_not_drawn_at_random(folder):
    spoil(folder, lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight"))
    refused(folder, "lacks model.layers.1.mlp.up_proj.weight")


def test_a_missing_head_is_not_drawn_at_random(folder):
    spoil(folder, lambda tensors: tensors.pop("lm_head.weight"))
    refused(folder, "lacks lm_head.weight")


def test_a_weight_too_many(folder):
    edit(folder / "config.json", num_hidden_layers=1)
    refused(folder, "and no model would use, model.layers.1")


def test_a_weight_of_another_shape(folder):
    edit(folder / "config.json", intermediate_size=64)
    refused(folder, r"is stored as \(\d+, \d+\), config.json says \(\d+, \d+\) and 5 more")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_a_number(folder, value):
    spoil(folder, lambda tensors: tensors["model.norm.weight"].__setitem__(3, value))
    refused(folder, "model.norm.weight holds values that are not numbers")


def test_weights_of_whole_numbers(folder):
    spoil(folder, lambda tensors: tensors.update({"lm_head.weight": torch.ones(259, 32, dtype=torch.int8)}))
    refused(folder, "holds whole numbers as weights: lm_head.weight")


def test_no_tokenizer(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    refused(folder, "tokenizer")


@pytest.mark.parametrize("content", ["{", "{}", "[]", '{"model": {"type": "BPE"}}'])
def test_a_damaged_tokenizer(folder, content):
    (folder / "tokenizer.json").write_text(content)
    refused(folder, "the tokenizer cannot be read|has no tokenizer files")


def test_a_damaged_tokenizer_config(folder):
    (folder / "tokenizer_config.json").write_text("{")
    refused(folder, "the tokenizer cannot be read")


def test_a_damaged_generation_config(folder):
    (folder / "generation_config.json").write_text("{")
    refused(folder, "generation_config.json")


@pytest.mark.parametrize("stops", ["</s>", 1.5, [1, None]])
def test_stops_that_are_no_ids(folder, stops):
    edit(folder / "generation_config.json", eos_token_id=stops)
    refused(folder, "generation_config.json")


def test_a_longest_text_that_is_no_number(folder):
    edit(folder / "tokenizer_config.json", model_max_length="long")
    refused(folder, "model_max_length 'long'")


def test_a_tokenizer_that_the_rust_underneath_panics_at(folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["merges"] = [["a", "b"]]  # to a token that the vocabulary lacks
    edit(folder / "tokenizer.json", **tokenizer)
    refused(folder, "the tokenizer cannot be read")


def test_a_tokenizer_of_another_model(folder):
    train_tokenizer(["a few more words, and more of them, again and again"] * 2, 280).save_pretrained(folder)
    refused(folder, "The tokenizer has ids up to 2[67]., and the model has embeddings for 259 tokens")


def test_a_tokenizer_that_transformers_would_read_as_another_is_not_saved(llama, tmp_path):
    policy = Policy(tiny_family("qwen2", vocab_size=259), load_policy(llama).tokenizer, (1,))
    with pytest.raises(BadModel, match="was not written: transformers reads its tokenizer as a Qwen2Tokenizer"):
        save_policy(policy, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_generation_config_that_could_not_be_saved_again_is_mended(folder, tmp_path):
    edit(folder / "generation_config.json", temperature=0.6, do_sample=False)
    policy = load_policy(folder)
    assert "do_sample is now true" in " ".join(policy.notes)
    save_policy(policy, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text())["temperature"] == 0.6


@pytest.mark.shared
def test_a_pretrained_model_comes_in_and_goes_out(shared_data, tmp_path):
    folder = shared_data / "model_stories260k"
    policy = load_policy(folder)
    tokenizer = policy.tokenizer
    assert policy.stops == (tokenizer.eos_token_id,) == (2,)
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == ("<|pad|>", 512)
    assert policy.notes == (
        "The tokenizer's pad '</s>' is also EOS: padding is '<|pad|>' (512), which is new.",
        "There is no chat template: prompts are written as they are.",
        "The vocabulary grows from 512 to 513 tokens: the pad needs a row.",
    )
    save_policy(policy, tmp_path / "out")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    ids = tokenizer("Once upon a time, there was a little girl named Lily.", return_tensors="pt")["input_ids"]
    original = AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        logits = plain(ids).logits
        assert torch.allclose(logits[..., :512], original(ids).logits, atol=1e-5)
        assert torch.equal(logits, policy.model(ids).logits)
    assert logits.softmax(-1)[..., 512].max() < 1 / 513
    assert AutoTokenizer.from_pretrained(tmp_path / "out").pad_token_id == 512
    assert load_policy(tmp_path / "out").notes == policy.notes[1:2]  # nothing is left to be decided
