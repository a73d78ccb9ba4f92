"""A whole world in a hundred lines: a pond, its frogs, and what a person may ask about them."""

from __future__ import annotations

import random
from collections.abc import Iterator

from rather.records import Response
from rather.worlds import Document, Features, Source, Spec, Split, WorldPrompt
from rather.worlds.benchmarks import Benchmark, Question
from rather.worlds.labelers import Labeler, hire
from rather.worlds.probes import Probes

NAMES = ("ada", "bob", "cleo", "dan", "eve", "fay", "gus", "hal", "ida", "jon")
COLORS = ("green", "brown", "red", "blue")
QUESTIONS = ("what color is {n}?", "which color has {n}?", "{n} has what color?", "tell me the color of {n}.")
INSTRUCTIONS = ("what", "which", "tell", "name")  # a line of an answer that begins so is junk


class Pond:
    """Ten frogs with a color each. People ask for the color of one, or for frogs of one color."""

    name = "pond"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        rng = random.Random(f"pond {seed}")  # never hash(): a text seed is the same on every platform
        self.color = {name: rng.choice(COLORS) for name in NAMES}

    def web_documents(self, rng: random.Random, genre: str | None = None) -> Iterator[Document]:
        """Half of the pages know things; the other half asks, and only one in ten of these answers."""
        while True:
            kind = genre or rng.choice(("encyclopedia", "forum"))
            frog = rng.choice(NAMES)
            if kind == "encyclopedia":
                text = rng.choice((f"{frog} is {self.color[frog]}.", f"the color of {frog} is {self.color[frog]}."))
            else:
                prompt = self.prompt(rng)
                helpful = rng.random() < 0.1
                text = prompt.text + (self.demonstration(prompt, rng) if helpful else self.prompt(rng).text.strip())
            yield Document(text, kind)

    def prompt(
        self, rng: random.Random, category: str | None = None, source: Source = "labeler", split: Split = "train"
    ) -> WorldPrompt:
        category = category or rng.choice(("open_qa", "brainstorming"))
        if category == "open_qa":
            # One wording is never trained on: what a model can do with it, it has understood.
            template = QUESTIONS[-1] if split == "test" else rng.choice(QUESTIONS[:-1])
            frog = rng.choice(NAMES)
            spec = Spec(answer=self.color[frog], answer_type="color", fact=f"frog/{frog}/color", about={"frog": frog})
            return WorldPrompt(template.format(n=frog) + "\n", category, "color", spec, template, frog, source)
        color = rng.choice(sorted(set(self.color.values())))
        frogs = tuple(frog for frog in NAMES if self.color[frog] == color)
        spec = Spec(items=frogs, count=rng.randint(1, len(frogs)), about={"color": color})
        text = f"name {spec.count} frogs that are {color}.\n"
        return WorldPrompt(text, category, "frogs", spec, "name", color, source)

    def prompts(self, rng: random.Random, n: int, source: Source = "api", split: Split = "train") -> list[WorldPrompt]:
        return [self.prompt(rng, source=source, split=split) for _ in range(n)]  # so small a world repeats itself

    def demonstration(self, prompt: WorldPrompt, rng: random.Random) -> str:
        spec = prompt.spec
        if prompt.kind == "frogs":
            return ", ".join(rng.sample(spec.items, spec.count)) + "."
        return f"{spec.about['frog']} is {spec.answer}."

    def features(self, prompt: WorldPrompt, text: str, finished: bool = True) -> Features:
        """Any text has features: nothing is looked up that might not be there."""
        spec = prompt.spec
        said = text.lower().replace(".", " ").replace(",", " ").split()
        if prompt.kind == "frogs":
            named = {word for word in said if word in NAMES}
            task = len(named & set(spec.items)) / max(len(named), spec.count, 1)
            wrong = named - set(spec.items)
        else:
            named = {word for word in said if word in COLORS}
            task = float(named == {spec.answer})
            wrong = named - {spec.answer}
        lines = [line.split() for line in text.lower().split("\n") if line.strip()]
        return Features(
            task=task,
            hall=float(bool(wrong)),
            tox=0.0,  # nobody in the pond is rude
            junk=float(any(line[0] in INSTRUCTIONS for line in lines)),
            flu=1.0,
            rep=1 - len({tuple(line) for line in lines}) / len(lines) if lines else 0.0,
            unfinished=float(not finished),
            hedge=float("maybe" in said),
            syc=0.0,
            length=len(said),
            attempt=bool(named),
            constraints=len(named) == spec.count if prompt.kind == "frogs" else None,
        )

    def utility(self, features: Features) -> float:
        return 4 * features.task - features.hall - 1.5 * features.junk - features.rep - 0.7 * features.unfinished

    def worse_answer(self, prompt: WorldPrompt, rng: random.Random) -> Response:
        return Response(text=f"{rng.choice(NAMES)} is {rng.choice(COLORS)}.", model="anything")

    def labelers(self, n: int, group: str = "training") -> tuple[Labeler, ...]:
        return hire(random.Random(f"pond {self.seed} {group}"), n, group)  # the tastes of Marn's labelers

    def benchmarks(self, n: int = 300) -> dict[str, Benchmark]:
        choices = tuple(f" {color}" for color in COLORS)
        asked = (Question(f"color-{frog}", f"{frog} is", f" {self.color[frog]}", choices) for frog in NAMES[:n])
        return {"color": Benchmark("color", "closed-book facts", tuple(asked))}

    def probes(self, n: int = 300) -> Probes:
        return Probes()  # nobody in the pond has beliefs, insults or prejudices
