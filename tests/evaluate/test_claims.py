"""Every claim's arithmetic, on planted numbers small enough to check by hand: it passes, and it fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from rather.diagnose.over_runs import overall
from rather.evaluate.claims import CLAIMS, decided
from rather.evaluate.claims.evidence import Missing
from rather.evaluate.claims.figures import Figure, Verdict, at_least, minus, over, verdict
from rather.evaluate.claims.seeds import Line, table


@dataclass
class Planted:
    """Evidence that somebody wrote down."""

    results: Mapping[str, Any] = field(default_factory=dict)
    won: Mapping[tuple[str, ...], Any] = field(default_factory=dict)
    curves: Mapping[str, Mapping[str, list[float]]] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reports: Mapping[str, Any] = field(default_factory=dict)
    took: Mapping[str, float] = field(default_factory=dict)

    def has(self, name):
        return any(name in names for names in (self.results, self.curves, *self.won))

    def measured(self, name):
        return self._of(self.results, name)

    def wins(self, ours, theirs, way="t1", their_way=""):
        return self._of(self.won, (ours, theirs, way, their_way or way))

    def curve(self, name, *keys):
        found = self._of(self.curves, name)
        return list(zip(*(found[key] for key in keys), strict=True))

    def setting(self, name, key):
        return self._of(self.settings, name).get(key)

    def report(self, name):
        return self._of(self.reports, name)

    def seconds(self, name):
        return self._of(self.took, name)

    def _of(self, where, name):
        if name not in where:
            raise Missing(f"no {name}")
        return where[name]


def about(value: float, half: float = 0.02) -> dict[str, Any]:
    return {"value": value, "interval": [value - half, value + half], "n": 100}


def match(training: float, held_out: float | None = None, gold: float = 0.5, labelers: float = 0.5, gap: float = 0.1):
    held_out = training if held_out is None else held_out
    found = {"training": training, "held-out": held_out, "panels": training - held_out}
    found |= {"gold": gold, "labelers": labelers, "gap": gap}
    return {name: about(value) for name, value in found.items()}


def junk(xs: float, s: float, large: float) -> Planted:
    of = {"base-xs": xs, "base-s": s, "base-l": large}
    return Planted({name: {"answers": {"t1": {"junk": about(value)}}} for name, value in of.items()})


def steps(prompted=(0.7, 0.5), sft=(0.7, 0.5), ppo=(0.6, 0.2)) -> Planted:
    found = [match(win, gold=gold) for win, gold in (prompted, sft, ppo)]
    names = (("base-s", "base-s", "prompted t1", "t1"), ("sft-s", "base-s", "t1", "prompted t1"),
             ("ppo", "sft-s", "t1", "t1"))  # fmt: skip
    return Planted(won=dict(zip(names, found, strict=True)))


def ppo_over_sft(hot: float, labelers: float) -> Planted:
    won = {("ppo", "sft-s", "t1", "t1"): match(hot), ("ppo", "sft-s", "t0.5", "t0.5"): match(0.5, labelers=labelers)}
    return Planted(won=won)


def panels(one: float, other: float) -> Planted:
    pairs = (("sft-xs", "base-l"), ("ppo", "sft-s"))
    by = dict(zip(pairs, (one, other), strict=True))
    return Planted(won={(*pair, "t1", "t1"): match(0.8, 0.8 - by[pair]) for pair in pairs})


def overfitted(losses: list[float], gold: list[float]) -> Planted:
    epochs = [float(epoch) for epoch in range(1, len(losses) + 1)]
    return Planted(curves={"sft-few": {"epoch": epochs, "val/loss": losses, "world/gold": gold}})


LOSSES, GOLD = [0.5, 0.46, *[0.5] * 13, 0.62], [1.5, 1.8, *[1.9] * 13, 2.0]


def right(accuracy: float, agreement: float, ceiling: float = 0.8, drop: float = 0.03) -> Planted:
    reward = {"accuracy": {"training": about(accuracy), "drop": about(drop)}}
    labelers = {"agreement": {"training": {"dropped": about(agreement)}}, "ceiling": {"training": about(ceiling)}}
    return Planted({"reward": reward, "labelers": labelers})


def shuffled(train: float, test: float, seconds: float) -> Planted:
    def of(train, test):
        return {"groups": {"train": {"accuracy": about(train)}, "validation": {"accuracy": about(test)}}}

    reports = {"reward": of(0.9, 0.3), "reward-4000": of(0.73, 0.64), "reward-shuffled": of(train, test)}
    return Planted(
        curves={"reward": {}, "reward-4000": {}}, settings={
            "reward": {"epochs": 9}, "reward-4000": {"epochs": 3, "rankings": "few.jsonl"},
            "reward-shuffled": {"epochs": 2, "rankings": "few.jsonl"},
        },
        reports=reports, took={"reward": 1, "reward-4000": 150, "reward-shuffled": seconds},
    )  # fmt: skip


def sizes(*accuracies: float) -> Planted:
    names = ("reward-250", "reward-1000", "reward-4000")
    return Planted({n: {"accuracy": {"training": about(a)}} for n, a in zip(names, accuracies, strict=True)})


def both(path: str, base: float, aligned: float) -> Planted:
    """The same number of the base and of the aligned model."""

    def nested(value: float) -> Any:
        found: Any = about(value)
        for key in reversed(path.split("/")):
            found = {key: found}
        return found

    return Planted({"base-s": nested(base), "ppo-ptx": nested(aligned)})


def made_up(ppo: float, sft: float, prompted: float) -> Planted:
    of = {"ppo": ("t1", ppo), "sft-s": ("t1", sft), "base-s": ("prompted t1", prompted)}
    return Planted({name: {"closed": {way: {"hallucination": about(value)}}} for name, (way, value) in of.items()})


def toxic(base: tuple[float, float], aligned: tuple[float, float]) -> Planted:
    def of(none, respectful):
        return {"toxicity": {"none": about(none), "respectful": about(respectful)}}

    return Planted({"base-s": of(*base), "ppo-ptx": of(*aligned)})


def scores(**shares: int) -> dict[str, Any]:
    """Ten questions of each benchmark, so many of them right."""
    return {"grades": {name: [1.0] * right + [0.0] * (10 - right) for name, right in shares.items()}}


OWN_BETA = {"ppo": {"kl_coef": 0.02}}


def taxed(
    ppo: dict[str, int], ptx: dict[str, int] | None = None, wins=(0.52, 0.51), beta: dict[str, int] | None = None
):
    results = {"base-s": scores(sums=8, reading=9, knowledge=5), "ppo": scores(**ppo)}
    results |= {} if ptx is None else {"ppo-ptx": scores(**ptx)}
    results |= {} if beta is None else {"ppo-beta-0.2": scores(**beta)}
    names = ("ppo-ptx", "ppo")
    won = {(n, "sft-s", "t1", "t1"): match(w) for n, w in zip(names, wins, strict=True)}
    return Planted(results, won, settings=OWN_BETA)


ALL = {"sums": 8, "reading": 9, "knowledge": 5}
PAID = {"sums": 4, "reading": 6, "knowledge": 5}  # .4 and .3 lost of .8, .9, .5


def best_of(gold: list[float], reward: list[float]) -> Planted:
    lines = [
        {"n": 2**at, "gold": about(g), "reward": about(r)} for at, (g, r) in enumerate(zip(gold, reward, strict=True))
    ]
    return Planted({"reward": {"best of": lines}})


def free(fall: float, rewards: list[float]) -> Planted:
    curves = {"ppo-beta-0": {"objective/scores": rewards}}
    return Planted(won={("init-s", "ppo-beta-0", "t1", "t1"): match(0.9, gold=fall)}, curves=curves)


def betas(*gold: float) -> Planted:
    names = ("ppo-beta-0", "ppo-beta-0.005", "ppo-beta-0.02", "ppo-beta-0.05", "ppo-beta-0.2")  # of .02
    found = {n: {"answers": {"t1": {"gold": about(g)}}} for n, g in zip(names, gold, strict=True)}
    return Planted(found, settings=OWN_BETA)


def controlled(kl: list[float], target: Any = 2.0) -> Planted:
    return Planted(curves={"ppo-adaptive": {"objective/kl": kl}}, settings={"ppo-adaptive": {"kl_target": target}})


def before_and_after(before: Any, after: Any, **won: float) -> Planted:
    return Planted({"sft-s": before, "ppo": after}, {("ppo", "sft-s", "t1", "t1"): match(0.5, **won)})


def diverse(entropy: float, distinct: float) -> dict[str, Any]:
    return {"diversity": {"entropy": about(entropy), "distinct": about(distinct, 1.0)}}


def answers(**values: float) -> dict[str, Any]:
    return {"answers": {"t1": {name: about(value, 0.001) for name, value in values.items()}}}


def agrees(value: float) -> dict[str, Any]:
    return {"wrong users": {"wrong claim": {"repeated": about(value)}}}


def drifts(ppo: list[float], dpo: list[float], rewards: Sequence[float] = (0.0, 1.0)) -> Planted:
    """KL at rewards 0, 1, 2; DPO gets to reward 1 only, unless `rewards` are its own."""
    curves = {"ppo": {"objective/scores": [0.0, 1.0, 2.0], "objective/kl": ppo}}
    curves["dpo"] = {"objective/scores": list(rewards), "objective/kl": dpo}
    return Planted(curves=curves)


def critics(ours: float, theirs: float) -> Planted:
    loss = {"ppo": ours, "ppo-random-value": theirs}
    return Planted(curves={name: {"loss/value_avg": [value] * 10 + [9.0]} for name, value in loss.items()})


XS_L, XS_PROMPTED = ("sft-xs", "base-l", "t1", "t1"), ("sft-xs", "base-l", "t1", "prompted t1")
# number, evidence, outcome, the figure that decides
CASES = [
    (1, Planted(won={XS_L: match(0.88, 0.85)}), "pass", 0.88),
    (1, Planted(won={XS_L: match(0.88, 0.74)}), "fail", 0.74),
    (2, Planted(won={XS_PROMPTED: match(0.66, 0.55)}), "pass", 0.66),
    (2, Planted(won={XS_PROMPTED: match(0.549, 0.6)}), "fail", 0.549),
    (3, junk(0.85, 0.87, 0.88), "pass", 0.85),
    (3, junk(0.85, 0.87, 0.64), "fail", 0.21),  # falls with size
    (3, junk(0.65, 0.59, 0.64), "fail", 0.59),
    (4, steps(), "pass", 0.7),
    (4, steps(ppo=(0.515, 0.2)), "fail", 0.515),  # an interval of +- .02 reaches .5
    (4, steps(prompted=(0.7, 0.01)), "fail", 0.01),
    (5, ppo_over_sft(0.55, 0.01), "pass", 0.55),
    (5, ppo_over_sft(0.56, -0.01), "fail", -0.01),
    (6, panels(0.03, -0.04), "pass", 0.03),
    (6, panels(0.03, -0.06), "fail", -0.06),
    (7, overfitted(LOSSES, GOLD), "pass", 2),
    (7, overfitted([*LOSSES[:-1], 0.5], GOLD), "fail", 0.5 / 0.46),
    (7, overfitted(LOSSES, [*GOLD[:-1], 1.7]), "fail", 1.7 - 1.8),
    (7, overfitted(LOSSES[:9], GOLD[:9]), "not decided", None),
    (8, right(0.712, 0.756), "pass", 0.044),
    (8, right(0.65, 0.756), "fail", 0.106),
    (8, right(0.81, 0.756), "fail", 0.81),  # above the ceiling: something is wrong
    (9, right(0.7, 0.7, drop=0.036), "pass", 0.036),
    (9, right(0.7, 0.7, drop=-0.01), "fail", -0.01),
    (9, right(0.7, 0.7, drop=0.07), "fail", 0.07),
    (10, shuffled(0.82, 0.635, 400), "pass", 0.095),  # gaps .185 and .09; 50 s and 200 s an epoch
    (10, shuffled(0.77, 0.64, 400), "fail", 0.04),
    (10, shuffled(0.9, 0.66, 400), "fail", -0.02),
    (10, shuffled(0.82, 0.635, 180), "fail", 50 / 90),
    (11, sizes(0.6, 0.65, 0.7), "pass", 0.05),
    (11, sizes(0.6, 0.65, 0.64), "fail", -0.01),
    (12, both("truthfulness/question/true_and_informative", 0.2, 0.5), "pass", 2.5),
    (12, both("truthfulness/question/true_and_informative", 0.3, 0.5), "fail", 5 / 3),
    (12, both("truthfulness/question/true_and_informative", 0.05, 0.5), "fail", 0.05),
    (12, both("truthfulness/question/true_and_informative", 0.0, 0.5), "fail", 0.0),
    (13, made_up(0.32, 0.51, 0.79), "pass", 0.32 / 0.79),
    (13, made_up(0.32, 0.5, 0.52), "fail", 0.32 / 0.52),
    (14, toxic((0.86, 0.85), (0.77, 0.12)), "pass", 0.12 / 0.85),
    (14, toxic((0.86, 0.85), (0.43, 0.12)), "fail", -0.43),
    (14, toxic((0.86, 0.85), (0.8, 0.6)), "fail", 0.6 / 0.85),
    (15, both("toxicity/biased", 0.88, 0.97), "pass", 0.09),
    (15, both("toxicity/biased", 0.97, 0.97), "fail", 0.0),
    (16, both("bias/none/stereotype", 0.741, 0.734), "pass", -0.007),
    (16, both("bias/none/stereotype", 0.741, 0.68), "fail", -0.061),
    (17, both("wrong users/false premise/repeated", 0.1, 0.95), "pass", 0.95),
    (17, both("wrong users/false premise/repeated", 0.1, 0.6), "fail", 0.6),
    (18, taxed(PAID), "pass", 0.3),
    (18, taxed({"sums": 4, "reading": 9, "knowledge": 5}), "fail", 0.0),
    (19, taxed(PAID, {"sums": 7, "reading": 8, "knowledge": 5}), "pass", 0.25 / 0.35),  # .3 and .2 back of .4 and .3
    (19, taxed(PAID, {"sums": 6, "reading": 8, "knowledge": 5}), "fail", 0.2 / 0.35),
    (19, taxed(PAID, {"sums": 7, "reading": 8, "knowledge": 5}, wins=(0.47, 0.51)), "fail", -0.04),
    (19, taxed(ALL, ALL), "not decided", None),
    (20, taxed(PAID, {"sums": 7, "reading": 8, "knowledge": 5}, beta={"sums": 5, "reading": 6, "knowledge": 5}),
     "pass", 0.2),
    (20, taxed(PAID, {"sums": 7, "reading": 8, "knowledge": 5}, beta={"sums": 8, "reading": 8, "knowledge": 0}),
     "fail", -0.05),
    (21, best_of([2.7, 2.95, 3.09, 3.05], [1.2, 1.4, 1.6, 1.7]), "pass", 3.09),
    (21, best_of([2.7, 2.95, 3.09, 3.1], [1.2, 1.4, 1.6, 1.7]), "fail", 3.1),
    (21, best_of([2.7, 2.95, 3.09, 3.05], [1.2, 1.4, 1.3, 1.7]), "fail", 1.7),
    (22, free(2.4, [0.0] * 5 + [0.3] * 15), "pass", 2.4),
    (22, free(0.9, [0.0] * 5 + [0.3] * 15), "fail", 0.9),
    (22, free(2.4, [0.0] * 5 + [-0.3] * 15), "fail", -0.3),
    (23, betas(1.0, 2.0, 3.0, 2.9, 2.8), "pass", 3.0),
    (23, betas(1.0, 2.0, 2.5, 2.9, 3.0), "fail", 3.0),
    (23, betas(3.0, 3.0, 2.5, 2.4, 2.0), "fail", 3.0),
    (24, controlled([0.0, 0.5, 1.5, 8.4, 4.0, 2.4]), "pass", 4.2),
    (24, controlled([0.0, 0.5, 1.5, 3.0, 2.0]), "fail", 1.5),
    (24, controlled([0.0, 0.5, 8.4, 6.0]), "fail", 3.0),  # does not return
    (24, controlled([1.5, 8.4, 2.0]), "fail", 0.75),  # no low phase
    (24, controlled([0.0, 8.4], None), "not decided", None),
    (25, before_and_after(diverse(0.38, 11), diverse(0.2, 3)), "pass", 0.2 / 0.38),
    (25, before_and_after(diverse(0.38, 11), diverse(0.2, 6)), "fail", 6 / 11),
    (25, before_and_after(diverse(0.38, 11), diverse(0.3, 3)), "fail", 0.3 / 0.38),
    (26, before_and_after(answers(length=18.7), answers(length=21)), "pass", 21 / 18.7),
    (26, before_and_after(answers(length=18.7), answers(length=20)), "fail", 20 / 18.7),
    (26, before_and_after(answers(length=18.7), answers(length=21), gap=-0.1), "fail", -0.1),
    (27, before_and_after(answers(hedge=0.1), answers(hedge=0.35)), "pass", 3.5),
    (27, before_and_after(answers(hedge=0.1), answers(hedge=0.2)), "fail", 2),
    (27, before_and_after(answers(hedge=0), answers(hedge=0.2)), "not decided", None),
    (28, before_and_after(agrees(0.15), agrees(0.54)), "pass", 3.6),
    (28, before_and_after(agrees(0.15), agrees(0.2)), "fail", 4 / 3),
    (29, drifts([0.0, 0.5, 3.0], [0.0, 0.7]), "pass", 0.2),
    (29, drifts([0.0, 0.9, 3.0], [0.0, 0.7]), "fail", -0.2),
    (29, drifts([0.0, 0.5, 3.0], [0.0, 0.0]), "not decided", None),
    (29, drifts([0.0, 0.5, 3.0], [0.0, 8.0], rewards=[0.0, 4.0]), "pass", 1.0),  # at 2: 4, not the 8 of a step later
    (30, Planted(curves={"grpo": {"val/scores": [0.08, 0.3, 0.55]}}), "pass", 0.47),
    (30, Planted(curves={"grpo": {"val/scores": [0.08, 0.3, 0.35]}}), "fail", 0.27),
    (31, critics(0.2, 0.3), "pass", 0.1),
    (31, critics(0.72, 0.28), "fail", -0.44),
    (32, Planted(won={("ppo-2", "ppo", "t1", "t1"): match(0.5, gold=0.1)}), "pass", 0.1),
    (32, Planted(won={("ppo-2", "ppo", "t1", "t1"): match(0.5, gold=-0.1)}), "fail", -0.1),
]  # fmt: skip


@pytest.mark.parametrize(
    ("number", "evidence", "outcome", "figure"), CASES, ids=[f"{n}-{o}-{at}" for at, (n, _, o, _) in enumerate(CASES)]
)
def test_a_claim_passes_and_fails_by_its_criterion(number, evidence, outcome, figure):
    found = decided(CLAIMS[number - 1], evidence)
    assert found.outcome == outcome, found.why
    assert (found.figure and found.figure.value) == (figure and pytest.approx(figure))


def test_every_claim_is_there_has_been_seen_to_pass_and_to_fail():
    assert [claim.number for claim in CLAIMS] == list(range(1, 33))
    for outcome in ("pass", "fail"):
        assert {number for number, _, seen, _ in CASES if seen == outcome} == set(range(1, 33))


def test_nothing_is_decided_without_evidence_and_each_claim_says_what_it_lacks():
    for claim in CLAIMS:
        found = decided(claim, Planted())
        assert found.outcome == "not decided"
        assert found.figure is None
        assert "no " in found.why or "fewer than" in found.why, claim
    found = decided(CLAIMS[11], Planted({"base-s": {}, "ppo-ptx": {}}))
    assert found.why == "nothing was measured of base-s under truthfulness / question / true_and_informative"


# ---- figures


def test_a_difference_is_as_uncertain_as_both_together():
    found = minus(Figure(0.7, (0.6, 0.8), 40), Figure(0.4, (0.3, 0.5), 30))
    assert found.value == pytest.approx(0.3)
    assert found.interval == pytest.approx((0.3 - 0.02**0.5, 0.3 + 0.02**0.5))
    assert found.n == 30
    assert minus(Figure(1.0), Figure(0.5, (0, 1))).interval is None


def test_a_ratio_to_what_is_known_exactly_is_the_interval_divided():
    found = over(Figure(0.6, (0.5, 0.8)), Figure(0.2, (0.2, 0.2)))
    assert found.value == pytest.approx(3)
    assert found.interval == pytest.approx((2.5, 4))
    # By Fieller's theorem: (6 +- sqrt(36 - (25 - 4 t^2 ...))): symmetric intervals of one part in ten on both sides.
    low, high = over(Figure(1, (0.9, 1.1)), Figure(1, (0.9, 1.1))).interval
    assert low == pytest.approx(1 / high)
    assert over(Figure(1, (0.9, 1.1)), Figure(1, (-3, 3))).interval is None  # may be a ratio to 0


def test_the_first_condition_that_fails_decides_and_all_are_said():
    found = verdict(at_least("one", Figure(0.9, (0.4, 1.0)), 0.5), at_least("two", Figure(0.3), 0.5), note="and more")
    assert found == Verdict("fail", "one 0.9 (>= 0.5) within noise; two 0.3 (>= 0.5); and more", Figure(0.3), "two")


# ---- seeds


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ("p", "pass"), ("f", "fail"), ("n", "not decided"), ("pp", "pass"), ("pf", "fail"), ("pn", "not decided"),
        ("ppf", "pass"), ("pff", "fail"), ("ppn", "pass"), ("pfn", "not decided"), ("ffn", "fail"),
        ("ppff", "fail"), ("pppf", "pass"),
    ],
)  # fmt: skip
def test_two_of_three_seeds_have_to_pass(outcomes, expected):
    names = {"p": "pass", "f": "fail", "n": "not decided"}
    assert overall([names[letter] for letter in outcomes]) == expected


def test_several_runs_are_shown_as_one_line_with_each_run_below():
    lines = table([Planted(won={XS_L: match(0.88)}), Planted(won={XS_L: match(0.7)}), Planted(won={XS_L: match(0.8)})])
    first = lines[0]
    assert isinstance(first, Line)
    assert first.outcome == "pass"
    assert first.figure.value == pytest.approx((0.88 + 0.7 + 0.8) / 3)
    assert first.figure.interval == pytest.approx((0.68, 0.9))
    assert first.figure.n == 300
    said = first.to_dict(["a", "b", "c"])
    assert (said["passed"], said["seeds"], said["runs"]["b"]["outcome"]) == (2, 3, "fail")
    assert lines[31].outcome == "not decided"


def test_figures_of_different_conditions_have_no_mean():
    one, two = (verdict(at_least("a", Figure(0.9, None, 5), 0.5), at_least("b", Figure(b), 0.5)) for b in (0.6, 0.1))
    line = Line(CLAIMS[0], (one, two))
    assert line.outcome == "fail"
    assert line.figure is None
    said = line.to_dict(["x", "y"])
    assert [(of["of"], of["figure"]) for of in said["runs"].values()] == [("a", 0.9), ("b", 0.1)]
    assert said["figure"] is None
    assert Line(CLAIMS[0], (one, one)).figure == Figure(0.9, None, 10)
