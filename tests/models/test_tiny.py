"""A model from nothing: the same seed gives the same bytes, and every text survives the tokenizer."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from rather.errors import BadSetting
from rather.models.fingerprint import fingerprint, fingerprint_folder
from rather.models.load import load_policy, save_policy
from rather.models.tiny import TinyConfig, tiny, train_tokenizer

TEXTS = ["The cat sat on the mat. The dog sat on the log.", "Is it 1 or 22? It's both, isn't it?"] * 5
SMALL = TinyConfig(vocabulary=300, hidden=32, layers=2, heads=4)


def make(seed=0, config=SMALL, texts=TEXTS):
    return tiny(config, texts, torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def policy():
    return make()


def test_the_same_texts_and_seed_give_the_same_bytes(policy, tmp_path):
    for name, again in (("a", policy), ("b", make())):
        save_policy(again, tmp_path / name)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "b").iterdir())
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_another_seed_gives_other_weights_and_the_global_generator_is_left_alone(policy):
    before = torch.get_rng_state()
    assert fingerprint(make(seed=1).model) != fingerprint(policy.model)
    assert torch.equal(torch.get_rng_state(), before)


def test_it_is_an_ordinary_folder(policy, tmp_path):
    save_policy(policy, tmp_path / "tiny")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "tiny").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tiny")
    ids = tokenizer("The cat sat.", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert torch.equal(plain(ids).logits, policy.model(ids).logits)
    loaded = load_policy(tmp_path / "tiny")
    assert fingerprint(loaded.model) == fingerprint(policy.model) == fingerprint_folder(tmp_path / "tiny")
    assert loaded.stops == policy.stops == (1,)
    assert loaded.notes == ()  # it has everything


def test_special_tokens_are_the_first_three(policy):
    tokenizer = policy.tokenizer
    assert tokenizer.convert_ids_to_tokens([0, 1, 2]) == ["<|bos|>", "<|eos|>", "<|pad|>"]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (0, 1, 2)
    assert tokenizer("The cat")["input_ids"][0] == 0
    assert 0 not in tokenizer("The cat")["input_ids"][1:]


@given(st.text())
@settings(deadline=None, max_examples=200)
def test_every_text_comes_back(text):
    tokenizer = _small_tokenizer()
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids[1:]) == text


@pytest.mark.parametrize(
    "text", ["", " ", "\n\n \t", "  two  spaces ", "naïve 你好 🙂👩‍👩‍👧", "\x00\ufeff", "a\r\nb", "don 't , ."]
)
def test_odd_texts_come_back(policy, text):
    assert policy.tokenizer.decode(policy.tokenizer(text)["input_ids"][1:]) == text


def test_a_small_text_gives_a_small_vocabulary_and_says_so():
    policy = make(config=TinyConfig(vocabulary=5000, hidden=32, layers=1), texts=["a b c a b c"])
    size = len(policy.tokenizer)
    assert 259 <= size < 300
    assert policy.model.config.vocab_size == size
    assert policy.notes == (f"The text has words for {size} tokens, not 5000: the vocabulary is smaller.",)


def test_no_text_at_all_leaves_the_bytes():
    assert len(make(texts=[]).tokenizer) == 259


def test_the_sizes_are_those_asked_for():
    config = TinyConfig(vocabulary=300, hidden=48, layers=3, heads=4, kv_heads=2, mlp=96, context=64, tied=False)
    model = make(config=config).model
    sizes = model.config
    assert (sizes.hidden_size, sizes.num_hidden_layers, sizes.num_attention_heads) == (48, 3, 4)
    assert (sizes.num_key_value_heads, sizes.intermediate_size, sizes.max_position_embeddings) == (2, 96, 64)
    assert model.get_input_embeddings().weight is not model.get_output_embeddings().weight


def test_embeddings_are_tied_by_default(policy):
    assert policy.model.get_input_embeddings().weight is policy.model.get_output_embeddings().weight


def test_first_predictions_are_nearly_uniform(policy):
    ids = policy.tokenizer("The cat sat on the mat.", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        loss = policy.model(ids, labels=ids).loss.item()
    assert loss == pytest.approx(math.log(300), abs=0.1)


def test_what_adds_to_the_stream_begins_smaller(policy):
    layer = policy.model.model.layers[0]
    assert layer.mlp.up_proj.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert layer.mlp.down_proj.weight.std().item() == pytest.approx(0.01, rel=0.1)  # 0.02 / sqrt(2 x 2 layers)


def test_prompts_are_written_as_turns_unless_asked_otherwise():
    assert "Human" in make().tokenizer.chat_template
    assert make(config=SMALL.model_copy(update={"template": "none"})).tokenizer.chat_template is None


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("hidden=30", "not a multiple of 2 x heads=8"),
        ("kv_heads=3", "does not divide heads=4"),
        ("template=plane", "not one of none, plain"),
        ("vocabulary=100", "at least 259"),
        ("layers=0", "at least 1"),
    ],
)
def test_impossible_sizes_are_refused(setting, words):
    with pytest.raises(BadSetting, match=words):
        TinyConfig.load(overrides=[setting])


_known = {}


def _small_tokenizer():
    if not _known:
        _known["tokenizer"] = train_tokenizer(TEXTS, 300)
    return _known["tokenizer"]
