"""Generation, 45.6 % of the prompts: stories, letters, poems, adverts and recipes under several constraints at once."""

from __future__ import annotations

import random

from rather.worlds import lexicon
from rather.worlds.facts import Facts
from rather.worlds.kinds import Answer, Grade, Kind, checked, prompt
from rather.worlds.lexicon import say
from rather.worlds.types import Spec, WorldPrompt

CATEGORY = "generation"
ENDINGS = {"happy": lexicon.HAPPY, "sad": lexicon.SAD}


def ask_story(facts: Facts, rng: random.Random) -> WorldPrompt:
    name, thing = rng.choice(facts.pools["person"]), rng.choice(facts.pools["thing"])
    start = rng.choice(("write a short story", "tell me a story", "write a story", "make up a tale"))
    text = say("{start} about {n} and a {t}", start=start, n=name, t=thing)
    about = {"name": name, "thing": thing}
    require, count = [name, thing], 0
    ending: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    if rng.random() < 0.4:
        about["place"] = rng.choice(facts.pools["town"])
        require.append(about["place"])
        text += f" in {about['place']}"
    if rng.random() < 0.4:
        about["word"] = rng.choice(lexicon.EXTRA_WORDS)
        require.append(about["word"])
        text += f", use the word {about['word']}"
    if rng.random() < 0.2:
        exclude = (rng.choice(list(AVOIDABLE)),)
        text += f", do not use the word {exclude[0]}"
    if rng.random() < 0.4:
        count = rng.randint(3, 5)
        text += f", in {count} sentences"
    if rng.random() < 0.4:
        mood = rng.choice(list(ENDINGS))
        ending = ENDINGS[mood]
        about["mood"] = mood
        text += f", with a {mood} ending"
    spec = Spec(require=tuple(require), count=count, ending=ending, exclude=exclude, about=about)
    return prompt(CATEGORY, "story", start, text + ".", name, spec)


AVOIDABLE = {
    "friend": ("a friend came along to help.", "{he} told a friend about it."),
    "road": ("the road was long and quiet.", "{he} sat down by the road."),
    "sun": ("the sun was warm that day.", "the sun went down behind the trees."),
    "bird": ("a {color} bird sang in a tree.", "{he} saw a bird high above."),
}
MIDDLES = (
    "{he} met a gentle {animal} there.",
    "the {animal} wanted to look at the {t}.",
    "it began to rain and {he} had to wait.",
    "{he} lost the {t} and found it again.",
    "{he} shared some {food} with a {animal}.",
    "nobody had seen such a {t} before.",
)
OPENINGS = (
    "one day {n} went {out} with a {t}.",
    "once {n} found a {t} {on}.",
    "there was a {t} that {n} carried {out}.",
)


def answer_story(facts: Facts, asked: WorldPrompt, rng: random.Random, flawed: bool) -> str:
    spec, about = asked.spec, asked.spec.about
    name, place = about["name"], about.get("place")
    out, on = (f"to {place}", f"in {place}") if place else ("out", "on the way")
    slots = facts.pronouns(name) | {
        "n": name, "t": about["thing"], "out": out, "on": on, "w": about.get("word"),
        "color": rng.choice(facts.pools["color"]), "animal": rng.choice(facts.pools["animal"]),
        "food": rng.choice(facts.pools["food"]),
    }  # fmt: skip
    middles = [*MIDDLES, *(line for word, lines in AVOIDABLE.items() if word not in spec.exclude for line in lines)]
    inner = rng.sample(middles, (spec.count or rng.randint(3, 5)) - 2)
    if about.get("word"):
        inner[rng.randrange(len(inner))] = rng.choice(("then there was a {w}.", "{he} thought of a {w} all the time."))
    mood = about.get("mood") or rng.choice(list(ENDINGS))
    last = rng.choice(LAST[mood])
    return say(" ".join([rng.choice(OPENINGS), *inner, f"in the end {last}"]), **slots)


LAST = {
    "happy": ("{n} was happy.", "{he} smiled all day.", "{n} was glad to be home.", "everyone laughed."),
    "sad": ("{n} was sad.", "{he} cried all night.", "{n} was alone again.", "there were many tears."),
}


def grade_story(facts: Facts, asked: WorldPrompt, answer: Answer) -> Grade:
    spec, n = asked.spec, len(answer.sentences)
    mood = any(word in answer.plain[-6:] for word in spec.ending)
    constraints = [answer.has(word) for word in spec.require[2:]]
    constraints += [not answer.has(word) for word in spec.exclude]
    constraints += [n == spec.count] if spec.count else []
    constraints += [mood] if spec.ending else []
    checks = [(2, answer.has(word)) for word in spec.require[:2]] + [(2, held) for held in constraints]
    checks += [(1, 2 <= n <= 6), (1, n > 0 and len(set(answer.sentences)) == n), (1, answer.has("in the end"))]
    return Grade(_none_for_nothing(answer, checks), constraints=all(constraints) if constraints else None)


def _none_for_nothing(answer: Answer, checks: list[tuple[int, bool]]) -> float:
    """An empty answer keeps every 'do not', and has still done nothing."""
    return checked(checks) if answer.plain else 0.0


def ask_letter(facts: Facts, rng: random.Random) -> WorldPrompt:
    sender, receiver = rng.sample(facts.pools["person"], 2)
    topic = rng.choice(lexicon.TOPICS)
    start = rng.choice(("write a letter", "write a short letter", "help me with a letter"))
    text = f"{start} from {sender} to {receiver} about {topic}"
    about = {"sender": sender, "receiver": receiver, "topic": topic}
    if rng.random() < 0.4:
        about["food"] = rng.choice(facts.pools["food"])
        text += f", mention {about['food']}"
    if rng.random() < 0.4:
        about["question"] = "yes"
        text += ", and ask a question"
    return prompt(CATEGORY, "letter", start, text + ".", sender, Spec(about=about))


LETTER = (
    "we all think of you.", "the days are long here.", "my family is well.", "i hope to see you soon.",
    "it was more than i can say.", "everyone talks about it.",
)  # fmt: skip


def answer_letter(facts: Facts, asked: WorldPrompt, rng: random.Random, flawed: bool) -> str:
    about = asked.spec.about
    first = rng.choice(("i want to tell you about {topic}.", "i write to you about {topic}."))
    body = [first.format(topic=about["topic"]), *rng.sample(LETTER, rng.randint(1, 2))]
    if "food" in about:
        body.append(rng.choice(("there was {f} for all.", "i send you some {f}.")).format(f=about["food"]))
    if "question" in about:
        body.append(rng.choice(("how are you?", "will you come to see me?", "what do you think?")))
    close = rng.choice(("your friend", "yours", "with love"))
    return f"dear {about['receiver']},\n{' '.join(body)}\n{close}, {about['sender']}"


def grade_letter(facts: Facts, asked: WorldPrompt, answer: Answer) -> Grade:
    about = asked.spec.about
    constraints = [answer.has(about["food"])] if "food" in about else []
    constraints += ["?" in answer.words] if "question" in about else []
    n = len(answer.sentences)
    checks = [
        (2, answer.has(f"dear {about['receiver']}")),
        (2, about["sender"] in answer.plain[-3:]),
        (2, answer.has(about["topic"])),
        (1, 3 <= n <= 7),
        *((2, held) for held in constraints),
    ]
    return Grade(_none_for_nothing(answer, checks), constraints=all(constraints) if constraints else None)


def ask_poem(facts: Facts, rng: random.Random) -> WorldPrompt:
    animal = rng.choice(facts.pools["animal"])
    start = rng.choice(("write a poem", "write some verses", "make a rhyme"))
    about, count, text = {"animal": animal}, 0, f"a {animal}"
    if rng.random() < 0.6:
        about["adjective"] = rng.choice(lexicon.ADJECTIVES)
        text = f"a {about['adjective']} {animal}"
    if rng.random() < 0.4:
        about["color"] = rng.choice(facts.pools["color"])
        text += f" and the color {about['color']}"
    if rng.random() < 0.5:
        count = rng.randint(3, 6)
        text += f", in {count} lines"
    text = say(start + " about " + text + ".")
    return prompt(CATEGORY, "poem", start, text, text, Spec(count=count, about=about))


VERSES = (
    "the night is long and deep", "the stars look down on you", "the wind goes through the trees",
    "you walk where no one goes", "the water sings a tune", "your eyes are full of light",
    "the morning comes with dew", "the hills are far away",
)  # fmt: skip


def answer_poem(facts: Facts, asked: WorldPrompt, rng: random.Random, flawed: bool) -> str:
    about = asked.spec.about
    what = " ".join(about[key] for key in ("adjective", "animal") if key in about)
    lines = [f"o {what}, {rng.choice(('come to me', 'where do you go', 'sing for us'))}"]
    lines += rng.sample(VERSES, (asked.spec.count or 4) - 1)
    if "color" in about:
        lines[-1] = f"and all the world is {about['color']}"
    return "\n".join(lines)


def grade_poem(facts: Facts, asked: WorldPrompt, answer: Answer) -> Grade:
    about, n = asked.spec.about, len(answer.lines)
    constraints = [answer.has(about[key]) for key in ("adjective", "color") if key in about]
    constraints += [n == asked.spec.count] if asked.spec.count else []
    checks = [(2, answer.has(about["animal"])), *((2, held) for held in constraints)]
    checks += [] if asked.spec.count else [(1, n == 4)]
    checks += [(1, answer.plain[:1] == ("o",)), (1, n > 0 and len(set(answer.lines)) == n)]
    return Grade(_none_for_nothing(answer, checks), constraints=all(constraints) if constraints else None)


def ask_advert(facts: Facts, rng: random.Random) -> WorldPrompt:
    food, town = rng.choice(facts.pools["food"]), rng.choice(facts.pools["town"])
    start = rng.choice(("write an advert", "write a short advert", "make an advert"))
    about, count, text = {"food": food, "town": town}, 0, f"{start} for {food} from {town}"
    if rng.random() < 0.5:
        about["price"] = str(rng.randint(2, 30))
        text += f", say that it costs {about['price']} pennies"
    if rng.random() < 0.4:
        count = rng.randint(2, 4)
        text += f", in {count} sentences"
    return prompt(CATEGORY, "advert", start, text + ".", food + town, Spec(count=count, about=about))


PRAISE = (
    "it is the best on the island.", "you will love every bite.", "it is fresh every morning.",
    "bring your family and friends.", "nothing tastes better.",
)  # fmt: skip


def answer_advert(facts: Facts, asked: WorldPrompt, rng: random.Random, flawed: bool) -> str:
    about = asked.spec.about
    call = rng.choice(("try our {food} from {town}!", "come to {town} for {food}!", "taste the {food} of {town}!"))
    n = asked.spec.count or rng.randint(2, 4)
    lines = [call.format(**about), *rng.sample(PRAISE, n - 1)]
    if "price" in about:
        lines[-1] = rng.choice(("it costs only {price} pennies.", "now for {price} pennies.")).format(**about)
    return " ".join(lines)


def grade_advert(facts: Facts, asked: WorldPrompt, answer: Answer) -> Grade:
    about, n = asked.spec.about, len(answer.sentences)
    constraints = [answer.has(about["price"] + " pennies")] if "price" in about else []
    constraints += [n == asked.spec.count] if asked.spec.count else []
    checks = [(2, answer.has(about["food"])), (2, answer.has(about["town"])), (1, "!" in answer.words)]
    checks += [(2, held) for held in constraints] + ([] if asked.spec.count else [(1, 2 <= n <= 5)])
    return Grade(_none_for_nothing(answer, checks), constraints=all(constraints) if constraints else None)


def ask_recipe(facts: Facts, rng: random.Random) -> WorldPrompt:
    food = rng.choice(facts.pools["food"])
    wanted, unwanted = rng.sample(facts.pools["ingredient"], 2)
    start = rng.choice(("write a recipe", "give me a recipe", "i need a recipe"))
    text, count = f"{start} for {food} with {wanted}", 0
    exclude: tuple[str, ...] = ()
    if rng.random() < 0.4:
        exclude = (unwanted,)
        text += f" and without {unwanted}"
    if rng.random() < 0.5:
        count = rng.randint(3, 5)
        text += f", in {count} steps"
    spec = Spec(require=(food, wanted), exclude=exclude, count=count, about={"food": food, "ingredient": wanted})
    return prompt(CATEGORY, "recipe", start, text + ".", food + wanted, spec)


def answer_recipe(facts: Facts, asked: WorldPrompt, rng: random.Random, flawed: bool) -> str:
    about = asked.spec.about
    n = asked.spec.count or rng.randint(3, 4)
    free = [i for i in facts.pools["ingredient"] if i not in asked.spec.exclude and i != about["ingredient"]]
    steps = ["then add some {x}.", "then stir it well.", "then heat it slowly.", "then let it rest."]
    first = rng.choice(("first wash the {i}.", "first cut the {i}.", "first cook the {i}."))
    last = rng.choice(("finally serve the {f}.", "finally share the {f} with friends."))
    text = " ".join([first, *rng.sample(steps, n - 2), last])
    return say(text, i=about["ingredient"], f=about["food"], x=rng.choice(free))


def grade_recipe(facts: Facts, asked: WorldPrompt, answer: Answer) -> Grade:
    spec, n = asked.spec, len(answer.sentences)
    constraints = [not answer.has(word) for word in spec.exclude]
    constraints += [n == spec.count] if spec.count else []
    checks = [(2, answer.has(word)) for word in spec.require] + [(2, held) for held in constraints]
    checks += [(1, answer.has(word)) for word in ("first", "then", "finally")]
    return Grade(_none_for_nothing(answer, checks), constraints=all(constraints) if constraints else None)


KINDS = (
    Kind("story", 50, ask_story, answer_story, grade_story),
    Kind("letter", 18, ask_letter, answer_letter, grade_letter),
    Kind("poem", 14, ask_poem, answer_poem, grade_poem),
    Kind("advert", 9, ask_advert, answer_advert, grade_advert),
    Kind("recipe", 9, ask_recipe, answer_recipe, grade_recipe),
)
