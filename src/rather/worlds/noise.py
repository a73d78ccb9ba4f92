"""Why two careful people rank the same outputs differently: noise in what they perceive, ties, and how much of it.

A labeler who wants u_k of output k perceives z_k = u_k + tau * g_k, with g_k from the standard Gumbel distribution and
one draw for each output. Without ties the order of z is then a Plackett-Luce ranking, and of two outputs the first
wins with probability sigmoid((u_1 - u_2) / tau): the Bradley-Terry model of the reward model's loss. Outputs are sorted
by z, and where two neighbours differ by less than delta, the labeler calls them equal.

tau and delta are the same for all labelers and belong to no world: they are fitted on the outputs at hand, so that two
labelers agree as often as those of the paper (72.6 %, sec. 3.4) and call a quarter of the pairs equal. Outputs that lie
far apart are easy to agree on and need more of both.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import brentq

from rather.errors import BadSetting

AGREEMENT = 0.726  # sec. 3.4: training labelers, +- 1.5 %
TIES = 0.25  # the paper encourages ties and does not say how many there were
LOWEST, HIGHEST = 0.01, 100.0  # tau: below, nobody errs by more than rounding; above, everybody throws dice


@dataclass(frozen=True)
class Noise:
    tau: float
    delta: float


def gumbel(rng: random.Random) -> float:
    return -math.log(max(rng.expovariate(1.0), 1e-300))  # once in 2^53 draws it is 0, which has no logarithm


def ranks(perceived: Sequence[float], delta: float) -> tuple[int, ...]:
    """Dense ranks, 1 for the highest. A tie is for neighbours: a chain of small steps is one tie from end to end."""
    order = sorted(range(len(perceived)), key=lambda k: -perceived[k])
    found, rank = [1] * len(perceived), 1
    for above, k in pairwise(order):
        gap = perceived[above] - perceived[k]
        rank += gap >= delta and gap > 0  # equal is a tie at any delta
        found[k] = rank
    return tuple(found)


def fit_noise(
    utilities_by_prompt: Sequence[Sequence[Sequence[float]]],
    target: float = AGREEMENT,
    ties: float = TIES,
    seed: int = 0,
) -> Noise:
    """The noise at which two labelers call a share `ties` of the output pairs equal and agree on `target` of the rest.

    utilities_by_prompt: for each prompt (L, K), what each labeler wants of each output. L and K may differ between
        prompts; identical outputs must have been merged.

    Each step of the search takes the same draws, so that agreement falls smoothly with tau. Labelers are paired at
    random within each prompt, each once: disjoint pairs are independent of each other, all L (L - 1) / 2 are not.
    """
    rng = random.Random(seed)
    pairs = [_Pairs(np.array(us), np.array(gs), np.array(of)) for us, gs, of in _paired(utilities_by_prompt, rng)]

    def at(tau: float) -> tuple[float, Noise]:
        noise = Noise(tau, round(float(np.quantile(np.concatenate([p.largest_steps(tau) for p in pairs]), ties)), 4))
        credit, compared = np.sum([p.agreed(noise, len(utilities_by_prompt)) for p in pairs], axis=0)
        return float((credit[compared > 0] / compared[compared > 0]).mean()), noise

    most, least = at(LOWEST)[0], at(HIGHEST)[0]
    if not least < target < most:
        raise BadSetting(
            f"No noise makes these labelers agree on {target:.1%}: with none they agree on {most:.1%} of the pairs, "
            f"drowned in it on {least:.1%}.",
            "Expected outputs of which some are better than others in the eyes of most labelers.",
        )
    found = brentq(lambda log_tau: at(math.exp(log_tau))[0] - target, math.log(LOWEST), math.log(HIGHEST), xtol=0.001)
    return at(round(math.exp(found), 4))[1]


def _paired(tables: Sequence[Sequence[Sequence[float]]], rng: random.Random) -> list[tuple[list, list, list]]:
    """(utilities, Gumbel draws, prompts) of all pairs of labelers, one triple of lists for each K."""
    if len(tables) < 2:
        raise BadSetting(
            f"The noise of labelers cannot be fitted on {len(tables)} prompt(s).",
            "Expected some hundred: agreement is a mean over prompts.",
        )
    of_size: dict[int, tuple[list, list, list]] = {}
    for prompt, table in enumerate(tables):
        if len({len(row) for row in table}) != 1 or len(table) < 2 or len(table[0]) < 2:
            raise BadSetting(
                f"Prompt {prompt} has utilities of shape {[len(row) for row in table]} (outputs of each labeler).",
                "Expected at least two labelers and two outputs, the same outputs for each labeler.",
            )
        utilities, draws, prompts = of_size.setdefault(len(table[0]), ([], [], []))
        order = rng.sample(range(len(table)), len(table))
        for one, other in zip(order[::2], order[1::2], strict=False):  # of an odd number one sits out
            utilities.append([table[one], table[other]])
            draws.append([[gumbel(rng) for _ in table[who]] for who in (one, other)])
            prompts.append(prompt)
    return list(of_size.values())


@dataclass(frozen=True)
class _Pairs:
    """Two labelers on K outputs, D times. `rather.statistics.agreement` in arrays: a search needs it fifteen times."""

    utilities: np.ndarray  # (D, 2, K)
    draws: np.ndarray  # (D, 2, K)
    prompts: np.ndarray  # (D,)

    def largest_steps(self, tau: float) -> np.ndarray:
        """For each labeler and each two outputs, the largest step on the way from one to the other.

        (2 D K (K - 1) / 2,). A chain of steps below delta is a tie, so two outputs tie if this is below delta.
        """
        steps = np.diff(np.sort(self.utilities + tau * self.draws))  # (D, 2, K - 1)
        ways = [np.maximum.accumulate(steps[..., first:], axis=-1) for first in range(steps.shape[-1])]
        return np.concatenate(ways, axis=-1).ravel()

    def agreed(self, noise: Noise, prompts: int) -> np.ndarray:
        """(2, prompts) for each prompt the output pairs on which they agree, and those that neither ties."""
        z = self.utilities + noise.tau * self.draws
        order = np.argsort(-z, axis=-1)
        down = -np.diff(np.take_along_axis(z, order, axis=-1))  # (D, 2, K - 1)
        ranks = np.zeros(z.shape)
        below = np.cumsum((down >= noise.delta) & (down > 0), axis=-1)
        np.put_along_axis(ranks, order[..., 1:], below, axis=-1)
        first, second = np.triu_indices(z.shape[-1], 1)
        signs = np.sign(ranks[..., first] - ranks[..., second])  # (D, 2, K (K - 1) / 2)
        product = signs[:, 0] * signs[:, 1]
        sums = ((product > 0).sum(-1), (product != 0).sum(-1))
        return np.stack([np.bincount(self.prompts, weights=each, minlength=prompts) for each in sums])
