"""Pad is nobody else, an answer has an end, and every decision is a sentence."""

from __future__ import annotations

import json

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GenerationConfig, PreTrainedTokenizerFast

from families import FAMILIES, tiny_family
from rather.batches.encoding import Encoder
from rather.errors import BadModel
from rather.models.load import load_policy, ready_policy, save_policy
from rather.models.tiny import train_tokenizer
from rather.models.tokenizers import load_tokenizer, prepare
from rather.records import Demonstration, Message

WORDS = ["<s>", "</s>", "<unk>", "a", "b", "c", "<|im_end|>"]


def tokenizer(words=WORDS, **special):
    """One word, one token."""
    vocabulary = {word: i for i, word in enumerate(words)}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unk>", **special)


def family(name, rows):
    return tiny_family(name, vocab_size=rows, pad_token_id=None)


# ---- pad


def test_a_pad_of_its_own_is_left_alone():
    ready = prepare(tokenizer([*WORDS, "<pad>"], eos_token="</s>", pad_token="<pad>"))
    assert ready.tokenizer.pad_token == "<pad>"
    assert not ready.new_pad
    assert not any("pad" in note for note in ready.notes)


@pytest.mark.parametrize("taken", [None, "</s>", "<unk>", "<s>"])
def test_a_pad_that_is_missing_or_means_something_else_is_replaced_by_a_new_token(taken):
    ready = prepare(tokenizer(bos_token="<s>", eos_token="</s>", **({"pad_token": taken} if taken else {})))
    assert (ready.tokenizer.pad_token, ready.tokenizer.pad_token_id) == ("<|pad|>", len(WORDS))
    assert ready.tokenizer.eos_token_id == 1
    assert ready.new_pad
    assert "padding is '<|pad|>' (7), which is new." in " ".join(ready.notes)


def test_a_pad_that_is_a_stop_token_is_replaced():
    generation = GenerationConfig(eos_token_id=[1, 6])
    ready = prepare(tokenizer(eos_token="</s>", pad_token="<|im_end|>"), generation)
    assert ready.tokenizer.pad_token == "<|pad|>"


def test_a_token_that_the_vocabulary_keeps_for_padding_is_used():
    ready = prepare(tokenizer([*WORDS, "<|finetune_right_pad_id|>"], eos_token="</s>", pad_token="</s>"))
    assert ready.tokenizer.pad_token == "<|finetune_right_pad_id|>"
    assert len(ready.tokenizer) == len(WORDS) + 1


def test_an_unused_row_takes_the_pad_and_the_model_stays_as_it_is():
    model = family("llama", len(WORDS) + 5)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    policy = ready_policy(model, prepare(tokenizer(eos_token="</s>")), "m")
    assert policy.model.config.vocab_size == len(WORDS) + 5
    assert all(torch.equal(tensor, before[name]) for name, tensor in policy.model.state_dict().items())
    assert "The pad uses row 7 of the embeddings; their number stays 12." in policy.notes


@pytest.mark.parametrize("name", FAMILIES)
def test_a_new_row_leaves_the_logits_of_the_vocabulary_alone_and_is_hardly_ever_likely(name):
    model = family(name, len(WORDS))
    ids = torch.tensor([[3, 4, 5, 3, 6, 1, 2, 0, 4]])
    with torch.no_grad():
        before = model(ids).logits
        policy = ready_policy(model, prepare(tokenizer(eos_token="</s>")), "m")
        after = policy.model(ids).logits
    assert after.shape[-1] == len(WORDS) + 1
    assert torch.allclose(after[..., :-1], before, atol=1e-5)
    # Gemma 2 caps its logits, and a mean of capped logits is not the cap of their mean; it stays near.
    assert after.softmax(-1)[..., -1].max() <= (1.1 if name == "gemma2" else 1.0) / (len(WORDS) + 1) + 1e-6
    tied = policy.model.get_input_embeddings().weight is policy.model.get_output_embeddings().weight
    assert tied == model.config.tie_word_embeddings


def test_a_new_row_moves_no_global_random_state():
    model = family("llama", len(WORDS))
    before = torch.get_rng_state()
    ready_policy(model, prepare(tokenizer(eos_token="</s>")), "m")
    assert torch.equal(torch.get_rng_state(), before)


def test_generate_never_samples_the_new_pad(tmp_path):
    model = family("llama", len(WORDS))
    policy = ready_policy(model, prepare(tokenizer(bos_token="<s>", eos_token="</s>")), "m")
    with torch.no_grad():
        policy.model.lm_head.weight[7] = policy.model.lm_head.weight[:7].sum(0) * 100  # now it is likely
    save_policy(policy, tmp_path / "out")
    loaded = load_policy(tmp_path / "out").model
    torch.manual_seed(0)
    out = loaded.generate(torch.tensor([[0, 3]] * 20), do_sample=True, max_new_tokens=10, eos_token_id=99)
    assert (loaded(out).logits[:, 1:].argmax(-1) == 7).any()
    assert not (out == 7).any()


def test_pad_and_stops_are_in_the_configs():
    policy = ready_policy(
        family("llama", len(WORDS)), prepare(tokenizer(eos_token="</s>"), GenerationConfig(eos_token_id=[6, 1])), "m"
    )
    for config in (policy.model.config, policy.model.generation_config):
        assert config.pad_token_id == 7
        assert config.eos_token_id == [1, 6]


# ---- EOS


def test_no_eos_is_refused_and_candidates_are_named():
    with pytest.raises(BadModel, match=r"(?s)has no EOS token.*: '</s>', '<\|im_end\|>'\.\neos_token=TOKEN"):
        prepare(tokenizer())


def test_an_eos_that_is_named_is_used():
    ready = prepare(tokenizer(), eos_token="<|im_end|>")
    assert ready.tokenizer.eos_token_id == 6
    assert ready.stops == (6,)
    assert "Answers end with '<|im_end|>', as asked for." in ready.notes


def test_an_eos_may_be_replaced_by_name():
    ready = prepare(tokenizer(eos_token="</s>"), eos_token="<|im_end|>")
    assert ready.tokenizer.eos_token_id == 6
    assert "Answers end with '<|im_end|>', as asked for, not with '</s>'." in ready.notes


def test_an_eos_that_is_no_token_is_refused_with_the_nearest():
    with pytest.raises(BadModel, match=r"no token '<\|im_ends\|>'.* Did you mean '<\|im_end\|>'"):
        prepare(tokenizer(), eos_token="<|im_ends|>")


def test_several_stops_are_kept_eos_first():
    ready = prepare(tokenizer(eos_token="</s>"), GenerationConfig(eos_token_id=[6, 1]))
    assert ready.stops == (1, 6)
    assert "Sampling also stops at '<|im_end|>', as generation_config.json says." in ready.notes


def test_a_stop_outside_the_vocabulary_is_left_out_in_words():
    ready = prepare(tokenizer(eos_token="</s>"), GenerationConfig(eos_token_id=[1, 128001]))
    assert ready.stops == (1,)
    assert "stops at [128001], which the tokenizer does not have" in " ".join(ready.notes)


def test_stops_are_read_from_config_json_where_there_is_no_generation_config(tmp_path):
    tokenizer(eos_token="</s>").save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "eos_token_id": [1, 6]}))
    assert load_tokenizer(tmp_path).stops == (1, 6)


# ---- templates


def test_the_plain_template_writes_turns_that_only_grow():
    ready = prepare(tokenizer(eos_token="</s>"), template="plain")
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi?"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Bye."},
    ]
    asked = ready.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert asked == ("System:\nBe brief.\n\nHuman:\nHi?\n\nAssistant:\nHello.</s>\n\nHuman:\nBye.\n\nAssistant:\n")
    answered = ready.tokenizer.apply_chat_template(
        [*messages, {"role": "assistant", "content": "Bye."}], tokenize=False
    )
    assert answered == asked + "Bye.</s>"


def test_the_plain_template_trains_the_answer_and_one_eos():
    ready = prepare(train_tokenizer(["Human: Assistant: System: words and words"], 280), template="plain")
    encoder = Encoder(ready.tokenizer, ready.tokenizer.chat_template)
    record = Demonstration(id="1", prompt=(Message(role="user", content="Hi?"),), response="Hello.")
    (tree,), _ = encoder.encode_all([record])
    assert ready.tokenizer.decode(tree.prompt) == "<|bos|>Human:\nHi?\n\nAssistant:\n"
    assert ready.tokenizer.decode(tree.responses[0]) == "Hello.<|eos|>"


def test_the_page_template_writes_nothing_but_what_was_said():
    ready = prepare(train_tokenizer(["mara is such a kind woman."], 280), template="page")
    encoder = Encoder(ready.tokenizer, ready.tokenizer.chat_template)
    record = Demonstration(id="1", prompt="mara is such a", response=" kind woman.")
    (tree,), _ = encoder.encode_all([record])
    assert ready.tokenizer.decode(tree.prompt) == "<|bos|>mara is such a"
    assert ready.tokenizer.decode(tree.responses[0]) == " kind woman.<|eos|>"


def test_no_template_is_said():
    ready = prepare(tokenizer(eos_token="</s>"))
    assert ready.tokenizer.chat_template is None
    assert ready.notes[-1] == "There is no chat template: prompts are written as they are."


def test_the_models_own_template_is_kept_dropped_or_replaced():
    own = tokenizer(eos_token="</s>", chat_template="{{ messages }}")
    assert prepare(own).tokenizer.chat_template == "{{ messages }}"
    replaced = prepare(own, template="plain")
    assert "Human" in str(replaced.tokenizer.chat_template)
    assert "The model's own chat template is replaced by 'plain'." in replaced.notes
    assert prepare(own, template="none").tokenizer.chat_template is None


def test_an_unknown_template_is_refused_with_the_nearest():
    with pytest.raises(BadModel, match=r"no template 'plane'\. Did you mean 'plain'"):
        prepare(tokenizer(eos_token="</s>"), template="plane")


# ---- what transformers makes of a folder


def test_a_tokenizer_that_is_read_as_another_class_is_said(tmp_path):
    tokenizer(eos_token="</s>").save_pretrained(tmp_path)
    assert "transformers reads" not in " ".join(load_tokenizer(tmp_path).notes)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    assert "transformers reads this tokenizer as a Qwen2Tokenizer" in " ".join(load_tokenizer(tmp_path).notes)


@pytest.mark.shared
def test_words_of_a_pretrained_tokenizer_are_what_its_file_says(shared_data):
    ready = load_tokenizer(shared_data / "model_stories260k")
    assert not any("transformers reads" in note for note in ready.notes)
    assert ready.tokenizer("Once upon a time").input_ids[0] == ready.tokenizer.bos_token_id
