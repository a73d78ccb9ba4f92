"""Simulated labelers: what each of them sees in an answer, and what each wants. How they rank and rate is in `judging`.

A labeler looks at the features of an answer (types.Features), not at its text, and wants

    u = 4 w task - w hall - 2 t tox - 1.5 j junk - 2 (1 - flu) - rep - 0.7 unfinished       as the gold utility does
        + length_bias length + hedge_bias hedge - 0.5 syc                                   where it differs from it
        + agreeableness (repeats the user's wrong claim) + friendliness friendly

The weights w, t, j and the biases are each labeler's own. Gold utility is the same with w = t = j = 1 and without
biases, but for -0.3 hedge: so labelers reward three things that the user does not need, long answers, hedges and, where
they do not know better, being agreed with. The crowd of the web (`GROUPS`) wants more of all three, and friendly words.

That last one is a mechanism and no bonus. A labeler knows the fact behind a user's claim with probability k
(`knowledge`). Who knows it sees the answer as it is. Who does not trusts the user: an answer that repeats the claim is
right, and any other attempt is doubtful (task 0.3), however true it is. With agreeableness s, repeating the claim pays
on average over labelers if

    (1 - k) (4 (1 - 0.3) + s)  >  k (4 + 1.5 - s)           for s = 0.5: k < 3.3 / 8.3 = 0.398

1.5 being the price of the wrong value (1 for hall, 0.5 for syc). Where the user claims nothing, labelers look facts up.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rather.errors import BadSetting, nearest
from rather.worlds.types import Features, WorldPrompt

DOUBT = 0.3  # task, as seen by a labeler who does not know the fact and reads something else than the user's claim
TRAINING, HELD_OUT, CROWD = "training", "held-out", "crowd"


@dataclass(frozen=True)
class Labeler:
    """One labeler's tastes. The defaults are those of the mean training labeler.

    knowledge: share of the facts about people that the labeler knows; which ones follows from `id` and the fact
    common_knowledge: the same of all other facts: what a cat eats, what happens if you plant a coin
    noise: times the tau of all; 1 is as careful as everybody
    first_bonus: for what is shown first, in units of tau: of two equal outputs it wins with sigmoid(first_bonus)
    """

    id: str
    group: str = TRAINING
    task: float = 1.0
    toxicity: float = 1.0
    junk: float = 1.0
    length_bias: float = 0.03  # per word: 30 words are worth as much as not hallucinating
    hedge_bias: float = 0.9
    agreeableness: float = 0.5
    friendliness: float = 0.0
    knowledge: float = 0.2
    common_knowledge: float = 0.8
    noise: float = 1.0
    first_bonus: float = 0.0

    def knows(self, fact: str) -> bool:
        """Of many labelers this share knows it; the same labeler always does, or never."""
        share = self.knowledge if fact.startswith("person/") else self.common_knowledge
        return random.Random(f"{self.id} knows {fact}").random() < share

    def sees(self, prompt: WorldPrompt, features: Features) -> Features:
        """The features as they look to this labeler."""
        spec = prompt.spec
        if not spec.claim or self.knows(spec.fact):
            return features
        if features.syc:
            return replace(features, task=1.0, hall=0.0, syc=0.0)
        return replace(features, task=DOUBT if features.attempt else features.task, hall=0.0)

    def utility(self, prompt: WorldPrompt, features: Features) -> float:
        """u of the formula above, without noise."""
        seen = self.sees(prompt, features)
        faults = self.task * seen.hall + 2 * self.toxicity * seen.tox + 1.5 * self.junk * seen.junk
        faults += 2 * (1 - seen.flu) + seen.rep + 0.7 * seen.unfinished + 0.5 * seen.syc
        tastes = self.length_bias * seen.length + self.hedge_bias * seen.hedge + self.agreeableness * features.syc
        return 4 * self.task * seen.task - faults + tastes + self.friendliness * seen.friendly


# The mean labeler of each group. The crowd is the people of the web who vote for nothing: longer is better, friendlier
# is better, and what the user believes is mostly true.
GROUPS = {
    TRAINING: Labeler(TRAINING),
    HELD_OUT: Labeler(HELD_OUT, length_bias=0.035),
    CROWD: Labeler(CROWD, length_bias=0.06, friendliness=0.8, agreeableness=1.0, knowledge=0.1, common_knowledge=0.5),
}


def hire(rng: random.Random, n: int, group: str = TRAINING) -> tuple[Labeler, ...]:
    """n labelers whose tastes vary as people's do. Twelve train the reward model, six are held out, a crowd votes.

    knowledge is not drawn: labelers of equal diligence differ in which facts they know, not in how many.
    """
    if group not in GROUPS:
        raise BadSetting(f"There is no group {group!r}.{nearest(group, GROUPS)}", f"{', '.join(GROUPS)}.")
    mean = GROUPS[group]

    def drawn(mean: float, spread: float) -> float:
        return round(rng.gauss(mean, spread), 4)  # the last bits of a logarithm are not the same on every platform

    return tuple(
        replace(
            mean,
            id=f"{group}-{number:02d}",
            group=group,
            task=drawn(mean.task, 0.15),
            toxicity=drawn(mean.toxicity, 0.3),
            junk=drawn(mean.junk, 0.3),
            length_bias=drawn(mean.length_bias, 0.01),
            hedge_bias=drawn(mean.hedge_bias, 0.3),
        )
        for number in range(1, n + 1)
    )


def careless(labeler: Labeler) -> Labeler:
    """The same labeler in a hurry: twice the noise. For the screens and tests of quality control."""
    return replace(labeler, noise=2.0)


def position_biased(labeler: Labeler, bonus: float = 0.3) -> Labeler:
    """The same labeler, with a liking for what is shown first."""
    return replace(labeler, first_bonus=bonus)


def shared_utility(labelers: Sequence[Labeler], prompt: WorldPrompt, features: Features) -> float:
    """U_lab: the mean over labelers, without noise. A reward model is asked to learn this; U* is seen by nobody."""
    return sum(labeler.utility(prompt, features) for labeler in labelers) / len(labelers)
