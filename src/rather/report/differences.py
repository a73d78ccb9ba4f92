"""Texts beside each other: words that another model did not say, tokens that moved away from the reference."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from markupsafe import Markup

from rather.diagnose.reading import Row, is_number

PIECE = re.compile(r"\s+|\w+|[^\w\s]")
TOO_LONG = 600  # pieces: beyond them comparing costs more than it shows
LEVELS = 4
FULL = 3.0  # nats, from which on a token is coloured fully, as in `rather look`


def marked_words(text: str, other: str) -> Markup:
    """The text, with the words that the other one does not have at this place marked as new."""
    mine, theirs = PIECE.findall(text), PIECE.findall(other)
    if max(len(mine), len(theirs)) > TOO_LONG or not theirs:
        return Markup("{}").format(text)
    found = []
    for kind, _, _, start, end in difflib.SequenceMatcher(None, theirs, mine, autojunk=False).get_opcodes():
        said = "".join(mine[start:end])
        if kind == "equal" or not said.strip():
            found.append(Markup("{}").format(said))
            continue
        before, after = said[: len(said) - len(said.lstrip())], said[len(said.rstrip()) :]
        found.append(Markup("{}<ins>{}</ins>{}").format(before, said.strip(), after))
    return Markup("").join(found)


def shaded_tokens(row: Row) -> Markup | None:
    """Tokens by log policy - log reference: warm where they are likelier than before, cold where less; with numbers."""
    tokens, kl = row.get("tokens"), row.get("kl")
    if not isinstance(tokens, list) or not isinstance(kl, list) or len(tokens) != len(kl) or not tokens:
        return None
    if not all(isinstance(token, str) for token in tokens) or not all(map(is_number, kl)):
        return None
    spans = [
        Markup('<span class="{}" title="{}">{}</span>').format(_shade(nats), f"{nats:+.2f} nats", token)
        for token, nats in zip(tokens, kl, strict=True)
    ]
    return Markup("").join(spans)


def _shade(nats: float) -> str:
    level = min(LEVELS, round(abs(nats) / FULL * LEVELS))
    return f"{'up' if nats > 0 else 'down'}{level}" if level else ""


def chosen(rows: Sequence[Row]) -> list[tuple[str, Row]]:
    """Of the last iterations: the highest score, the highest KL, the longest, and one drawn by place, each once."""
    numbered = [row for row in rows if isinstance(row.get("response"), str)]
    found: list[tuple[str, Row]] = []
    for what, key in (("highest score", "score"), ("highest KL", "kl_sum")):
        having = [row for row in numbered if is_number(row.get(key))]
        if having:
            found.append((what, max(having, key=lambda row: float(row[key]))))
    if numbered:
        found.append(("longest", max(numbered, key=lambda row: len(row["response"]))))
        found.append(("any", numbered[len(numbered) // 2]))
    once: list[tuple[str, Row]] = []
    for what, row in found:
        same = next((at for at, (_, other) in enumerate(once) if other is row), None)
        if same is None:
            once.append((what, row))
        else:
            once[same] = (f"{once[same][0]}, {what}", row)
    return once
