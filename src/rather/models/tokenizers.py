"""A tokenizer with an EOS that ends answers and a pad that is nobody else. What had to be decided is said in notes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer, GenerationConfig, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from rather.errors import BadModel, nearest

PAD = "<|pad|>"
# Names under which a vocabulary keeps a token for padding without having declared it.
RESERVED = (PAD, "<pad>", "[PAD]", "<|padding|>", "<|finetune_right_pad_id|>", "<|pad_token|>")

# Turns without any token of their own, for base models: whatever vocabulary there is has these words. A line break ends
# each label, so that an answer begins with a word and not with a space that belongs to it.
PLAIN = """\
{%- for message in messages -%}
{{- '\\n\\n' if not loop.first -}}
{{- {'user': 'Human', 'assistant': 'Assistant', 'system': 'System'}.get(message['role'], message['role']) + ':\\n' -}}
{{- message['content'] -}}
{{- eos_token if message['role'] == 'assistant' -}}
{%- endfor -%}
{{- '\\n\\nAssistant:\\n' if add_generation_prompt -}}
"""
# Nothing but what was said, the answer right behind the prompt: for base models whose prompts end as their pages do.
PAGE = """\
{%- for message in messages -%}
{{- message['content'] -}}
{{- eos_token if message['role'] == 'assistant' -}}
{%- endfor -%}
"""
NAMED_TEMPLATES = {"plain": PLAIN, "page": PAGE}
# Two tokenizers that encode this alike encode alike: words, numbers, spaces, line breaks, other scripts, an emoji.
SAMPLE = "Is 12.5 % of 80 ten?\n\n  Don't say ça va, 你好 or Привет 🙂.\tx_y = f(1234)"


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer that is ready to be used, and what it took.

    stops: ids at which a sampler stops: EOS, and whatever else the model's generation config ends a text with
    new_pad: True if the pad is ours, so that no model was ever trained to see it or to avoid it
    notes: one sentence for each decision
    """

    tokenizer: PreTrainedTokenizerBase
    stops: tuple[int, ...]
    new_pad: bool
    notes: tuple[str, ...]


def load_tokenizer(
    folder: Path, *, eos_token: str | None = None, template: str | None = None, trust_remote_code: bool = False
) -> Vocabulary:
    """Read a tokenizer and make it ready; nothing is written.

    eos_token: a token of the vocabulary to end answers with, where the folder names none or another
    template: 'plain' (Human and Assistant), 'none' (prompts as they are); None keeps the folder's own, if it has one
    """
    try:
        with quiet():
            tokenizer: Any = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=trust_remote_code
            )
            generation = _generation_config(folder)
            path = folder / "tokenizer.json"
            file = Tokenizer.from_file(str(path)) if path.is_file() else None
    except BaseException as error:  # a tokenizer's files are foreign: whatever reading them raises is said about them
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # of the Rust underneath
            raise
        raise BadModel(
            f"{folder}: the tokenizer cannot be read: {first_line(error)}",
            "Expected tokenizer.json and tokenizer_config.json (or the vocabulary files of an older tokenizer).",
            "Copy them from where the model came from",
        ) from error
    if not isinstance(tokenizer, PreTrainedTokenizerBase) or len(tokenizer) == 0:
        raise BadModel(
            f"{folder} has no tokenizer files.",
            "Expected tokenizer.json and tokenizer_config.json (or the vocabulary files of an older tokenizer).",
            "Copy them from where the model came from",
        )
    longest = tokenizer.model_max_length
    if isinstance(longest, bool) or not isinstance(longest, int | float):
        raise BadModel(
            f"{folder}: tokenizer_config.json has model_max_length {longest!r:.80}.",
            "Expected a number of tokens.",
            "Correct it, or take the line out",
        )
    try:
        vocabulary = prepare(tokenizer, generation, eos_token=eos_token, template=template)
    except BadModel as error:
        raise BadModel(f"{folder}: {error.found}", error.expected, error.do) from None
    if file is None or file.encode(SAMPLE, add_special_tokens=False).ids == _ids(tokenizer, SAMPLE):
        return vocabulary
    kind = type(tokenizer).__name__
    other = f"transformers reads this tokenizer as a {kind}, which splits text otherwise than tokenizer.json says."
    return replace(vocabulary, notes=(other, *vocabulary.notes))


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path, name: str | Path) -> None:
    """Write it beside a config.json that is there already, and read it back as anybody will.

    Where AutoTokenizer believes to know better (qwen2, phi3 and others) it takes the class of the tokenizer from the
    type of the model, not from what was saved, and another class splits text another way.

    name: what to call the folder in messages
    """
    tokenizer.save_pretrained(folder)
    read: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    kind = type(read).__name__
    check_same(facts(read), facts(tokenizer), f"{name} was not written: transformers reads its tokenizer as a {kind}")


def facts(tokenizer: Any) -> dict[str, Any]:
    """What must not change between training a model and using it."""
    template = tokenizer.chat_template
    return {
        "tokens": len(tokenizer),
        "bos": tokenizer.bos_token,
        "eos": tokenizer.eos_token,
        "pad": tokenizer.pad_token,
        "sample": tokenizer(SAMPLE)["input_ids"],
        "template": template and hashlib.sha256(str(template).encode()).hexdigest(),
    }


def check_same(found: dict[str, Any], expected: Any, what: str) -> None:
    """Stop if two sets of facts differ."""
    before = expected if isinstance(expected, dict) else {}
    if changed := [name for name, value in found.items() if before.get(name) != value]:
        name = changed[0]
        raise BadModel(
            f"{what}: {', '.join(changed)} changed ({str(before.get(name))[:60]} became {str(found[name])[:60]}).",
            "Expected the same tokens and the same template: one BOS more or less moves every score.",
            "Use the tokenizer that belongs to the model",
        )


def prepare(
    tokenizer: PreTrainedTokenizerBase,
    generation: GenerationConfig | None = None,
    *,
    eos_token: str | None = None,
    template: str | None = None,
) -> Vocabulary:
    """Settle EOS, stops, pad and template of a tokenizer, in place."""
    notes: list[str] = []
    _settle_eos(tokenizer, eos_token, notes)
    stops = _stops(tokenizer, generation, notes)
    new_pad = _settle_pad(tokenizer, stops, notes)
    _settle_template(tokenizer, template, notes)
    return Vocabulary(tokenizer, stops, new_pad, tuple(notes))


def fit(model: PreTrainedModel, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Give the model the vocabulary's special ids, and a row for its pad if it has none. Returns notes.

    A new row is the mean of the others. What stands in it as an input never matters, because pads are masked; as an
    output it matters a little: the mean of the logits is what the pad gets, and by Jensen's inequality its
    probability is then at most 1/(V+1), whatever the hidden state. (A row of zeros is not safe: all logits of GPT-2
    are far below zero, so a zero would be the most likely token.) `generate` is told never to sample it.
    """
    tokenizer = vocabulary.tokenizer
    table: Any = model.get_input_embeddings()
    rows = len(table.weight)
    highest = max(tokenizer.get_vocab().values())
    if highest >= rows + vocabulary.new_pad:
        raise BadModel(
            f"The tokenizer has ids up to {highest}, and the model has embeddings for {rows} tokens.",
            "Expected the tokenizer that the model was trained with.",
            "Copy tokenizer.json from where the model came from",
        )
    notes = []
    if highest >= rows:
        _add_row(model)
        notes.append(f"The vocabulary grows from {rows} to {rows + 1} tokens: the pad needs a row.")
    elif vocabulary.new_pad:
        notes.append(f"The pad uses row {tokenizer.pad_token_id} of the embeddings; their number stays {rows}.")
    for config in (model.config, model.config.get_text_config(), model.generation_config):
        if config is not None:
            config.pad_token_id = tokenizer.pad_token_id
            config.eos_token_id = list(vocabulary.stops) if len(vocabulary.stops) > 1 else vocabulary.stops[0]
    generation = model.generation_config
    if generation is not None and vocabulary.new_pad:
        suppressed = set(generation.suppress_tokens or ()) | {tokenizer.pad_token_id}
        generation.suppress_tokens = sorted(suppressed)
    return tuple(notes)


def _add_row(model: Any) -> None:
    with torch.random.fork_rng(devices=[]), torch.no_grad():  # what resizing draws for the new row is overwritten
        model.resize_token_embeddings(model.get_input_embeddings().weight.shape[0] + 1, mean_resizing=False)
        inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
        tables = [inputs.weight, getattr(outputs, "weight", None), getattr(outputs, "bias", None)]
        for table in {id(table): table for table in tables if table is not None}.values():  # tied ones once
            table[-1] = table[:-1].mean(0)


def _settle_eos(tokenizer: PreTrainedTokenizerBase, wanted: str | None, notes: list[str]) -> None:
    known = tokenizer.get_vocab()
    if wanted is not None:
        if wanted not in known:
            raise BadModel(
                f"The tokenizer has no token {wanted!r} to end answers with.{nearest(wanted, known)}",
                f"Expected one of its tokens: {_markers(tokenizer)}.",
            )
        if tokenizer.eos_token != wanted:
            before = f", not with {tokenizer.eos_token!r}" if tokenizer.eos_token else ""
            notes.append(f"Answers end with {wanted!r}, as asked for{before}.")
            tokenizer.eos_token = wanted
    elif tokenizer.eos_token is None:
        raise BadModel(
            "The tokenizer has no EOS token, so nothing can mark the end of an answer.",
            f"Name one of its tokens that does: {_markers(tokenizer)}.",
            "eos_token=TOKEN   (rather preview: --eos-token TOKEN)",
        )
    elif tokenizer.eos_token not in known:
        raise BadModel(
            f"The tokenizer's EOS {tokenizer.eos_token!r} is not in its vocabulary.",
            f"Name one that is: {_markers(tokenizer)}.",
            "eos_token=TOKEN   (rather preview: --eos-token TOKEN)",
        )


def _markers(tokenizer: Any) -> str:
    """Tokens that look as if they ended something, for a message."""
    taken = (tokenizer.unk_token, tokenizer.bos_token, tokenizer.pad_token)
    marks = [t for t in tokenizer.get_vocab() if t not in taken and len(t) > 2 and t[0] + t[-1] in ("<>", "[]")]
    ends = [mark for mark in marks if any(word in mark.lower() for word in ("end", "eos", "eot", "/s"))]
    return ", ".join(map(repr, sorted(ends or marks)[:5])) or "one that never stands inside of an answer"


def _stops(tokenizer: Any, generation: GenerationConfig | None, notes: list[str]) -> tuple[int, ...]:
    named = None if generation is None else generation.eos_token_id
    others = named if isinstance(named, list) else [] if named is None else [named]
    if not all(isinstance(i, int) for i in others):
        raise BadModel(
            f"generation_config.json stops at {named!r:.80}.", "Expected eos_token_id to be numbers of tokens."
        )
    outside = [i for i in others if not 0 <= i < len(tokenizer)]
    if outside:
        notes.append(f"generation_config.json stops at {outside}, which the tokenizer does not have: left out.")
    stops = list(dict.fromkeys([tokenizer.eos_token_id, *(i for i in others if i not in outside)]))
    if len(stops) > 1:
        tokens = ", ".join(map(repr, tokenizer.convert_ids_to_tokens(stops[1:])))
        notes.append(f"Sampling also stops at {tokens}, as generation_config.json says.")
    return tuple(stops)


def _settle_pad(tokenizer: Any, stops: tuple[int, ...], notes: list[str]) -> bool:
    """True if the pad is a new one. A pad that means something else as well is not a pad."""
    taken = dict.fromkeys(stops, "a stop token")
    taken |= {tokenizer.unk_token_id: "the unknown token", tokenizer.bos_token_id: "BOS", tokenizer.eos_token_id: "EOS"}
    known = tokenizer.get_vocab()
    pad, pad_id = tokenizer.pad_token, tokenizer.pad_token_id
    if pad_id is not None and known.get(pad) == pad_id and pad_id not in taken:
        return False
    why = f"The tokenizer's pad {pad!r} is also {taken[pad_id]}" if pad_id in taken and pad else "There is no pad token"
    reserved = next((name for name in RESERVED if name in known and known[name] not in taken), None)
    tokenizer.add_special_tokens({"pad_token": reserved or PAD})
    source = "from its vocabulary" if reserved else "which is new"
    notes.append(f"{why}: padding is {tokenizer.pad_token!r} ({tokenizer.pad_token_id}), {source}.")
    return True


def _settle_template(tokenizer: Any, wanted: str | None, notes: list[str]) -> None:
    if wanted is None:
        if not tokenizer.chat_template:
            notes.append("There is no chat template: prompts are written as they are.")
    elif wanted == "none":
        tokenizer.chat_template = None
    elif wanted in NAMED_TEMPLATES:
        if tokenizer.chat_template and tokenizer.chat_template != NAMED_TEMPLATES[wanted]:
            notes.append(f"The model's own chat template is replaced by {wanted!r}.")
        tokenizer.chat_template = NAMED_TEMPLATES[wanted]
    else:
        names = ["none", *NAMED_TEMPLATES]
        raise BadModel(
            f"There is no template {wanted!r}.{nearest(wanted, names)}",
            f"Known: {', '.join(names)}; without a name the model's own is used.",
        )


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _generation_config(folder: Path) -> GenerationConfig | None:
    if (folder / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(folder)
    if (folder / "config.json").is_file():  # where older models keep their stop ids
        config, _ = PretrainedConfig.get_config_dict(folder)
        return GenerationConfig(eos_token_id=config.get("eos_token_id"))
    return None


@contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bars and tables of transformers: what is wrong we say ourselves."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(transformers_logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def first_line(error: BaseException) -> str:
    """What an exception of another library says, in one line: its first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
