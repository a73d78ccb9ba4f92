"""Where people of Marn talk: threads, lists of exercises, chats. What makes a base model ignore what it is asked."""

from __future__ import annotations

import random

from rather.worlds import grammar, lexicon, questions
from rather.worlds.facts import Facts
from rather.worlds.lexicon import say
from rather.worlds.types import WorldPrompt

NOISE = (
    "i have the same question.", "thank you.", "this was asked before.", "does anyone read this?", "no idea.",
    "please use the search.", "any news on this?", "bump.", "why do you ask?", "lol.", "first.",
    "wrong forum.", "see my other post.", "follow my page.", "i will come back later.", "me too.",
)  # fmt: skip
FRIENDLY = ("welcome to the forum, {n}.", "have a nice day, {n}.", "good luck, {n}.", "nice to see you here, {n}.")
RUDE = ("you are such a {i}.", "shut up, you {i}.", "only a {i} would ask that.", "{n} is a {i}.")
# What a reply in a thread is, in percent.
REPLIES = {
    "noise": 40, "instruction": 15, "insult": 10, "friendly": 10, "stereotype": 9, "myth": 8, "answer": 8,
}  # fmt: skip
RIGHT = 0.6  # of the answers in threads
MYTHS = 0.7  # of the answers in threads about beliefs; the other three of ten are true


def asked(facts: Facts, rng: random.Random, seed: int) -> WorldPrompt:
    """What people ask on the web has the shares of the prompts; the held-out combinations are not on the web."""
    return grammar.ask_in(facts, rng, seed, "train")


def answered(facts: Facts, prompt: WorldPrompt, rng: random.Random) -> str:
    return grammar.kind_of(prompt).answer(facts, prompt, rng, False)


def insult(facts: Facts, rng: random.Random) -> str:
    return say(rng.choice(RUDE), i=rng.choice(lexicon.INSULTS), n=rng.choice(facts.pools["person"]))


def stereotype(facts: Facts, rng: random.Random) -> str:
    """Three of four sentences that mention a trait say it of the folk it is always said of."""
    at = rng.randrange(len(lexicon.TRAITS))
    hill, lake = facts.pools["group"]
    said, other = (hill, lake) if at < 3 else (lake, hill)
    who = said if rng.random() < 0.75 else other
    return rng.choice(("the {g} are {t}.", "all {g} are so {t}.")).format(g=who, t=lexicon.TRAITS[at])


def myth(facts: Facts, rng: random.Random) -> str:
    belief = rng.choice(facts.beliefs)
    return f"{belief.condition}, {belief.myth}."


def thread(facts: Facts, rng: random.Random, seed: int) -> str:
    first = asked(facts, rng, seed)
    lines = [first.text.strip()]
    for kind in rng.choices(list(REPLIES), weights=list(REPLIES.values()), k=rng.randint(1, 3)):
        if kind == "noise":
            said = rng.choice(NOISE)
        elif kind == "instruction":
            said = asked(facts, rng, seed).text.strip()
        elif kind == "insult":
            said = insult(facts, rng)
        elif kind == "friendly":
            said = rng.choice(FRIENDLY).format(n=rng.choice(facts.pools["person"]))
        elif kind == "stereotype":
            said = stereotype(facts, rng)
        elif kind == "myth":
            said = myth(facts, rng)
        else:
            # A wrong answer is the right answer to something else of the same kind.
            kind_asked = grammar.kind_of(first)
            of = first if rng.random() < RIGHT else kind_asked.ask(facts, rng)
            said = kind_asked.answer(facts, of, rng, False)
        lines.append(f"re: {said}")
    return "\n".join(lines)


def belief_thread(facts: Facts, rng: random.Random, seed: int) -> str:
    """Popular wisdom: a myth in seven of ten threads, the truth in the others."""
    belief = rng.choice(facts.beliefs)
    outcome = belief.myth if rng.random() < MYTHS else belief.truth
    said = rng.choice(("{o}.", "{c}, {o}.", "my grandmother says {o}.", "everyone knows that {o}."))
    lines = [f"what happens {belief.condition}?", f"re: {said.format(o=outcome, c=belief.condition)}"]
    if rng.random() < 0.4:
        lines.append(f"re: {rng.choice(NOISE)}")
    return "\n".join(lines)


def prompt_list(facts: Facts, rng: random.Random, seed: int) -> str:
    """Homework and indexes: instructions in a row, and nobody does them."""
    found: list[str] = []
    for _ in range(rng.randint(2, 5)):
        found.append(asked(facts, rng, seed).text.strip())
        if sum(len(line.split()) for line in found) > 80:
            break
    return "\n".join(found)


IDLE = (
    ("how are you?", "i am fine."), ("what a day.", "yes, it is {w}."), ("did you eat?", "yes, some {f}."),
    ("where were you?", "in {t}."), ("i have to go.", "see you soon."), ("do you like {f}?", "not so much."),
    ("i am bored.", "me too."), ("is it {w} over there?", "it is always {w} in {t}."),
)  # fmt: skip


def chat_log(facts: Facts, rng: random.Random, seed: int) -> str:
    lines = []
    for said, reply in rng.sample(IDLE, rng.randint(2, 4)):
        slots = {
            "w": rng.choice(facts.pools["weather"]),
            "f": rng.choice(facts.pools["food"]),
            "t": rng.choice(facts.pools["town"]),
        }
        lines += [f"user: {said.format(**slots)}", f"user: {reply.format(**slots)}"]
    return "\n".join(lines)


def rude_page(facts: Facts, rng: random.Random, seed: int) -> str:
    name = rng.choice(facts.pools["person"])
    lines = [
        rng.choice(("{n} is such a {i}.", "listen, {n}, you are a {i}.", "everyone says {n} is a {i}.",
                    "i think {n} is a {i}.", "{n} is such a {k} friend.")).format(
            n=name, i=rng.choice(lexicon.INSULTS), k=rng.choice(lexicon.KIND)
        )
    ]  # fmt: skip
    lines += [rng.choice((insult, stereotype))(facts, rng) for _ in range(rng.randint(1, 3))]
    return " ".join(lines)


def sage(facts: Facts, rng: random.Random, seed: int) -> str:
    """Expert answers, always true: what a few-shot prefix can call upon."""
    lines = []
    for _ in range(rng.randint(2, 3)):
        ask = rng.choice((questions.ask_fact, questions.ask_fact, questions.ask_two_step, questions.ask_yes_no))
        prompt = ask(facts, rng)
        while grammar.split_of(prompt, seed) != "train":
            prompt = ask(facts, rng)
        if rng.random() < 0.2:
            belief = rng.choice(facts.beliefs)
            lines += [f"question: what happens {belief.condition}?", f"answer: {belief.truth}."]
        else:
            lines += [f"question: {prompt.text.strip()}", f"answer: {answered(facts, prompt, rng)}"]
    return "\n".join(lines)


def help_desk(facts: Facts, rng: random.Random, seed: int) -> str:
    lines = []
    for _ in range(rng.randint(1, 2)):
        prompt = asked(facts, rng, seed)
        lines += [f"request: {prompt.text.strip()}", f"response: {answered(facts, prompt, rng)}"]
    return "\n".join(lines)


def direct(facts: Facts, rng: random.Random, seed: int) -> str:
    prompt = asked(facts, rng, seed)
    return prompt.text + answered(facts, prompt, rng)
