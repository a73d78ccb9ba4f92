"""The likelihood of wins, ties and losses given the difference d of two log-strengths.

The probability that the first wins, ties, loses is (for davidson up to a common factor)

    half          sigma(d), none, sigma(-d); an observed tie counts as half a win and half a loss
    davidson      exp(d / 2), nu, exp(-d / 2)                        tau = log nu
    rao-kupper    sigma(d - delta), the rest, sigma(-d - delta)      tau = delta = log theta > 0
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import expit, log_expit, logsumexp

TIE_MODELS = ("davidson", "rao-kupper", "half")


class TieModel:
    """The log-likelihood on distinct (first, second, outcome) cells; parameters: strengths but the first, then tau."""

    def __init__(
        self, i: np.ndarray, j: np.ndarray, outcomes: np.ndarray, players: int, ties: str, prior_sd: float | None
    ) -> None:
        """i, j: (N,) players as 0..players-1    outcomes: (N,) 1, 0.5 or 0"""
        cells, self.cell_of_row, self.counts = np.unique(
            np.stack([i, j, (2 * outcomes).astype(int)]), axis=1, return_inverse=True, return_counts=True
        )
        self.cell_of_row = self.cell_of_row.reshape(-1)  # numpy 2.0 keeps a second dimension
        # Where nobody ever ties the tie models are plain Bradley-Terry, with their parameter at the end of its range.
        self.ties, self.model = ties, ties if (outcomes == 0.5).any() else "half"
        self.has_tie = self.model != "half"
        self.outcome = cells[2] / 2  # (cells,)
        met = np.eye(players)[cells[0]] - np.eye(players)[cells[1]]  # (cells, players)
        self.design = met[:, 1:]  # (cells, players - 1)
        self.dimensions = players - 1 + self.has_tie
        self.start = np.zeros(self.dimensions)
        if self.model == "rao-kupper":
            self.start[-1] = 1.0  # delta > 0
        # A normal prior around the players' mean, whichever player is the zero: I - 1/players, without the first row.
        centring = (np.eye(players) - 1 / players)[1:, 1:]
        self.precision = np.zeros((self.dimensions, self.dimensions))
        if prior_sd is not None:
            self.precision[: players - 1, : players - 1] = centring / prior_sd**2

    def _cells(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(cells,) log-likelihood, (cells, 2) its gradient and (cells, 2, 2) Hessian in (d, tau)."""
        d = self.design @ theta[: self.design.shape[1]]
        y = self.outcome
        if self.model == "half":
            value = y * log_expit(d) + (1 - y) * log_expit(-d)
            zero = np.zeros_like(d)
            curve = -expit(d) * expit(-d)
            return value, np.stack([y - expit(d), zero], 1), _matrices(curve, zero, zero)
        tau, tied, sign = theta[-1], y == 0.5, 2 * y - 1
        if self.model == "davidson":
            utilities = np.stack([d / 2, np.full_like(d, tau), -d / 2], 1)  # (cells, win tie loss)
            norm = logsumexp(utilities, axis=1)
            win, tie, loss = np.exp(utilities - norm[:, None]).T
            value = np.where(tied, tau, sign * d / 2) - norm
            gradient = np.stack([(sign - (win - loss)) / 2, tied - tie], 1)
            return (
                value,
                gradient,
                -_matrices((win + loss - (win - loss) ** 2) / 4, -(win - loss) * tie / 2, tie * (1 - tie)),
            )
        if tau <= 0:
            return np.full_like(d, -np.inf), np.zeros((len(d), 2)), np.zeros((len(d), 2, 2))
        # A tie is sigma(d + tau) - sigma(d - tau) = sigma(tau + d) sigma(tau - d) (1 - exp(-2 tau)).
        up, down = expit(-(tau + d)), expit(-(tau - d))
        both = np.stack([up * (1 - up), down * (1 - down)])
        decided = expit(-(sign * d - tau))
        value = np.where(
            tied, log_expit(tau + d) + log_expit(tau - d) + np.log(-np.expm1(-2 * tau)), log_expit(sign * d - tau)
        )
        gradient = np.stack(
            [np.where(tied, up - down, sign * decided), np.where(tied, up + down + 2 / np.expm1(2 * tau), -decided)], 1
        )
        curve = decided * (1 - decided)
        ends = 4 * np.exp(2 * tau) / np.expm1(2 * tau) ** 2
        return (
            value,
            gradient,
            -_matrices(
                np.where(tied, both.sum(0), curve),
                np.where(tied, both[0] - both[1], -sign * curve),
                np.where(tied, both.sum(0) + ends, curve),
            ),
        )

    def _full(self, pairs: np.ndarray) -> np.ndarray:
        """(cells, 2) in (d, tau) to (cells, D) in the parameters."""
        return np.hstack([self.design * pairs[:, :1], pairs[:, 1:][:, : int(self.has_tie)]])

    def surface(self, theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        value, gradient, curve = self._cells(theta)
        weighted = curve * self.counts[:, None, None]
        strengths = self.design.T @ (self.design * weighted[:, :1, 0])
        hessian = np.zeros((self.dimensions, self.dimensions))
        hessian[: len(strengths), : len(strengths)] = strengths
        if self.has_tie:
            hessian[-1, :-1] = hessian[:-1, -1] = self.design.T @ weighted[:, 0, 1]
            hessian[-1, -1] = weighted[:, 1, 1].sum()
        pull = self.precision @ theta
        return (
            float(self.counts @ value - theta @ pull / 2),
            self.counts @ self._full(gradient) - pull,
            hessian - self.precision,
        )

    def row_scores(self, theta: np.ndarray) -> np.ndarray:
        return self._full(self._cells(theta)[1])[self.cell_of_row]  # (N, D)

    def log_likelihood(self, theta: np.ndarray) -> float:
        return float(self.counts @ self._cells(theta)[0])

    def tie_parameter(self, theta: np.ndarray) -> float | None:
        """Davidson's nu, 0 without ties; Rao and Kupper's theta, 1 without ties; None where ties are halves."""
        never = {"half": None, "davidson": 0.0, "rao-kupper": 1.0}[self.ties]
        return math.exp(theta[-1]) if self.has_tie else never

    def conditions(self) -> np.ndarray:
        """(M, D) for `direction_without_end`: no win may lose to a tie (d >= tau), no tie to either (tau >= |d|).

        Davidson's conditions have d / 2 for d; twice his tau gives these.
        """
        d = np.hstack([self.design, np.zeros((len(self.design), 1))])
        tau = np.zeros_like(d)
        tau[:, -1] = 1
        tied, sign = self.outcome == 0.5, (2 * self.outcome - 1)[:, None]
        return np.vstack([(sign * d - tau)[~tied], (tau - d)[tied], (tau + d)[tied]])


def _matrices(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    return np.stack([np.stack([a, b], 1), np.stack([b, c], 1)], 1)  # (cells, 2, 2)
