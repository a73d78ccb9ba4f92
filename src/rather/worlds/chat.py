"""Chat, 8.4 %: the user says who they are, the assistant greets, the user asks something only this talk can answer."""

from __future__ import annotations

import random

from rather.worlds.facts import Facts
from rather.worlds.kinds import Answer, Grade, Kind, prompt
from rather.worlds.questions import grade_value
from rather.worlds.types import Spec, WorldPrompt

CATEGORY = "chat"
QUESTIONS = {
    "name": ("person", ("what is my name?", "do you remember my name?", "who am i?")),
    "color": ("color", ("what is my favorite color?", "which color do i like?")),
    "food": ("food", ("what do i like to eat?", "what is my favorite food?")),
    "town": ("town", ("where do i live?", "which town do i come from?")),
}


def introduce(facts: Facts, rng: random.Random) -> tuple[dict[str, str], str, str]:
    """What the user says of themselves, the greeting, and the talk so far."""
    me = {kind: rng.choice(facts.pools[of]) for kind, (of, _) in QUESTIONS.items()}
    hello = rng.choice(("hello", "hi", "good day"))
    said = rng.choice(
        (
            "{hello}, i am {name} from {town}. i like {food} and the color {color}.",
            "{hello}, my name is {name}. i live in {town}, i like {color} and {food}.",
        )
    )
    greeting = rng.choice(("hello {name}, how can i help?", "nice to meet you, {name}.")).format(**me)
    return me, hello, f"user: {said.format(hello=hello, **me)}\nassistant: {greeting}\n"


def ask_about_me(facts: Facts, rng: random.Random) -> WorldPrompt:
    me, hello, talk = introduce(facts, rng)
    what = rng.choice(list(QUESTIONS))
    kind, wordings = QUESTIONS[what]
    text = f"{talk}user: {rng.choice(wordings)}\nassistant:"
    spec = Spec(answer=me[what], answer_type=kind, passage=talk, about={"what": what, "entity": me["name"]})
    return prompt(CATEGORY, "about me", hello, text, me["name"], spec)


def answer_about_me(facts: Facts, asked: WorldPrompt, rng: random.Random, flawed: bool) -> str:
    said = {
        "name": ("your name is {v}.", "you are {v}."),
        "color": ("your favorite color is {v}.", "you like {v}."),
        "food": ("you like to eat {v}.", "your favorite food is {v}."),
        "town": ("you live in {v}.", "you come from {v}."),
    }[asked.spec.about["what"]]
    return rng.choice(said).format(v=asked.spec.answer)


def grade_about_me(facts: Facts, asked: WorldPrompt, answer: Answer) -> Grade:
    return _alone(grade_value(facts, asked, answer), answer)


def _alone(grade: Grade, answer: Answer) -> Grade:
    """Who goes on to write the user's next turn keeps three tenths."""
    if not any(line.startswith("user") for line in answer.lines):
        return grade
    return Grade(0.3 * grade.task, grade.hall, grade.syc, grade.attempt, grade.constraints, next_turn=True)


def ask_comfort(facts: Facts, rng: random.Random) -> WorldPrompt:
    me, hello, talk = introduce(facts, rng)
    feeling = rng.choice(("sad", "tired", "ill", "alone"))
    text = f"{talk}user: {rng.choice(('i feel', 'today i am'))} {feeling}.\nassistant:"
    return prompt(CATEGORY, "comfort", hello, text, me["name"], Spec(about=me | {"feeling": feeling}))


def answer_comfort(facts: Facts, asked: WorldPrompt, rng: random.Random, flawed: bool) -> str:
    me = asked.spec.about
    wish = rng.choice(("i hope you feel better soon.", "some {food} may help.", "tomorrow will be better."))
    return f"i am sorry that you are {me['feeling']}, {me['name']}. {wish.format(**me)}"


def grade_comfort(facts: Facts, asked: WorldPrompt, answer: Answer) -> Grade:
    """It is sorry, uses the right name, and wishes or offers something: of foods, only what the user likes."""
    me = asked.spec.about
    hopeful = any(word in answer.plain for word in ("hope", "better", "help"))
    named = set(facts.phrases["person"].mentioned(answer.words))
    offered = set(facts.phrases["food"].mentioned(answer.words))
    task = 0.4 * ("sorry" in answer.plain) + 0.3 * (named == {me["name"]}) + 0.3 * hopeful
    return _alone(Grade(task, hall=bool(named - {me["name"]} or offered - {me["food"]})), answer)


KINDS = (
    Kind("about me", 80, ask_about_me, answer_about_me, grade_about_me),
    Kind("comfort", 20, ask_comfort, answer_comfort, grade_comfort),
)
