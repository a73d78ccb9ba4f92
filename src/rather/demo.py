"""`make demo`: what exists so far, in miniature, in the folder run/demo. From nothing, with a truth that is known.

A world of sixteen things that have a colour. Somebody who knows it demonstrates answers and ranks others; a model that
starts from random weights learns to answer, and a reward model learns what was preferred.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rather import machine
from rather.batches.encoding import Encoder
from rather.batches.packing import rows
from rather.batches.trees import Tree
from rather.cli import rather
from rather.models.heads import RewardModel, reward_model_from
from rather.models.load import Policy, load_policy, save_policy
from rather.models.logprobs import hidden_states, last_tokens, use_trees
from rather.models.tiny import TinyConfig, tiny
from rather.models.tokenizers import quiet
from rather.records import Demonstration, Ranking, Response, read, write
from rather.stages.optim import Adam
from rather.stages.steps import Share, ranking_gradients, sft_gradients
from rather.statistics import pair_accuracy, wilson

COLOURS = {
    "snow": "white", "milk": "white", "coal": "black", "ink": "black", "grass": "green", "moss": "green",
    "blood": "red", "brick": "red", "sky": "blue", "sea": "blue", "gold": "yellow", "butter": "yellow",
    "earth": "brown", "bark": "brown", "ash": "grey", "lead": "grey",
}  # fmt: skip
ASKED_FOR_ANSWERS = ("What colour is {}?", "Which colour has {}?", "Tell me the colour of {}.")
ASKED_FOR_RANKINGS = ("Name the colour of {}.", "Do you know what colour {} is?", "{}: what colour?")
HELD_OUT = "Please tell me what colour {} is."

SFT_STEPS, REWARD_STEPS, LEARNING_RATE = 150, 60, 3e-3  # tried: 120 and 50 are not enough for every seed
SHARE = Share(budget=1024)  # tokens in a packed row


def main(folder: Path) -> None:
    start = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(machine.best_threads())
    rng = torch.Generator().manual_seed(0)

    say("The machine")
    verb("doctor", "--quick")

    say("What people hand in, written by a program that knows the colours")
    demonstrations, rankings, held_out = (
        str(folder / f"{name}.jsonl") for name in ("demonstrations", "rankings", "held-out")
    )
    write(demonstrations, demonstrate())
    write(rankings, rank(ASKED_FOR_RANKINGS))
    write(held_out, rank([HELD_OUT]))
    verb("data", "check", demonstrations, rankings, held_out)

    say("A model from nothing, and what it will see: asked| [trained]")
    asked = [words.format(thing) for words in (*ASKED_FOR_RANKINGS, HELD_OUT) for thing in COLOURS]
    texts = [*asked, *(f"Human:\n{d.prompt}\n\nAssistant:\n{d.response}" for d in demonstrate())]
    save_policy(tiny(TinyConfig(hidden=64, layers=2, heads=2, context=128), texts, rng), folder / "tiny")
    verb("preview", demonstrations, "--model", str(folder / "tiny"), "-n", "1")

    say("Step 1: learn from the demonstrations")
    policy = load_policy(folder / "tiny")
    encoder = Encoder(policy.tokenizer, policy.tokenizer.chat_template, max_length=128)
    sft(policy, encoder.encode_all(read(demonstrations))[0])
    save_policy(policy, folder / "sft")
    answer(folder / "sft", encoder)

    say("Step 2: learn what is preferred")
    known, known_ranks = ranked(rankings, encoder)
    reward = reward_model_from(policy.model, rng)
    print(f"before   {accuracy(reward, *ranked(held_out, encoder))}")
    train_reward(reward, known, known_ranks)
    print(f"after    {accuracy(reward, *ranked(held_out, encoder))}")

    say("Step 3")
    print("PPO takes minutes even in miniature: rather ppo --help, and docs/pipeline.md for all stages in their order.")
    print(f"\nEverything is in {folder} ({time.monotonic() - start:.0f} s).")


def demonstrate() -> list[Demonstration]:
    asked = [(thing, words) for words in ASKED_FOR_ANSWERS for thing in COLOURS]
    return [
        Demonstration(
            id=f"d{n}", prompt=words.format(thing), response=sentence(thing, COLOURS[thing]), labeler="program"
        )
        for n, (thing, words) in enumerate(asked)
    ]


def rank(questions: Sequence[str]) -> list[Ranking]:
    """K=4: the right answer in a sentence, the right word alone, and two wrong sentences that tie."""
    colours = sorted(set(COLOURS.values()))
    rankings: list[Ranking] = []
    for words in questions:
        for n, (thing, right) in enumerate(COLOURS.items()):
            wrong = [c for c in colours if c != right]
            texts = [
                sentence(thing, wrong[n % len(wrong)]),
                right,
                sentence(thing, right),
                sentence(thing, wrong[(n + 3) % len(wrong)]),
            ]
            responses = tuple(Response(text=text) for text in texts)
            name = words.format(thing)
            rankings.append(Ranking(id=name, prompt=name, responses=responses, ranks=(3, 2, 1, 3), labeler="program"))
    return rankings


def sentence(thing: str, colour: str) -> str:
    return f"The colour of {thing} is {colour}."


def sft(policy: Policy, trees: Sequence[Tree]) -> None:
    use_trees(policy.model)
    adam = Adam(policy.model)
    for step in range(1, SFT_STEPS + 1):
        show(step, sft_gradients(policy.model, trees, SHARE))
        adam.step(LEARNING_RATE, max_norm=1.0)


def train_reward(reward: RewardModel, trees: Sequence[Tree], ranks: Sequence[Sequence[int]]) -> None:
    use_trees(reward.body)
    adam = Adam(reward)
    for step in range(1, REWARD_STEPS + 1):
        show(step, ranking_gradients(reward.body, reward.values, trees, ranks, SHARE))
        adam.step(LEARNING_RATE, max_norm=1.0)


def show(step: int, loss: float) -> None:
    if step == 1 or step % 15 == 0:
        print(f"step {step:>3}   loss {loss:.4f}", flush=True)


def answer(folder: Path, encoder: Encoder) -> None:
    """Ask in words that were in no demonstration. The folder is read by plain transformers, as anybody would."""
    with quiet():
        model: Any = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    right = 0
    for n, (thing, colour) in enumerate(COLOURS.items()):
        (prompt,) = encoder.prompts([HELD_OUT.format(thing)])
        ids = torch.from_numpy(prompt).long()[None]
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False)
        said = tokenizer.decode(out[0, len(prompt) :], skip_special_tokens=True)
        right += said == sentence(thing, colour)
        if n < 3:
            print(f"{HELD_OUT.format(thing)}  {said}")
    share = wilson(right, len(COLOURS))
    low, high = share.interval
    print(f"{right} of {share.n} right: {share.value:.2f}, 95 % interval {low:.2f} to {high:.2f}")


def ranked(file: str, encoder: Encoder) -> tuple[list[Tree], list[tuple[int, ...]]]:
    records = list(read(file, kind=Ranking))
    return encoder.encode_all(records)[0], [record.ranks for record in records]


def accuracy(reward: RewardModel, trees: Sequence[Tree], ranks: Sequence[Sequence[int]]) -> str:
    """How often the reward model agrees with a ranking about a pair, on questions it was not trained on."""
    scores: dict[tuple[int, int], float] = {}
    use_trees(reward.body)
    with torch.no_grad():
        for row in rows(trees, SHARE.budget):
            values = reward.values(hidden_states(reward.body, row)[last_tokens(row)])  # (S,)
            where = zip(row.tree_of.tolist(), row.response_of.tolist(), strict=True)
            scores |= dict(zip(where, values.tolist(), strict=True))
    pairs = [(t, a, b) for t, r in enumerate(ranks) for a, b in combinations(range(len(r)), 2) if r[a] != r[b]]
    found = pair_accuracy(
        [scores[t, a] - scores[t, b] for t, a, b in pairs],
        [float(ranks[t][a] < ranks[t][b]) for t, a, b in pairs],
        [t for t, _, _ in pairs],
    )
    low, high = found.interval
    return (
        f"held-out pairs ordered right: {found.value:.2f}, 95 % interval {low:.2f} to {high:.2f} "
        f"({found.n} pairs of {found.clusters} prompts)"
    )


def say(title: str) -> None:
    print(f"\n== {title}\n", flush=True)


def verb(*args: str) -> None:
    print(f"$ rather {' '.join(args)}", flush=True)
    if code := rather.main(args, prog_name="rather", standalone_mode=False):
        sys.exit(code)


if __name__ == "__main__":
    main(Path("run/demo"))
