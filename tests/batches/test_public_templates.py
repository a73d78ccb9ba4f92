"""The templates of public models, as TRL ships them with its marks for the assistant's tokens (ppo-checklist 4.1)."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from chat_styles import byte_level
from rather.batches.encoding import Encoder
from rather.errors import BadModel
from rather.records.types import Demonstration

TRL = find_spec("trl")
FOLDER = Path(TRL.origin).parent / "chat_templates" if TRL and TRL.origin else Path("nowhere")
MARKER = re.compile(r"<\|[^|<>\s']+\|>|<｜[^｜]+｜>|</?s>|<(?:start|end)_of_turn>|\[/?INST\]|<\|?turn\|?>")
REFUSED = {
    "changes the prompt": ("deepseek_r1", "deepseekv3", "nemotron"),  # generation opens a thought that training has not
    "leaves out what was said": ("idefics3", "smolvlm"),  # content is a list of parts, images among them
    "refuses a conversation": ("llava",),
}
# The generation prompt ends in a line break and the turn goes on with another: one token in joint text, two here.
STRADDLE = ("qwen3_5_think", "qwen3_6", "qwen3_8")


@pytest.mark.peers
@pytest.mark.parametrize("path", sorted(FOLDER.glob("*_training.jinja")), ids=lambda path: path.stem)
def test_what_we_train_of_a_public_template_is_what_trl_marks_after_the_generation_prompt(path):
    source = path.read_text()
    tokenizer = byte_level()
    tokenizer.add_special_tokens({"additional_special_tokens": sorted(set(MARKER.findall(source)))})
    tokenizer.bos_token = "<bos>"
    record = Demonstration(id="d", prompt="Why is it so?", response="It depends.")
    reasons = [why for why, names in REFUSED.items() if path.stem.startswith(names)]
    if reasons:
        with pytest.raises(BadModel, match=reasons[0]):
            Encoder(tokenizer, source)
        return

    encoder = Encoder(tokenizer, source)
    [tree], _ = encoder.encode_all([record])
    turns = [{"role": "user", "content": record.prompt}, {"role": "assistant", "content": record.response}]
    joint = tokenizer.apply_chat_template(turns, chat_template=source, return_assistant_tokens_mask=True)
    ids, mask = joint["input_ids"], joint["assistant_masks"]
    if path.stem.startswith(STRADDLE):
        assert tokenizer.decode(ids).startswith(tokenizer.decode([*tree.prompt, *tree.responses[0]]))
        return
    prompt, response = tree.prompt.tolist(), tree.responses[0].tolist()
    end = len(prompt) + len(response)
    assert ids[:end] == prompt + response
    assert mask[len(prompt) : end] == [1] * len(response)
    # What TRL marks beyond that is the header, which the generation prompt has written, and what stands after EOS.
    asked = tokenizer.apply_chat_template(turns[:1], chat_template=source)["input_ids"]
    header = next((i for i, (a, b) in enumerate(zip(asked, ids, strict=False)) if a != b), len(asked))
    assert 1 not in mask[:header]
    assert "It depends." not in tokenizer.decode(ids[end:])
