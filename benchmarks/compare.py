"""One comparison: a task on one size at one thread count. Choose the peer's settings, then alternate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from benchmarks.measure import Comparison, cpu, flops_per_second, is_clean, usual_probe
from benchmarks.process import Process, Ready, Step, System, SystemFailed
from benchmarks.sizes import Size
from benchmarks.tasks import Task

LOSS_TOLERANCE = 1e-2  # in bf16
# Relative. The peer's bf16 weights alone move it by a tenth: rank4 mini, 24 pairs at a time, 3.62 in fp32, 4.00 so.
GRADIENT_TOLERANCE = 0.15
TOKENS_TOLERANCE = 0.5  # relative: responses of ragged lengths are drawn, by each system its own
CLOSE = 0.9  # of the best trial: two trials this near are decided by the rounds
FINALISTS = 2

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How much to measure."""

    rounds: int = 5
    turn_seconds: float = 12.0  # a turn is as many whole steps as come nearest, at least one
    warm_seconds: float = 5.0
    trial_seconds: float = 6.0
    candidates: int = 99  # of the peer's settings
    seed: int = 0


QUICK = Plan(rounds=2, turn_seconds=2.0, warm_seconds=1.0, trial_seconds=1.0, candidates=1)


@dataclass
class Runner:
    """A warm process and the length of its turns."""

    process: Process
    turn: int  # steps
    trial: float = 0.0  # needed FLOP/s

    @property
    def name(self) -> str:
        return self.process.system.name


def compare(task: Task, size: Size, threads: int, plan: Plan, peak: float, say: Say, self_test: bool = False) -> dict:
    """The row of results.json. peak: FLOP/s of the best bf16 product at this thread count, in this run."""
    where = {"task": task.name, "size": size.name, "seed": plan.seed, "threads": threads}
    candidates = list(task.peers(size))[: plan.candidates]
    per_unit = task.flops_per_unit(size)
    with ExitStack() as stack:

        def start(system: System) -> Runner:
            process = Process(system, threads, where)
            stack.callback(process.close)
            return warmed(process, plan)

        ours = start(candidates[0] if self_test else task.ours)
        say(f"ours: {_loss(ours.process.ready)}; {ours.turn} steps a turn")
        finalists, trials = choose(candidates, start, plan, lambda rate: f"{rate / per_unit:.4g} {task.unit}", say)
        rounds = alternate(ours, finalists, plan.rounds, say)
        usual = usual_probe([step for each in rounds for steps in each for step in steps])
        judged = [judge([(each[0], each[1 + index]) for each in rounds], usual) for index in range(len(finalists))]
        best = max(range(len(finalists)), key=lambda index: judged[index]["all"].peer or 0.0)
        return _row(task, size, threads, plan, peak, ours.process, finalists[best].process, judged[best]) | {
            "trials": {
                name: runner and {"rate": runner.trial / per_unit, "memory": runner.process.memory}
                for name, runner in trials.items()
            },
            "finalists": [runner.name for runner in finalists],
        }


def warmed(process: Process, plan: Plan) -> Runner:
    """Past the first step, which builds kernels; where that one took long already, its second half is as the next."""
    walls: list[float] = []
    while sum(walls) < plan.warm_seconds or (len(walls) < 2 and walls[0] < plan.turn_seconds):
        walls += [step.wall for step in process.run(1)]
    return Runner(process, max(1, round(plan.turn_seconds / min(walls))))


def choose(
    candidates: Sequence[System], start: Callable[[System], Runner], plan: Plan, show: Callable[[float], str], say: Say
) -> tuple[list[Runner], dict[str, Runner | None]]:
    """The best settings of the peer in this run, or two where one trial cannot tell; and all that were tried.

    A candidate that fails is None there. At most FINALISTS + 1 processes of the peer are alive at a time, for memory.
    """
    finalists: list[Runner] = []
    trials: dict[str, Runner | None] = {}
    for candidate in candidates:
        try:
            runner = start(candidate)
            steps = max(1, round(runner.turn * plan.trial_seconds / plan.turn_seconds))
            runner.trial = flops_per_second(runner.process.run(steps))
        except SystemFailed as failure:
            trials[candidate.name] = None
            say(f"peer, {candidate.name}: failed: {str(failure).strip().splitlines()[-1]}")
            last_failure = failure
            continue
        trials[candidate.name] = runner
        say(f"peer, {candidate.name}: {_loss(runner.process.ready)}; trial {show(runner.trial)}")
        ranked = sorted([*finalists, runner], key=lambda each: -each.trial)
        finalists = [each for each in ranked if each.trial >= CLOSE * ranked[0].trial][:FINALISTS]
        for each in ranked:
            if each not in finalists:
                each.process.close()
    if not finalists:
        raise last_failure
    return finalists, trials


def alternate(ours: Runner, peers: Sequence[Runner], rounds: int, say: Say) -> list[list[list[Step]]]:
    """(round, system, step): in each round every system takes a turn, ours first, while the others sleep."""
    done = []
    for index in range(rounds):
        done.append([runner.process.run(runner.turn) for runner in (ours, *peers)])
        rates = [flops_per_second(steps) for steps in done[-1]]
        say(
            f"round {index + 1} of {rounds}: "
            + ", ".join(f"{rates[0] / rate:.2f}x {p.name}" for rate, p in zip(rates[1:], peers, strict=True))
        )
    return done


def judge(rounds: Sequence[tuple[list[Step], list[Step]]], usual: float) -> dict[str, Any]:
    """The same rounds four ways: undisturbed steps by wall time and by CPU time, and every step by both."""

    def undisturbed(steps: Sequence[Step]) -> list[Step]:
        return [step for step in steps if is_clean(step, usual)]

    clean = [(undisturbed(ours), undisturbed(peer)) for ours, peer in rounds]
    return {
        "clean": Comparison.of(clean),
        "cpu": Comparison.of(clean, cpu),
        "all": Comparison.of(rounds),
        "all_cpu": Comparison.of(rounds, cpu),
        "steps": {
            name: {
                "clean": sum(len(each[side]) for each in clean),
                "all": sum(len(each[side]) for each in rounds),
            }
            for side, name in enumerate(("ours", "peer"))
        },
    }


def _row(
    task: Task, size: Size, threads: int, plan: Plan, peak: float, ours: Process, peer: Process, judged: dict[str, Any]
) -> dict[str, Any]:
    per_unit = task.flops_per_unit(size)
    clean, by_cpu, every, every_cpu = judged["clean"], judged["cpu"], judged["all"], judged["all_cpu"]
    return {
        "name": task.name,
        "size": size.name,
        "threads": threads,
        "unit": task.unit,
        "ours": _per(clean.ours, per_unit),
        "peer": _per(clean.peer, per_unit),
        "peer_name": task.peer,
        "peer_version": version(task.peer),
        "peer_settings": peer.system.name,
        "ratio": clean.ratio,
        "spread": clean.spread,
        "n": clean.n,
        "ratio_cpu": by_cpu.ratio,
        "spread_cpu": by_cpu.spread,
        "ours_all": _per(every.ours, per_unit),
        "peer_all": _per(every.peer, per_unit),
        "ratio_all": every.ratio,
        "spread_all": every.spread,
        "n_all": every.n,
        "ours_all_cpu": _per(every_cpu.ours, per_unit),
        "peer_all_cpu": _per(every_cpu.peer, per_unit),
        "ratio_all_cpu": every_cpu.ratio,
        "spread_all_cpu": every_cpu.spread,
        "steps": judged["steps"],
        "peak_flops": peak,
        "peak_share": _per(clean.ours, peak),
        "peer_peak_share": _per(clean.peer, peak),
        "memory_ratio": _per(ours.memory, peer.memory),
        "memory": {
            who: {"peak": process.memory, "baseline": process.baseline}
            for who, process in (("ours", ours), ("peer", peer))
        },
        "first_batch": {"ours": asdict(ours.ready), "peer": asdict(peer.ready)},
        "same_work": same_work(ours.ready, peer.ready),
        "seed": plan.seed,
        "rounds": plan.rounds,
    }


def same_work(ours: Ready, peer: Ready) -> bool:
    """The first batch has the same loss, gradient norm and tokens, as far as bf16 and chance can tell."""
    return (
        abs(ours.loss - peer.loss) <= LOSS_TOLERANCE * max(1.0, abs(peer.loss))
        and abs(ours.gradient_norm - peer.gradient_norm) <= GRADIENT_TOLERANCE * peer.gradient_norm
        and abs(ours.tokens - peer.tokens) <= TOKENS_TOLERANCE * peer.tokens
    )


def _per(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit


def _loss(ready: Ready) -> str:
    what = f"{ready.tokens} tokens" if ready.tokens else f"gradient norm {ready.gradient_norm:.4f}"
    return f"first batch: loss {ready.loss:.4f}, {what}"
