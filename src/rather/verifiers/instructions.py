"""Instructions of which a program can tell whether they were followed: the kinds of IFEval (Zhou et al. 2023).

    ifeval("NO COMMA HERE", ["punctuation:no_comma", "change_case:english_capital"], [{}, {}]).score     # 1.0

Strict: as the response stands. Loose: also without its first line, its last line, both, and without asterisks, because
"Sure, here it is:" and bold type are habits and not disobedience.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from rather.errors import BadRecord, nearest
from rather.verifiers.languages import language_of
from rather.verifiers.verdicts import Verdict

ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
ABBREVIATIONS = r"(?:Mr|Mrs|Ms|Dr|Prof|Sr|Jr|St|vs|etc|e\.g|i\.e|No|Inc|Ltd|Co|Fig|a\.m|p\.m|U\.S|[A-Z])"
SENTENCE_END = re.compile(r"[.!?]+[\"')\]*”’]*(?=\s|$)")


def _keywords(response: str, keywords: Sequence[str]) -> bool:
    return all(re.search(word, response, re.I) for word in keywords)


def _frequency(response: str, keyword: str, frequency: int, relation: str) -> bool:
    return _holds(len(re.findall(keyword, response, re.I)), relation, frequency)


def _forbidden(response: str, forbidden_words: Sequence[str]) -> bool:
    return not any(re.search(rf"\b{word}\b", response, re.I) for word in forbidden_words)


def _letters(response: str, letter: str, let_frequency: int, let_relation: str) -> bool:
    return _holds(response.lower().count(letter.lower()), let_relation, let_frequency)


def _language(response: str, language: str) -> bool:
    return language_of(response) in (language, "")  # "": nothing to tell by, such as digits alone


def _sentences(response: str, num_sentences: int, relation: str) -> bool:
    return _holds(count_sentences(response), relation, num_sentences)


def _words(response: str, num_words: int, relation: str) -> bool:
    return _holds(len(re.findall(r"\w+", response)), relation, num_words)


def _paragraphs(response: str, num_paragraphs: int) -> bool:
    """Divided by ***; an empty one may stand at either end and nowhere else."""
    parts = _trimmed(re.split(r"\s?\*\*\*\s?", response))
    return parts is not None and len(parts) == num_paragraphs


def _first_word(response: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    parts = response.split("\n\n")
    there = sum(bool(part.strip()) for part in parts)
    if nth_paragraph > there or not parts[nth_paragraph - 1].strip():
        return False
    word = parts[nth_paragraph - 1].split()[0].lstrip("'\"")
    return there == num_paragraphs and re.split(r"[.,?!'\"]", word)[0].lower() == first_word.lower()


def _placeholders(response: str, num_placeholders: int) -> bool:
    # By hand: a pattern takes the square of the time on a row of opening brackets.
    count = 0
    for line in response.split("\n"):
        start = line.find("[")
        while start >= 0 and (end := line.find("]", start)) >= 0:
            count += 1
            start = line.find("[", end)
    return count >= num_placeholders


def _postscript(response: str, postscript_marker: str) -> bool:
    plain = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    return re.search(plain.get(postscript_marker, re.escape(postscript_marker.lower())), response.lower()) is not None


def _bullets(response: str, num_bullets: int) -> bool:
    return len(re.findall(r"^\s*(?:\*[^*\n]|-)", response, re.M)) == num_bullets


def _highlights(response: str, num_highlights: int) -> bool:
    """*so* or **so**, with something between. What is between ** and ** counts for both, as in the reference."""
    single = [inside for inside in re.findall(r"\*([^\n*]*)\*", response) if inside.strip()]
    double = [inside for inside in re.findall(r"\*\*([^\n*]*)\*\*", response) if inside.strip()]
    return len(single) + len(double) >= num_highlights


def _sections(response: str, section_spliter: str, num_sections: int) -> bool:
    return len(re.findall(rf"\s?{re.escape(section_spliter)}\s?\d+\s?", response)) >= num_sections


def _json(response: str) -> bool:
    text = re.sub(r"^```(?:json|Json|JSON)?|```$", "", response.strip()).strip()
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _title(response: str) -> bool:
    lines = [(line, line.find("<<"), line.rfind(">>")) for line in response.split("\n")]
    return any(line[start:end].strip(" <>") for line, start, end in lines if 0 <= start < end)


def _two_responses(response: str) -> bool:
    parts = _trimmed(response.split("******"))
    return parts is not None and len(parts) == 2 and parts[0] != parts[1]


def _repeat(response: str, prompt_to_repeat: str) -> bool:
    return response.strip().lower().startswith(prompt_to_repeat.strip().lower())


def _end(response: str, end_phrase: str) -> bool:
    return response.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def _quotation(response: str) -> bool:
    text = response.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def _capital(response: str) -> bool:
    return response.isupper() and language_of(response.lower()) in ("en", "")


def _lowercase(response: str) -> bool:
    return response.islower() and language_of(response) in ("en", "")


def _capital_words(response: str, capital_frequency: int, capital_relation: str) -> bool:
    words = re.findall(r"\w[\w'’.&-]*", response)
    return _holds(sum(word.isupper() for word in words), capital_relation, capital_frequency)


INSTRUCTIONS: Mapping[str, Callable[..., bool]] = {
    "keywords:existence": _keywords,
    "keywords:frequency": _frequency,
    "keywords:forbidden_words": _forbidden,
    "keywords:letter_frequency": _letters,
    "language:response_language": _language,
    "length_constraints:number_sentences": _sentences,
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": _words,
    "length_constraints:nth_paragraph_first_word": _first_word,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": lambda response: any(answer in response for answer in ANSWERS),
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": _title,
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": _repeat,
    "startend:end_checker": _end,
    "startend:quotation": _quotation,
    "change_case:english_capital": _capital,
    "change_case:english_lowercase": _lowercase,
    "change_case:capital_word_frequency": _capital_words,
    "punctuation:no_comma": lambda response: "," not in response,
}


def follows(response: str, instruction: str, settings: Mapping[str, Any], loose: bool = False) -> bool:
    """Whether a response follows one instruction. Settings that are None are taken as not there."""
    check = INSTRUCTIONS.get(instruction)
    if check is None:
        raise BadRecord(
            f"there is no instruction {instruction!r}.{nearest(instruction, INSTRUCTIONS)}",
            f"Known: {', '.join(INSTRUCTIONS)}.",
        )
    needed = list(inspect.signature(check).parameters)[1:]
    given = {name: value for name, value in settings.items() if value is not None}
    if missing := [name for name in needed if name not in given]:
        raise BadRecord(f"{instruction} has no {' and no '.join(missing)}", f"Expected {', '.join(needed)}.")
    if "relation" in " ".join(needed):
        name = next(name for name in needed if "relation" in name)
        if given[name] not in ("less than", "at least"):
            raise BadRecord(f"{instruction} has the {name} {given[name]!r}", "Expected 'less than' or 'at least'.")
    arguments = {name: given[name] for name in needed}
    try:
        return any(bool(text.strip()) and check(text, **arguments) for text in _read_as(response, loose))
    except (TypeError, AttributeError, re.error) as error:
        raise BadRecord(f"{instruction} cannot be checked with {arguments}: {error}") from None


def ifeval(
    response: str,
    instructions: Sequence[str],
    settings: Sequence[Mapping[str, Any]],
    loose: bool = False,
    share: bool = False,
) -> Verdict:
    """1 where every instruction is followed; with `share`, the share of them that is."""
    if not instructions or len(instructions) != len(settings):
        raise BadRecord(f"{len(instructions)} instructions with {len(settings)} settings", "Expected as many of each.")
    done = [follows(response, name, given, loose) for name, given in zip(instructions, settings, strict=True)]
    broken = [name for name, fine in zip(instructions, done, strict=True) if not fine]
    reason = f"it follows {sum(done)} of {len(done)}" + (f", not {', '.join(broken)}" if broken else "")
    return Verdict(sum(done) / len(done) if share else float(all(done)), reason)


def _read_as(response: str, loose: bool) -> Iterator[str]:
    yield response
    if loose:
        lines = response.split("\n")
        for first, last, asterisks in list(product((False, True), repeat=3))[1:]:
            text = "\n".join(lines[int(first) : len(lines) - int(last)]).strip() if first or last else response
            yield text.replace("*", "") if asterisks else text


def _holds(count: int, relation: str, number: int) -> bool:
    return count < number if relation == "less than" else count >= number


def _trimmed(parts: list[str]) -> list[str] | None:
    """Without an empty one at either end; None where an empty one stands between others."""
    stripped = [part.strip() for part in parts]
    inside = stripped[1:-1]
    if not all(inside):
        return None
    return [part for part in stripped if part]


def count_sentences(text: str) -> int:
    """Ends of sentences, but for abbreviations and numbers of a list; what follows the last end is one as well."""
    count, begun = 0, 0
    for end in SENTENCE_END.finditer(text):
        # The last words before it are enough; all of them, after a thousand abbreviations, would be the square of it.
        words = text[max(begun, end.start() - 80) : end.start()].split()
        last, dot = words[-1] if words else "", end[0].startswith(".")
        listed = dot and len(words) == 1 and re.fullmatch(r"[\W_]*(?:\d+|[A-Za-z])", last) is not None
        short = dot and re.fullmatch(rf"[\W_]*{ABBREVIATIONS}", last) is not None
        goes_on = text[end.end() : end.end() + 3].lstrip()[:1].islower() and re.search(r"^\.|[\"\')”’]", end[0])
        if short or listed or goes_on:
            continue
        count += bool(words)
        begun = end.end()
    return count + bool(re.search(r"\w", text[begun:]))
