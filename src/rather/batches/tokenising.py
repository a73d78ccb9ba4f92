"""Token ids of a text that stands behind another text.

The prompt is tokenised by itself, as for generation. A response is tokenised behind the end of its prompt, and the ids
of that end are taken off: so it has the ids that the joint text would give it, and the prompt keeps its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from rather.batches.templates import BREAK

Ids: TypeAlias = list[int]

# How much of the prompt's end is tokenised again before each response. A border can only be changed by the token next
# to it, and turn markers, the longest tokens to stand there, have about twenty characters.
CONTEXT = 64
# For a text to stand behind where its own context would melt into it. The second is for texts that begin with a line
# break, in vocabularies that merge line breaks.
BORDERS = ("\n", "|")


def ids_behind(tokenizer: Any, texts: Sequence[str], contexts: Sequence[str | None]) -> list[Ids]:
    """Ids of each text as it stands after its context (None: at the start), without the context's ids."""
    pieces = [  # what follows a BREAK stands in the middle of a text, but must not be joined to what precedes it
        (row, piece, context if first else BORDERS[0])
        for row, (text, context) in enumerate(zip(texts, contexts, strict=True))
        for first, piece in zip([True] + [False] * text.count(BREAK), text.split(BREAK), strict=True)
        if piece
    ]
    borders = list({context: None for _, _, context in pieces if context})
    border_ids = dict(zip(borders, tokenise(tokenizer, borders), strict=True))
    whole = tokenise(tokenizer, [(context or "") + piece for _, piece, context in pieces])
    encoded: list[Ids] = [[] for _ in texts]
    for (row, piece, context), ids in zip(pieces, whole, strict=True):
        before = border_ids[context] if context else []
        encoded[row] += ids[len(before) :] if ids[: len(before)] == before else _apart(tokenizer, piece)
    return encoded


def _apart(tokenizer: Any, text: str) -> Ids:
    """Ids of text in the middle of a text, where what stands before it would melt into its first token.

    Tokenised alone, a SentencePiece vocabulary would put a space before it that nobody wrote, so it stands behind
    a border and the border is taken off again.
    """
    for border in BORDERS:
        before, ids = tokenise(tokenizer, [border, border + text])
        if ids[: len(before)] == before:
            return ids[len(before) :]
    return tokenise(tokenizer, [text])[0]


def tokenise(tokenizer: Any, texts: list[str]) -> list[Ids]:
    if not texts:
        return []
    encoded = tokenizer(
        texts,
        add_special_tokens=False,  # BOS and EOS are put where they belong by hand
        split_special_tokens=False,  # the template's markers are tokens, whatever the folder's settings say
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,  # its warning about long texts is our count of dropped rows
    )
    ids: list[Ids] = encoded["input_ids"]
    return ids
