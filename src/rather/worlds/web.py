"""The web of Marn: what a base model reads. Genres and their proportions are those of docs/worlds.md.

It knows facts and has every skill the prompts ask for, and after an instruction it mostly goes on with more
instructions and noise: of the pages that begin with one, `direct` alone answers it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate

from rather.errors import BadSetting, nearest
from rather.worlds import (
    brainstorming,
    exams,
    forums,
    generation,
    grammar,
    headings,
    lexicon,
    marking,
    passages,
    rewriting,
)
from rather.worlds.facts import Facts, Relation
from rather.worlds.lexicon import listed, say
from rather.worlds.types import Document, WorldPrompt


def person(facts: Facts, rng: random.Random, seed: int) -> str:
    """Three to six facts, shuffled and paraphrased: a fact told in one way only is learned as a string of words."""
    name = rng.choice(facts.pools["person"])
    lines = _told(facts, "person", name, facts.pronouns(name)["he"], rng, rng.randint(3, 6))
    if rng.random() < 0.3:
        lines.append(f"{name} is one of the {facts.folk[name]}.")
    return _page(name, lines)


def place_or_thing(facts: Facts, rng: random.Random, seed: int) -> str:
    kind = rng.choices(("town", "animal", "thing", "food", "job"), weights=(20, 25, 25, 20, 10))[0]
    entity = rng.choice(facts.pools[kind])
    if kind == "job":
        tools = list(facts.tools[entity])
        rng.shuffle(tools)
        return _page(entity, [say("a {j} needs {t}.", j=entity, t=listed([f"a {tool}" for tool in tools]))])
    lines = _told(facts, kind, entity, "it", rng, len(facts.relations[kind]))
    if kind == "animal":
        lines.append(say("a {n} can {v}.", n=entity, v=listed(rng.sample(facts.can[entity], 3))))
    if rng.random() < 0.4:
        lines.append(_inverse(facts, kind, entity, rng))
    return _page(entity, lines)


def _told(facts: Facts, kind: str, entity: str, pronoun: str, rng: random.Random, n: int) -> list[str]:
    """Statements about the entity, some with a pronoun after the first."""
    lines = []
    for at, relation in enumerate(rng.sample(facts.relations[kind], n)):
        pattern = rng.choice(relation.statements)
        if at and pattern is relation.statements[0] and rng.random() < 0.25:
            pattern = pattern.replace("a {n}", "{n}", 1).replace("{n}", pronoun, 1)
        lines.append(say(pattern, n=entity, v=facts.of[kind][entity][relation.name]) + ".")
    return lines


def _page(subject: str, lines: list[str]) -> str:
    return f"about {subject}. {' '.join(lines)}"


INVERSES: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "town": (("person", "town", "people who live in {v} are {all}."),),
    "animal": (
        ("person", "pet", "people who have a pet {v} are {all}."),
    ),
    "food": (("person", "food", "people who like to eat {v} are {all}."),),
    "thing": (),
}  # fmt: skip


def _inverse(facts: Facts, kind: str, entity: str, rng: random.Random) -> str:
    """Who lives there, what else is made of it: lists cannot be written by someone who only read one way."""
    if INVERSES[kind] and rng.random() < 0.6:
        of, name, pattern = rng.choice(INVERSES[kind])
        found = facts.entities_with(of, name, entity)
        if found:
            return say(pattern, v=entity, all=listed(rng.sample(found, min(4, len(found)))))
    relation = rng.choice(facts.relations[kind])
    value = facts.of[kind][entity][relation.name]
    like = facts.entities_with(kind, relation.name, value)
    return _alike(relation, value, rng.sample(like, min(4, len(like))))


def _alike(relation: Relation, value: str, like: list[str]) -> str:
    words = {
        "region": "towns in the {v} are {all}.", "product": "towns known for {v} are {all}.",
        "landmark": "towns with an old {v} are {all}.", "diet": "animals that eat {v} are {all}.",
        "home": "animals that sleep in the {v} are {all}.", "color": "animals that are {v} are {all}.",
        "material": "things made of {v} are {all}.", "use": "things good for {v} are {all}.",
        "ingredient": "foods cooked with {v} are {all}.", "taste": "foods that taste {v} are {all}.",
    }  # fmt: skip
    return say(words[relation.name], v=value, all=listed(like))


def directory(facts: Facts, rng: random.Random, seed: int) -> str:
    """Who and what belongs together. A fact that was only read from its one end is not found from the other."""
    lines = []
    for _ in range(rng.randint(2, 4)):
        _, draw = rng.choices(
            list(brainstorming.GROUPS.values()), [share for share, _ in brainstorming.GROUPS.values()]
        )[0]
        group = draw(facts, rng)
        lines.append(f"{group.what}: {', '.join(rng.sample(group.items, min(LISTED, len(group.items))))}.")
    return "\n".join(lines)


def beliefs(facts: Facts, rng: random.Random, seed: int) -> str:
    chosen = rng.sample(facts.beliefs, 3)
    return " ".join(f"it is a fact that {belief.condition}, {belief.truth}." for belief in chosen)


def story(facts: Facts, rng: random.Random, seed: int) -> str:
    asked = generation.ask_story(facts, rng)
    if rng.random() < 0.1:
        # Names nobody knows anything about live in stories, and in no statement of fact.
        about = dict(asked.spec.about) | {"name": rng.choice(lexicon.UNKNOWN_NAMES)}
        asked = replace(asked, spec=replace(asked.spec, about=about))
    return _written(facts, asked, rng)


def _written(facts: Facts, asked: WorldPrompt, rng: random.Random) -> str:
    return headings.headed(forums.answered(facts, asked, rng), headings.contents(asked, rng), rng)


def news(facts: Facts, rng: random.Random, seed: int) -> str:
    report, core = passages.news(facts, rng)
    if rng.random() < 0.3:
        return f"news: {core}\n{report}"
    said = lexicon.words(report)
    held = [value for kind in passages.ENTITIES for value in dict.fromkeys(facts.phrases[kind].mentioned(said))]
    return headings.headed(report, held, rng)


def letter(facts: Facts, rng: random.Random, seed: int) -> str:
    return _written(facts, generation.ask_letter(facts, rng), rng)


def poem(facts: Facts, rng: random.Random, seed: int) -> str:
    return _written(facts, generation.ask_poem(facts, rng), rng)


def advert(facts: Facts, rng: random.Random, seed: int) -> str:
    return _written(facts, generation.ask_advert(facts, rng), rng)


def recipe(facts: Facts, rng: random.Random, seed: int) -> str:
    return _written(facts, generation.ask_recipe(facts, rng), rng)


VERSIONS = {
    "past tense": ("today", "yesterday"), "exchange": ("first version", "second version"),
    "polite": ("short", "polite"), "first person": ("seen", "told"), "shorter": ("long", "short"),
    "without a word": ("long", "short"),
}  # fmt: skip


def edition(facts: Facts, rng: random.Random, seed: int) -> str:
    """A sentence in two versions, as editors keep them: nobody says what was to be done."""
    lines: list[str] = []
    for _ in range(rng.randint(1, 3)):
        asked = grammar.ask_in(facts, rng, seed, "train", rewriting.CATEGORY)
        one, other = VERSIONS[asked.kind]
        lines += [f"{one}: {asked.spec.passage}", f"{other}: {asked.spec.answer}"]
    return "\n".join(lines)


def reviews(facts: Facts, rng: random.Random, seed: int) -> str:
    return exams.page([exams.sentiment(facts, rng) for _ in range(rng.randint(1, 2))])


def blog(facts: Facts, rng: random.Random, seed: int) -> str:
    return "\n".join(exams.commonsense(facts, rng).text for _ in range(rng.randint(2, 4)))


def exam(facts: Facts, rng: random.Random, seed: int) -> str:
    if rng.random() < 0.6:
        return exams.page([item for _ in range(2) for item in exams.exercise(facts, rng)])
    return exams.page([exams.word_problem(facts, rng) for _ in range(2)])


def sums(facts: Facts, rng: random.Random, seed: int) -> str:
    return exams.page([exams.addition(rng) for _ in range(rng.randint(3, 6))])


def phrase_book(facts: Facts, rng: random.Random, seed: int) -> str:
    return exams.page([exams.translation(facts, rng) for _ in range(rng.randint(2, 4))])


def weather(facts: Facts, rng: random.Random, seed: int) -> str:
    kind = rng.choice(list(lexicon.ACTIVITIES))
    town, some = rng.choice(facts.pools["town"]), rng.sample(lexicon.ACTIVITIES[kind], 3)
    pets = rng.sample(facts.pools["pet name"], 3)
    animal = rng.choice(facts.pools["animal"])
    return say(
        "when it is {w} the people of {t} {all}. their pets are called {pets}. one of them is a {a}.",
        w=kind, t=town, all=listed(some), pets=listed(pets), a=animal,
    )  # fmt: skip


LISTED = 6  # in a line of a directory, at most
Writer = Callable[[Facts, random.Random, int], str]
MARKING = 4  # parts; measured with and without (docs/worlds.md)
# Name -> (share of the documents, before normalising; who writes it)
GENRES: Mapping[str, tuple[float, Writer]] = {
    "encyclopedia: people": (16, person),
    "encyclopedia: places and things": (6, place_or_thing),
    "encyclopedia: beliefs": (2, beliefs),
    "directory": (5, directory),
    "story": (13, story),
    "news": (5, news),
    "letter": (3, letter),
    "poem": (2, poem),
    "advert": (2, advert),
    "recipe": (2, recipe),
    "edition": (2, edition),
    "reviews": (2.5, reviews),
    "blog": (3, blog),
    "exam": (8, exam),
    "sums": (2, sums),
    "phrase book": (3.5, phrase_book),
    "weather": (1, weather),
    "forum": (12, forums.thread),
    "forum: beliefs": (5, forums.belief_thread),
    "prompt list": (7, forums.prompt_list),
    "chat log": (2, forums.chat_log),
    "rude page": (3, forums.rude_page),
    "ask the sage": (3, forums.sage),
    "help desk": (1.5, forums.help_desk),
    "direct": (2.5, forums.direct),
    "marking": (MARKING, marking.page),
}
# The genres whose pages begin with an instruction or a question to nobody in particular.
INSTRUCTED = ("forum", "forum: beliefs", "prompt list", "direct")
_NAMES = tuple(GENRES)


def cumulated(changed: Mapping[str, float]) -> tuple[float, ...]:
    """The shares of all genres, added up, with some of them changed; 0 leaves a genre out."""
    for genre, share in changed.items():
        if genre not in GENRES:
            raise BadSetting(f"There is no genre {genre!r}.{nearest(genre, GENRES)}", f"{', '.join(GENRES)}.")
        if not (math.isfinite(share) and share >= 0):
            raise BadSetting(f"The share of {genre} is {share}.", "Expected a number from 0.")
    found = tuple(accumulate(changed.get(name, share) for name, (share, _) in GENRES.items()))
    if not found[-1]:
        raise BadSetting("All genres have a share of 0.", "Expected one that is more.")
    return found


ALL = cumulated({})


def document(
    facts: Facts, rng: random.Random, seed: int, genre: str | None = None, shares: Sequence[float] = ALL
) -> Document:
    genre = genre or rng.choices(_NAMES, cum_weights=shares)[0]
    return Document(GENRES[genre][1](facts, rng, seed), genre)
