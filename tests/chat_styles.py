"""Chat templates in the styles that public models use, written for these tests, and tokenizers that know their markers.

`{% generation %}` marks what `apply_chat_template(..., return_assistant_tokens_mask=True)` takes for the assistant's:
an opinion on the mask that does not come from our code.
"""

from __future__ import annotations

import json

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "Once upon a time there was a little girl who liked to ask questions. <b>Why</b> is the sky blue?",
    "The answer is 42. It depends on whom you ask, said the old man; some say it is 7.\n\nHe smiled.\n",
    "user assistant system Instruction: Response: ### [INST] <think> I should think about this first. </think>",
    "def f(x):\n    return x + 1\n\n\tand then   several   spaces, äöü, 你好, emoji 🙂.",
] * 4
# fmt: off
MARKERS = [
    "<pad>", "<unk>", "<s>", "</s>", "<bos>", "<eos>", "<|endoftext|>", "<|im_start|>", "<|im_end|>",
    "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<start_of_turn>", "<end_of_turn>",
    "<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "[INST]", "[/INST]",
]
# fmt: on


def byte_level(bos: str | None = None, eos: str = "</s>") -> PreTrainedTokenizerFast:
    """Llama 3, Qwen: bytes, words split by a regex. With `bos` the tokenizer puts it in front by itself."""
    tokenizer = Tokenizer(models.BPE())
    words = r" ?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    split = pre_tokenizers.Split(Regex(words), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=MARKERS, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return _finished(tokenizer, bos, eos)


def sentencepiece(bos: str | None = "<s>", eos: str = "</s>") -> PreTrainedTokenizerFast:
    """Llama 2: no splitting into words, spaces are ▁, one is put before every text, unknown characters are bytes."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    letters = sorted({*"".join(CORPUS).replace(" ", "▁"), "▁"} - {"\n", "\t", "🙂", "好"})
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=MARKERS + bytes_, initial_alphabet=letters,
                                  limit_alphabet=len(letters), show_progress=False)  # fmt: skip
    trained.train_from_iterator(CORPUS, trainer)

    # Byte fallback cannot be trained: the trained vocabulary is taken over into a model that has it.
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"] if not any("\n" in part for part in merge)]
    fallback = models.BPE(model["vocab"], merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    tokenizer = Tokenizer(fallback)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.add_special_tokens(MARKERS)
    return _finished(tokenizer, bos, eos)


def _finished(tokenizer: Tokenizer, bos: str | None, eos: str) -> PreTrainedTokenizerFast:
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(f"{bos} $A", None, [(bos, tokenizer.token_to_id(bos))])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=bos, eos_token=eos, pad_token="<pad>")


CHATML = """\
{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}\
{% if m.role == 'assistant' %}{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}\
{% else %}{{ m.content + '<|im_end|>\\n' }}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

CHATML_WITH_DEFAULT_SYSTEM = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}{% endif %}"
    + CHATML
)

LLAMA_3 = """\
{{ '<|begin_of_text|>' }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' }}\
{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim + '<|eot_id|>' }}{% endgeneration %}\
{% else %}{{ m.content | trim + '<|eot_id|>' }}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""

MISTRAL = """\
{{ bos_token }}{% for m in messages %}\
{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}\
{% elif m.role == 'assistant' %}{% generation %}{{ ' ' + m.content + eos_token }}{% endgeneration %}\
{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"""

LLAMA_2 = """\
{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}{% set system = '<<SYS>>\\n' + messages[0].content \
+ '\\n<</SYS>>\\n\\n' %}{% else %}{% set rest = messages %}{% set system = '' %}{% endif %}\
{% for m in rest %}{% if m.role == 'user' %}\
{{ bos_token }}{{ '[INST] ' + (system if loop.first else '') + m.content | trim + ' [/INST]' }}\
{% else %}{% generation %}{{ ' ' + m.content | trim + ' ' + eos_token }}{% endgeneration %}{% endif %}{% endfor %}"""

GEMMA = """\
{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}\
{% for m in messages %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' }}\
{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim + '<end_of_turn>' }}{% endgeneration %}{{ '\\n' }}\
{% else %}{{ m.content | trim + '<end_of_turn>\\n' }}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""

ZEPHYR = """\
{% for m in messages %}{% if m.role == 'assistant' %}\
{{ '<|assistant|>\\n' }}{% generation %}{{ m.content + eos_token }}{% endgeneration %}{{ '\\n' }}\
{% else %}{{ '<|' + m.role + '|>\\n' + m.content + eos_token + '\\n' }}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"""

ALPACA = """\
{{ 'Below is an instruction. Write a response.\\n\\n' }}{% for m in messages %}{% if m.role == 'assistant' %}\
{{ '### Response:\\n' }}{% generation %}{{ m.content }}{% endgeneration %}{{ '\\n\\n' }}\
{% else %}{{ '### Instruction:\\n' + m.content + '\\n\\n' }}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}"""

PHI_3 = """\
{% for m in messages %}{{ '<|' + m.role + '|>\\n' }}\
{% if m.role == 'assistant' %}{% generation %}{{ m.content + '<|end|>' }}{% endgeneration %}{{ '\\n' }}\
{% else %}{{ m.content + '<|end|>\\n' }}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"""

# The marker of the assistant's turn is the last thing before the answer, as in Vicuna and Tulu without the line break.
MARKER_THEN_ANSWER = """\
{{ bos_token }}{% for m in messages %}{{ '<|' + m.role + '|>' }}\
{% if m.role == 'assistant' %}{% generation %}{{ m.content + eos_token }}{% endgeneration %}\
{% else %}{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"""

# Answers before the last question lose their thinking, as in Qwen 3.
STRIPS_EARLIER_THINKING = """\
{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' %}\
{% generation %}{{ (m.content if loop.last else m.content.split('</think>')[-1].lstrip()) + '<|im_end|>' }}\
{% endgeneration %}{{ '\\n' }}{% else %}{{ m.content + '<|im_end|>\\n' }}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

# An empty thought opens every answer, as in Qwen 3 for answers without thinking: the prompt stays a prefix.
OPENS_WITH_EMPTY_THOUGHT = CHATML.replace("{% generation %}{{ ", "{% generation %}{{ '<think>\\n\\n</think>\\n\\n' + ")

# The prompt for generation opens a thought that the finished turn does not have, as in DeepSeek R1.
NOT_MONOTONE = CHATML.replace(
    "'<|im_start|>assistant\\n' }}{% endif", "'<|im_start|>assistant\\n<think>\\n' }}{% endif"
)

MONOTONE = {
    "chatml": CHATML,
    "chatml, default system": CHATML_WITH_DEFAULT_SYSTEM,
    "llama 3": LLAMA_3,
    "mistral": MISTRAL,
    "llama 2": LLAMA_2,
    "gemma": GEMMA,
    "zephyr": ZEPHYR,
    "alpaca": ALPACA,
    "phi 3": PHI_3,
    "marker then answer": MARKER_THEN_ANSWER,
    "strips earlier thinking": STRIPS_EARLIER_THINKING,
    "opens with empty thought": OPENS_WITH_EMPTY_THOUGHT,
}
NO_SYSTEM = {"mistral", "gemma"}
