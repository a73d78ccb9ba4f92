"""Who asks: users of the API with habits of their own, and labelers who write prompts.

A few users ask most (Zipf). Each prefers some use cases, and makes typing errors at a rate of their own. Nobody is in
two splits, nobody gives more than 200 prompts, and no two prompts share a long prefix (sec. 3.2, app. A).
"""

from __future__ import annotations

import random
import re
import zlib
from bisect import bisect
from collections import Counter
from dataclasses import dataclass, replace
from itertools import accumulate, count

from rather.errors import BadSetting
from rather.worlds import grammar
from rather.worlds.facts import Facts
from rather.worlds.grammar import CATEGORIES
from rather.worlds.types import SAFETY, SHARES, Source, Split, WorldPrompt

CAP = 200  # prompts per user (sec. 3.2)
EACH = 40  # prompts per user on average, or less: with fewer users than n / EACH the cap would bend the Zipf curve
FEWEST = 40  # users of a split, at least
TYPOS = 0.02  # of the words of instructions, on average over users
LABELER_STYLES = {"plain": 45, "few-shot": 35, "use case": 20}  # percent; the paper names the three and gives no shares
LABELER_SAFETY = 0.03  # of the labelers' prompts come on top of Table 1
# Labelers write for every use case, users for what they need: halfway between Table 1 and equal shares, the rarest
# use case is 6 % of a labeler's prompts (extraction: 2 % of users'). With Table 1 alone the rare ones are not learned.
LABELER_SHARES = {c: (SHARES[c] / sum(SHARES.values()) + 1 / len(SHARES)) / 2 for c in CATEGORIES}

# Only words of instructions are mistyped: what an answer is graded on stays legible.
TYPABLE = re.compile(
    r"\b(write|short|story|about|tell|tale|letter|poem|verses|rhyme|advert|recipe|please|answer|sentence|friend|asks|"
    r"riddle|list|think|people|animals|things|include|other|summarize|rewrite|change|tense|polite|politely|shorter|"
    r"choose|decide|reverse|order|these|translate|where|which|happens|believe|everybody|need|mention|question)\b"
)


@dataclass(frozen=True)
class User:
    """taste: use case -> how much more (or less) often than others this user asks for it"""

    name: str
    split: Split
    activity: float
    taste: dict[str, float]
    typos: float
    polite: bool


def user(seed: int, number: int, rank: int) -> User:
    """User `number` of the world; `rank` is the place in the order of activity."""
    rng = random.Random(f"marn user {seed} {number}")
    return User(
        name=f"user-{number:05d}",
        split=split_of_user(seed, number),
        activity=1 / rank,
        taste={category: 0.1 + 2 * rng.random() ** 2 for category in CATEGORIES},
        typos=2 * TYPOS * rng.random(),
        polite=rng.random() < 0.2,
    )


def split_of_user(seed: int, number: int) -> Split:
    bucket = zlib.crc32(f"{seed}/user/{number}".encode()) % 10
    return "test" if bucket == 0 else "validation" if bucket == 1 else "train"


def users(seed: int, split: Split, n: int) -> list[User]:
    """Enough users of the split for n prompts, the most active first."""
    numbers = (number for number in count() if split_of_user(seed, number) == split)
    return [user(seed, next(numbers), rank) for rank in range(1, max(FEWEST, -(-n // EACH)) + 1)]


def asked_by(who: User, facts: Facts, rng: random.Random, seed: int, category: str) -> WorldPrompt:
    """A prompt in the user's hand."""
    prompt = grammar.ask_in(facts, rng, seed, who.split, category)
    text = TYPABLE.sub(lambda found: mistyped(found[0], rng) if rng.random() < who.typos else found[0], prompt.text)
    if who.polite and category not in ("chat", SAFETY):
        text = f"please, {text}"
    return replace(prompt, text=text, source="api", user=who.name)


def mistyped(word: str, rng: random.Random) -> str:
    """Two letters exchanged, one left out, or one twice."""
    at = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(3)
    if kind == 0 and word[at] != word[at + 1]:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return word[:at] + word[at + 1 :] if kind == 1 else word[:at] + word[at] + word[at:]


def written_by_labeler(
    facts: Facts, rng: random.Random, seed: int, split: Split, category: str | None = None
) -> WorldPrompt:
    """Plain, few-shot, or for a use case (app. A.1)."""
    if category is None:
        safety = rng.random() < LABELER_SAFETY
        category = SAFETY if safety else rng.choices(CATEGORIES, weights=list(LABELER_SHARES.values()))[0]
    style = rng.choices(list(LABELER_STYLES), weights=list(LABELER_STYLES.values()))[0]
    while True:
        prompt = grammar.ask_in(facts, rng, seed, split, category)
        if style == "few-shot" and grammar.kind_of(prompt).short:
            prompt = grammar.with_examples(facts, prompt, rng, seed, split)
        elif style == "use case" and category not in ("chat", SAFETY):
            prompt = grammar.with_use_case(facts, prompt, rng)
        if grammar.split_of(prompt, seed) == split:
            return prompt


def collect(
    facts: Facts, rng: random.Random, seed: int, n: int, source: Source, split: Split, tries: int = 20_000
) -> list[WorldPrompt]:
    """n prompts, no two with the same long prefix, none of a user beyond the cap. tries: draws for each of them"""
    people = users(seed, split, n)
    # The use case is drawn first and then who asks for it: users keep their tastes and the shares are Table 1's.
    weights = {c: list(accumulate(who.activity * who.taste[c] for who in people)) for c in CATEGORIES}
    given: Counter[str] = Counter()
    seen: set[tuple[str, ...]] = set()
    found: list[WorldPrompt] = []
    for _ in range(n):
        category = grammar.draw_category(rng) if source == "api" else None
        for _ in range(tries):
            if category is None:
                prompt = written_by_labeler(facts, rng, seed, split)
            else:
                who = people[bisect(weights[category], rng.random() * weights[category][-1])]
                if given[who.name] == CAP:
                    continue
                prompt = asked_by(who, facts, rng, seed, category)
            start = grammar.prefix(prompt.text)
            if start not in seen:
                break
        else:
            raise BadSetting(
                f"This world has no {n:,} different prompts for {split}: after {len(found):,} there was no new one "
                f"of {category or 'any use case'} in {tries:,} draws.",
                "Ask for fewer, or for a larger scale.",
            )
        seen.add(start)
        given[prompt.user] += bool(prompt.user)
        found.append(prompt)
    return found
