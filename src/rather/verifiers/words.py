"""Multiple choice, exact answers and patterns."""

from __future__ import annotations

import re
import signal
import string
import threading
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from rather.errors import BadRecord
from rather.verifiers.verdicts import Verdict, right_or_wrong, shown

T = TypeVar("T")
SECONDS = 1.0  # for one pattern on one response
STATED = re.compile(
    r"(?:\banswer|\bchoice|\boption|\bcorrect(?: one)?)\b\s*(?:is|are|:|=|would be)?\s*:?\s*(?:option\s*|choice\s*)?"
    r"[*_`(\[\"']*([A-Z])(?![\w'’])",
    re.I,
)
# White space of one line: over many empty lines `\s*` would try every pair of them.
ALONE = re.compile(r"^[ \t]*[*_`(\[]{0,4}([A-Z])[*_`)\]]{0,4}(?:[.:)]|[ \t]*$)", re.M)


def choice(response: str, answer: str, choices: Sequence[str] | Mapping[str, str] = ()) -> Verdict:
    """1 where the response chooses the answer's letter.

    What it says last of "the answer is (B)" counts, else a box, else a letter that stands alone on a line ("B", "(B)",
    "B. Paris"), else the one choice whose words it is. Two letters in one answer ("A or B") are no choice.
    choices: the texts of A, B, C, ... in order, or by letter; answer: a letter, or one of the texts
    """
    texts = dict(choices) if isinstance(choices, Mapping) else dict(zip(string.ascii_uppercase, choices, strict=False))
    letter = answer.strip().strip("().").upper()
    if letter not in texts and texts:
        same = [name for name, text in texts.items() if _plain(text) == _plain(answer)]
        if len(same) != 1:
            raise BadRecord(
                f"the answer {shown(answer)} is none of the choices", f"Expected one of {', '.join(texts)}."
            )
        letter = same[0]
    if not re.fullmatch(r"[A-Z]", letter):
        raise BadRecord(f"the answer {shown(answer)} is no letter", "Expected a letter, or the texts of the choices.")
    letters = set(texts) or set(string.ascii_uppercase)
    chosen = _chosen(response, letters, texts)
    if len(chosen) != 1:
        return Verdict(0.0, f"it chooses {' and '.join(sorted(chosen))}" if chosen else "it chooses none")
    return right_or_wrong(chosen == {letter}, f"it chooses {min(chosen)}, the answer is {letter}")


def _chosen(response: str, letters: set[str], texts: Mapping[str, str]) -> set[str]:
    boxes = re.findall(r"\\boxed\{\s*(?:\\text\{)?\s*\(?([A-Z])\)?\s*\}?\s*\}", response)
    if boxes:
        return {boxes[-1]} & letters
    for pattern in (STATED, ALONE):
        found = [m for m in pattern.finditer(response) if m[1].upper() in letters and _is_letter(m)]
        if found:
            last = found[-1]
            if also := re.match(r"[*_`)\]\"']*\s*(?:or|and|/|,)\s*[*_`(\[]*([A-Z])\b(?!')", response[last.end(1) :]):
                return {last[1].upper(), also[1]} & letters
            return {last[1].upper()}
    plain = _plain(response)
    return {name for name, text in texts.items() if plain == _plain(text)} or {
        name for name, text in texts.items() if text and re.search(rf"\b{re.escape(_plain(text))}\b", plain)
    }


def _is_letter(found: re.Match[str]) -> bool:
    """Not the article: "the answer is a number"."""
    return found[1].isupper() or not re.match(r"\s+[a-z]", found.string[found.end(1) :])


def exact(response: str, answer: str | Sequence[str], case: bool = False) -> Verdict:
    """1 where the response is the answer, or one of the answers, but for white space around and between words.

    case: whether upper and lower case differ
    """
    answers = [answer] if isinstance(answer, str) else list(answer)
    if not answers or not all(isinstance(each, str) for each in answers):
        raise BadRecord("there is no answer to compare with", "Expected a text, or a list of texts.")
    said = _plain(response, case)
    right = any(said == _plain(each, case) for each in answers)
    return right_or_wrong(right, f"it says {shown(response.strip())}, the answer is {shown(answers[0])}")


def pattern(response: str, pattern: str, whole: bool = False) -> Verdict:
    """1 where the pattern (Python's `re`) is found in the response, or with `whole` is all of it.

    A response on which the pattern takes more than a second gets 0: some patterns never end on some texts.
    """
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise BadRecord(
            f"{shown(pattern)} is no pattern: {error}", "Expected a regular expression of Python's."
        ) from None
    found, ended = within(SECONDS, lambda: (compiled.fullmatch if whole else compiled.search)(response) is not None)
    if not ended:
        return Verdict(0.0, f"the pattern did not end on it within {SECONDS:g} s")
    return right_or_wrong(bool(found), f"the pattern {shown(pattern)} {'fits' if found else 'does not fit'}")


class _TimeOver(BaseException):
    """Beside Exception, so that nothing on the way takes it for its own."""


def within(seconds: float, work: Callable[[], T]) -> tuple[T | None, bool]:
    """(what it gives, True), or (None, False) where it takes longer.

    By the alarm signal, which `re` heeds while it searches; outside of the main thread there is none, and it runs on.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        return work(), True
    with _alarm(seconds):
        try:
            return work(), True
        except _TimeOver:
            return None, False


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise _TimeOver

    before = signal.signal(signal.SIGALRM, ring)
    left = signal.setitimer(signal.ITIMER_REAL, seconds)[0]
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left)  # somebody else's alarm rings a little later than it would have
        signal.signal(signal.SIGALRM, before)


def _plain(text: str, case: bool = False) -> str:
    spaced = " ".join(unicodedata.normalize("NFKC", text).split())
    return spaced if case else spaced.casefold().rstrip(".")
