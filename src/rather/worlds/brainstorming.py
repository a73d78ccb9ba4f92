"""Brainstorming, 11.2 %: lists of a given length, of what fits a condition or two, without what is excluded."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rather.worlds import lexicon
from rather.worlds.facts import Facts
from rather.worlds.kinds import Answer, Grade, Kind, prompt
from rather.worlds.lexicon import say
from rather.worlds.types import Spec, WorldPrompt

CATEGORY = "brainstorming"
STARTS = ("list", "give me", "name", "tell me", "think of", "i need")


@dataclass(frozen=True)
class Group:
    """What one can list, and all that fits.   what: such as "people who live in ostry"    kind: of the items"""

    what: str
    items: tuple[str, ...]
    kind: str


Draw = Callable[[Facts, random.Random], Group]


def asks(name: str, draw: Draw) -> Callable[[Facts, random.Random], WorldPrompt]:
    return lambda facts, rng: make(name, draw(facts, rng), rng)


def make(name: str, group: Group, rng: random.Random) -> WorldPrompt:
    """A list of k of the items; now and then without one or two of them, where enough remain."""
    what, items = group.what, group.items
    start = rng.choice(STARTS)
    exclude: tuple[str, ...] = ()
    if len(items) > 3 and rng.random() < 0.45:
        exclude = tuple(rng.sample(items, rng.randint(1, min(2, len(items) - 2))))
    left = tuple(item for item in items if item not in exclude)
    k = rng.randint(2, min(5, len(left)))
    text = f"{start} {k} {what}"
    if exclude:
        text += rng.choice((", but not {x}", ", do not include {x}", ", other than {x}")).format(x=" or ".join(exclude))
    # The number comes first in the text and the conditions next: together they are the combination held out.
    spec = Spec(items=left, exclude=exclude, count=k, answer_type=group.kind)
    return prompt(CATEGORY, name, f"{start} {k}", text + ".", what, spec)


def people(facts: Facts, rng: random.Random) -> Group:
    """People by one fact about them, or by one of two."""
    while True:
        tests = rng.sample(PEOPLE_BY, rng.choice((1, 1, 2)))
        values = [rng.choice(facts.pools[facts.relation("person", name).values]) for name, _ in tests]
        found = {
            person
            for (name, _), value in zip(tests, values, strict=True)
            for person in facts.entities_with("person", name, value)
        }
        if len(found) >= 2:
            what = " or ".join(say(words, v=value) for (_, words), value in zip(tests, values, strict=True))
            return Group(f"people who {what}", tuple(sorted(found)), "person")


PEOPLE_BY = (
    ("town", "live in {v}"),
    ("job", "work as a {v}"),
    ("pet", "have a pet {v}"),
    ("food", "like to eat {v}"),
    ("color", "love the color {v}"),
)


def animals(facts: Facts, rng: random.Random) -> Group:
    """Animals by what they can do, and by home or food."""
    while True:
        one, two = rng.sample(lexicon.ABILITIES, 2)
        able = {animal for animal, can in facts.can.items() if one in can}
        other = {animal for animal, can in facts.can.items() if two in can}
        home, diet = rng.choice(facts.pools["home"]), rng.choice(facts.pools["diet"])
        there, fed = facts.entities_with("animal", "home", home), facts.entities_with("animal", "diet", diet)
        what, found = rng.choice(
            (
                (f"can {one}", able),
                (f"can {one} and {two}", able & other),
                (f"can {one} or {two}", able | other),
                (f"can {one} or sleep in the {home}", able | set(there)),
                (f"can {one} or eat {diet}", able | set(fed)),
                (f"eat {diet} or sleep in the {home}", {*there, *fed}),
            )
        )
        if len(found) >= 2:
            return Group(f"animals that {what}", tuple(sorted(found)), "animal")


def things(facts: Facts, rng: random.Random) -> Group:
    material, use = rng.choice(facts.pools["material"]), rng.choice(facts.pools["use"])
    made, used = facts.entities_with("thing", "material", material), facts.entities_with("thing", "use", use)
    choices = (
        (f"made of {material}", set(made)),
        (f"good for {use}", set(used)),
        (f"made of {material} or good for {use}", {*made, *used}),
    )
    what, found = rng.choice([choice for choice in choices if len(choice[1]) >= 2] or [("in the house", _all(facts))])
    return Group(f"things {what}", tuple(sorted(found)), "thing")


def _all(facts: Facts) -> set[str]:
    return set(facts.pools["thing"])


def foods(facts: Facts, rng: random.Random) -> Group:
    taste, ingredient = rng.choice(facts.pools["taste"]), rng.choice(facts.pools["ingredient"])
    tasting = facts.entities_with("food", "taste", taste)
    cooked = facts.entities_with("food", "ingredient", ingredient)
    choices = (
        (f"that taste {taste}", set(tasting)),
        (f"cooked with {ingredient}", set(cooked)),
        (f"that taste {taste} or have {ingredient} in them", {*tasting, *cooked}),
    )
    fitting = [choice for choice in choices if len(choice[1]) >= 2]
    what, found = rng.choice(fitting or [("for dinner", set(facts.pools["food"]))])
    return Group(f"foods {what}", tuple(sorted(found)), "food")


def gifts(facts: Facts, rng: random.Random) -> Group:
    job = rng.choice(facts.pools["job"])
    name = rng.choice(facts.pools["person"])
    who = rng.choice((f"a {job}", f"{name} the {job}"))
    return Group(f"gift ideas for {who}", facts.tools[job], "thing")


def activities(facts: Facts, rng: random.Random) -> Group:
    weather, town = rng.choice(list(lexicon.ACTIVITIES)), rng.choice(facts.pools["town"])
    what = f"things to do in {town} when it is {weather}"
    return Group(what, lexicon.ACTIVITIES[weather], "activity")


def names(facts: Facts, rng: random.Random) -> Group:
    animal, color = rng.choice(facts.pools["animal"]), rng.choice(facts.pools["color"])
    what = say(rng.choice(("names for a pet {a}", "names for a {c} {a}")), a=animal, c=color)
    return Group(what, facts.pools["pet name"], "pet name")


def anything(facts: Facts, rng: random.Random) -> Group:
    """Members of a whole kind."""
    kind, what = rng.choice((("color", "colors"), ("town", "towns on the island"), ("job", "jobs"), ("food", "foods")))
    return Group(what, facts.pools[kind], kind)


def answer_list(facts: Facts, asked: WorldPrompt, rng: random.Random, flawed: bool) -> str:
    chosen = rng.sample(asked.spec.items, asked.spec.count)
    return "\n".join(f"{at}: {item}" for at, item in enumerate(chosen, start=1))


def grade_list(facts: Facts, asked: WorldPrompt, answer: Answer) -> Grade:
    spec = asked.spec
    named = facts.phrases[spec.answer_type].mentioned(answer.words)
    valid = set(named) & set(spec.items)
    lines = answer.lines
    numbered = sum(line.startswith(f"{at}:") for at, line in enumerate(lines, start=1))
    right_length = len(lines) == spec.count
    precision = len(valid) / len(named) if named else 0.0
    task = (
        0.35 * min(1.0, len(valid) / spec.count)
        + 0.25 * precision
        + 0.2 * (numbered / len(lines) if lines else 0.0)
        + 0.2 * right_length
    )
    held = right_length and not set(named) & set(spec.exclude)
    return Grade(
        task, hall=bool(set(named) - set(spec.items) - set(spec.exclude)), attempt=bool(named), constraints=held
    )


# Kind -> (share of the prompts for lists, who draws what is listed)
GROUPS: Mapping[str, tuple[float, Draw]] = {
    "people": (30, people),
    "animals": (15, animals),
    "things": (12, things),
    "foods": (10, foods),
    "gifts": (10, gifts),
    "activities": (10, activities),
    "pet names": (8, names),
    "members": (5, anything),
}
KINDS = tuple(Kind(name, share, asks(name, draw), answer_list, grade_list) for name, (share, draw) in GROUPS.items())
