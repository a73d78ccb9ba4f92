"""Bradley-Terry strengths of several players (models, checkpoints) from comparisons and rankings, with ties."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit

from rather.statistics.columns import Labels, Numbers, clusters_of, index_of, numbers, one_of, same_length
from rather.statistics.intervals import Estimate, Result, t_quantile
from rather.statistics.likelihood import direction_without_end, maximum, sandwich
from rather.statistics.tie_models import TIE_MODELS, TieModel

ELO = 400 / math.log(10)  # Elo points per unit of log-strength: 400 points are odds of ten to one


@dataclass(frozen=True, kw_only=True)
class Strengths(Result):
    players: dict[Hashable, Estimate]  # log-strength, relative to the baseline; strongest first
    baseline: Hashable | None  # None: relative to the players' mean
    ties: str
    tie_parameter: float | None  # Davidson's nu (0: never tie), Rao and Kupper's theta (1: never tie)
    prior_sd: float | None
    n: int  # comparisons
    clusters: int  # prompts
    log_likelihood: float

    def win_rate(self, first: Hashable, second: Hashable) -> float:
        """What the model expects of the first against the second, ties as half."""
        for player in (first, second):
            if player not in self.players:
                raise ValueError(f"{player!r} is no player. Players: {', '.join(map(str, self.players))}.")
        d = self.players[first].value - self.players[second].value
        if self.tie_parameter is None:
            return float(expit(d))
        if self.ties == "davidson":
            won, lost = math.exp(d / 2), math.exp(-d / 2)
            return (won + self.tie_parameter / 2) / (won + self.tie_parameter + lost)
        delta = math.log(self.tie_parameter)
        return float(expit(d - delta) + 1 - expit(-d - delta)) / 2


def pairs_of_rankings(
    players: Sequence[Sequence[Hashable]], ranks: Sequence[Sequence[float]], prompts: Labels
) -> tuple[list[Hashable], list[Hashable], list[float], list[Hashable]]:
    """All pairs of each ranking, as the columns `bradley_terry` takes.

    players: (P, K) who wrote each output    ranks: (P, K) 1 is best, equal ranks are ties    prompts: (P,)
    Two outputs of the same player say nothing about strengths and form no pair. The pairs of one ranking are not
    independent, so they must keep their prompt: it is the cluster of the interval.
    """
    same_length(players=players, ranks=ranks, prompts=prompts)
    first, second, outcomes, of = [], [], [], []
    for row, (who, places, prompt) in enumerate(zip(players, ranks, prompts, strict=True)):
        same_length(**{f"players[{row}]": who, f"ranks[{row}]": places})
        order = numbers(f"ranks[{row}]", places)
        for i in range(len(who)):
            for j in range(i + 1, len(who)):
                if who[i] != who[j]:
                    first.append(who[i])
                    second.append(who[j])
                    outcomes.append((float(np.sign(order[j] - order[i])) + 1) / 2)
                    of.append(prompt)
    return first, second, outcomes, of


def bradley_terry(
    first: Labels,
    second: Labels,
    outcomes: Numbers,
    prompts: Labels,
    *,
    ties: str = "davidson",
    baseline: Hashable | None = None,
    prior_sd: float | None = None,
    level: float = 0.95,
) -> Strengths:
    """Maximum-likelihood strengths with intervals clustered by prompt.

    first, second: (N,) players    outcomes: (N,) 1 the first won, 0.5 tie, 0 the second won    prompts: (N,)
    prior_sd: strengths are drawn around their mean with this standard deviation. Without it a player that never loses
        has no finite strength, and players that never met cannot be compared: both are refused.
    """
    same_length(first=first, second=second, outcomes=outcomes, prompts=prompts)
    one_of("ties", ties, TIE_MODELS)
    outcomes = numbers("outcomes", outcomes, 0.0, 1.0)
    if not np.isin(outcomes, (0.0, 0.5, 1.0)).all():
        odd = outcomes[~np.isin(outcomes, (0.0, 0.5, 1.0))][0]
        raise ValueError(f"outcomes has {odd:g}. Expected 1 (the first won), 0.5 (tie) or 0 (the second won).")
    seats, names = index_of("players", [*first, *second])
    i, j = seats[: len(outcomes)], seats[len(outcomes) :]
    if (i == j).any():
        row = int(np.argmax(i == j))
        raise ValueError(f"Row {row} compares {names[i[row]]!r} with itself. Expected two different players.")
    if baseline is not None and baseline not in names:
        raise ValueError(f"The baseline {baseline!r} is in no comparison. Players: {', '.join(map(str, names))}.")
    if prior_sd is not None and not 0 < prior_sd < math.inf:
        raise ValueError(f"prior_sd is {prior_sd}. Expected a positive number, or None for no prior.")
    index, clusters = clusters_of("prompts", prompts)

    if (outcomes == 0.5).all():
        raise ValueError(f"All {len(outcomes)} comparisons are ties. Expected wins: ties alone give no strengths.")
    if prior_sd is None:
        _check_connected(i, j, outcomes, names)
    fit = TieModel(i, j, outcomes, len(names), ties, prior_sd)
    if prior_sd is None and fit.has_tie:
        _check_bounded(fit, names)
    if clusters <= fit.dimensions:
        raise ValueError(
            f"{clusters} prompts for {fit.dimensions} parameters. Expected more prompts than parameters: "
            "otherwise the intervals are narrower than the truth in some direction."
        )
    theta, hessian = maximum(fit.surface, fit.start)
    covariance = sandwich(hessian, fit.row_scores(theta), index, clusters, fit.precision)

    strengths = np.append(0.0, theta[: len(names) - 1])  # (players,) the first player at 0
    anchor = np.full(len(names), 1 / len(names)) if baseline is None else np.eye(len(names))[names.index(baseline)]
    contrast = (np.eye(len(names)) - anchor)[:, 1:]  # (players, players - 1) from parameters to what is reported
    variances, plain = (
        np.einsum("pa,ab,pb->p", contrast, each[: len(names) - 1, : len(names) - 1], contrast)
        for each in (covariance, np.linalg.inv(-hessian))
    )
    # Prompts whose verdicts cancel exactly leave no spread between prompts, and an interval of no width would be a lie.
    if (variances < 1e-12 * plain).any():
        raise ValueError(
            f"The {clusters} prompts all say the same: there is no spread between them to make an interval from. "
            "Expected prompts that differ."
        )
    se = np.sqrt(np.maximum(variances, 0.0))  # the baseline's is 0 by definition
    strengths = strengths - anchor @ strengths
    half = t_quantile(level, clusters) * se
    played = np.bincount(i, minlength=len(names)) + np.bincount(j, minlength=len(names))
    method = f"t, sandwich clustered over {clusters} prompts" + (f", prior sd {prior_sd:g}" if prior_sd else "")
    return Strengths(
        players={
            names[k]: Estimate(
                value=float(strengths[k]),
                interval=(float(strengths[k] - half[k]), float(strengths[k] + half[k])),
                n=int(played[k]),
                clusters=clusters,
                se=float(se[k]),
                level=level,
                method="the baseline, 0 by definition" if names[k] == baseline else method,
            )
            for k in np.argsort(-strengths, kind="stable")
        },
        baseline=baseline,
        ties=ties,
        tie_parameter=fit.tie_parameter(theta),
        prior_sd=prior_sd,
        n=len(outcomes),
        clusters=clusters,
        log_likelihood=fit.log_likelihood(theta),
    )


def _listed(names: list[Hashable]) -> str:
    return ", ".join(map(str, names[:8])) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _check_connected(i: np.ndarray, j: np.ndarray, outcomes: np.ndarray, names: list[Hashable]) -> None:
    """Strengths are finite only if wins and ties lead from every player to every other (Ford 1957)."""
    better, worse = (
        np.concatenate([i[outcomes > 0], j[outcomes < 1]]),
        np.concatenate([j[outcomes > 0], i[outcomes < 1]]),
    )
    graph = coo_array((np.ones(len(better)), (better, worse)), shape=(len(names), len(names)))
    groups, group_of = connected_components(graph, connection="weak")
    if groups > 1:
        apart = [name for name, group in zip(names, group_of, strict=True) if group != group_of[0]]
        rest = [name for name, group in zip(names, group_of, strict=True) if group == group_of[0]]
        raise ValueError(
            f"The comparisons fall into {groups} groups that never met: {_listed(rest)} | {_listed(apart)}.\n"
            "Expected every player to be connected to every other, so that one scale holds them all.\n"
            "Compare players of both groups, fit each group alone, or state a prior (prior_sd=1.0)."
        )
    groups, group_of = connected_components(graph, connection="strong")
    if groups > 1:
        beaten = set(group_of[worse[group_of[better] != group_of[worse]]])
        top = next(group for group in range(groups) if group not in beaten)
        never = [name for name, group in zip(names, group_of, strict=True) if group == top]
        rest = [name for name, group in zip(names, group_of, strict=True) if group != top]
        raise ValueError(
            f"{_listed(never)} never lost to or tied with {_listed(rest)}: the strength has no finite estimate.\n"
            "Expected wins and losses (or ties) in both directions between any two groups of players.\n"
            "Add comparisons, or state a prior (prior_sd=1.0)."
        )


def _check_bounded(fit: TieModel, names: list[Hashable]) -> None:
    """With a tie parameter Ford's condition is not enough: one win and one tie fit best at infinite distance."""
    direction = direction_without_end(fit.conditions())
    if direction is None:
        return
    moved = np.append(0.0, direction[:-1])
    top = [name for name, way in zip(names, moved, strict=True) if way > moved.min() + 1e-6]
    raise ValueError(
        f"The strength of {_listed(top)} and the tie parameter have no finite estimate: the fit improves for ever as "
        "both grow (wins and ties, no losses).\nExpected losses too, or ties='half', or a stated prior (prior_sd=1.0)."
    )
