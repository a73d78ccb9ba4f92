# Parts to write: token_loss, sft_loss, prompt_mask, comparisons. Check them: rather labs check 03
# ruff: noqa
"""Lab 3. Supervised fine-tuning: one token at a time.

The loss of a demonstration is the sum of -log p(token) over its tokens. Which tokens count is a decision, the prompt
mask: here a bigram model, the smallest language model there is, is trained with the mask and without, and writes.
"""

from __future__ import annotations

import math
import random
from itertools import pairwise

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # sheet.py lies beside the whole labs

import sheet

PROMPTS = ("name a colour please", "name an animal please", "name a town please")
RESPONSES = (("it is red", "it is blue"), ("it is a cat", "it is an owl"), ("it is rome", "it is oslo"))
END = "<eos>"


def token_loss(probability: float) -> float:
    """-ln p: what the model pays for a token it gave this probability."""
    raise SystemExit("To write: token_loss: minus the natural logarithm of the probability")


def sft_loss(logprobs: list[float], mask: list[int]) -> float:
    """Mean of -log p over the tokens the mask counts; the others are not read (sec. 3.5, C.1)."""
    raise SystemExit("To write: sft_loss: minus the mean of the log-probabilities where the mask is 1")


def prompt_mask(prompt: list[str], response: list[str]) -> list[int]:
    """1 on the tokens that are trained: the response's, whose end is among them, and none of the prompt's."""
    raise SystemExit("To write: prompt_mask: a list: 0 for each token of the prompt, 1 for each of the response")


def comparisons(outputs: int) -> int:
    """Pairs in a ranking of this many outputs: K(K-1)/2."""
    raise SystemExit("To write: comparisons: how many pairs a ranking of this many outputs holds")


Bigrams = dict[str, dict[str, float]]  # token before -> counts of the token after it


def train(demonstrations: list[tuple[list[str], list[str]]], masked: bool) -> Bigrams:
    """Counts are the maximum-likelihood bigram model: no gradient needed to see what the mask does."""
    counts: Bigrams = {}
    for prompt, response in demonstrations:
        tokens = ["<start>", *prompt, *response]
        mask = prompt_mask(prompt, response) if masked else [1] * (len(prompt) + len(response))
        for (before, token), here in zip(pairwise(tokens), mask, strict=True):
            if here:
                counts.setdefault(before, {})[token] = counts.get(before, {}).get(token, 0) + 1
    return counts


def probability(model: Bigrams, before: str, token: str, vocabulary: int) -> float:
    """Smoothed by a hundredth of a count, so that nothing is impossible."""
    after = model.get(before, {})
    return (after.get(token, 0) + 0.01) / (sum(after.values()) + 0.01 * vocabulary)


def write(model: Bigrams, first: str, rng: random.Random, limit: int = 12) -> str:
    """Samples on from a token until <eos>, or until the model was never shown what comes next."""
    words: list[str] = []
    token = first
    while len(words) < limit:
        if token not in model:
            return " ".join([*words, "... (never trained on what comes after this)"])
        token = rng.choices(list(model[token]), list(model[token].values()))[0]
        if token == END:
            return " ".join([*words, END])
        words.append(token)
    return " ".join([*words, "... (no end)"])


def make(count: int, rng: random.Random, with_end: bool) -> list[tuple[list[str], list[str]]]:
    """Demonstrations: a prompt of four words and a response of three or four."""
    rows = []
    for _ in range(count):
        kind = rng.randrange(3)
        response = rng.choice(RESPONSES[kind]).split()
        rows.append((PROMPTS[kind].split(), [*response, END] if with_end else response))
    return rows


def main(argv: list[str] | None = None) -> None:
    parser = sheet.flags("Lab 3: supervised fine-tuning, one token at a time")
    parser.add_argument("--probability", type=sheet.number(1e-9, 1), default=0.15, help="of a token (default 0.15)")
    parser.add_argument("--outputs", type=sheet.whole(2, 9), default=4, help="K, outputs in a ranking (default 4)")
    parser.add_argument("--no-end", action="store_true", help="demonstrations without an end token")
    parser.add_argument("--seed", type=sheet.whole(0, 10**6), default=0)
    args = parser.parse_args(argv)
    rng = random.Random(args.seed)

    print("a token's probability   loss = -ln p")
    for p in (args.probability, 0.08, 0.35):
        print(f"{p:21.4g}   {token_loss(p):12.3f}")
    print("training that lifts a token from 0.08 to 0.35 takes its loss from 2.526 to 1.050\n")

    rows, held_out = make(200, rng, not args.no_end), make(50, rng, not args.no_end)
    vocabulary = len({END, *" ".join(PROMPTS).split(), *" ".join(" ".join(kind) for kind in RESPONSES).split()})
    for masked in (True, False):
        model = train(rows, masked)
        losses = []
        for prompt, response in held_out:
            tokens = ["<start>", *prompt, *response]
            logprobs = [math.log(probability(model, a, b, vocabulary)) for a, b in pairwise(tokens)]
            mask = prompt_mask(prompt, response)
            losses.append((sft_loss(logprobs, mask), sft_loss(logprobs, [1 - here for here in mask])))
        trained = sum(sum(after.values()) for after in model.values())
        print("with the prompt mask" if masked else "without it: the prompt is trained too")
        print(f"  tokens trained          {trained:.0f}")
        print(f"  loss of new responses   {sum(a for a, _ in losses) / len(losses):.3f}")
        print(f"  loss of new prompts     {sum(b for _, b in losses) / len(losses):.3f}")
        print(f"  writes after '... please':  {write(model, 'please', rng)}")
        print(f"  writes from nothing:        {write(model, '<start>', rng)}\n")

    pairs = comparisons(args.outputs)
    print(f"a demonstration takes 5 minutes, a ranking of {args.outputs} takes 2 and holds {pairs} comparisons:")
    print(f"in the time of one demonstration, {5 / 2 * pairs:g} comparisons")
    curve = [(p / 100, token_loss(p / 100)) for p in range(2, 101)]
    sheet.plot(args.plot, "What a token costs", "probability", "loss", {"-ln p": curve})
    print("\nWithout the mask the responses are learned less well. Which words got in each other's way?")
    print("And what would a model that remembers more than one word make of them?")


assert (round(token_loss(0.15), 3), round(token_loss(0.08), 3), round(token_loss(0.35), 3)) == (1.897, 2.526, 1.050)
assert 5 / 2 * comparisons(4) == 15

if __name__ == "__main__":
    sheet.run(main)
