"""Rankings about a tiny policy's own words: `from small_preferences import ...`."""

from __future__ import annotations

from small_ppo import TEXTS

from rather.records import Ranking, Response


def ranking(n: int, ranks: tuple[int, ...], labeler: str = "ana") -> Ranking:
    """Responses are the same for every labeler of a prompt; the ranks are theirs."""
    texts = [" ".join(TEXTS[(5 * n + 7 * k) % len(TEXTS)].split()[: 2 + k]) for k in range(len(ranks))]
    responses = tuple(Response(text=f"{text} {k}") for k, text in enumerate(texts))
    return Ranking(id=f"{n}-{labeler}", prompt=TEXTS[n][:9] + str(n), responses=responses, ranks=ranks, labeler=labeler)


# K from 2 to 4, ties, a prompt that two labelers ranked, and one where everything is tied.
RANKINGS = [
    ranking(0, (2, 1, 3, 3)),
    ranking(1, (1, 2)),
    ranking(2, (3, 1, 2)),
    ranking(2, (1, 2, 2), "ben"),
    ranking(3, (1, 1)),
    ranking(4, (2, 1)),
    ranking(5, (4, 2, 1, 3)),
    ranking(6, (1, 2, 3)),
]
HELD = [ranking(7, (1, 2)), ranking(8, (2, 1, 1))]
