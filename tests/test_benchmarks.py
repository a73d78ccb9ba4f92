"""The harness of `make bench`: the same work on both sides, ratios as by hand, disturbed steps told apart."""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1]))  # `benchmarks` is not installed: it lives beside `src`

from benchmarks import generate, generation, ours, ours_grpo, parts
from benchmarks.compare import QUICK, Runner, alternate, choose, compare, judge, same_work, warmed
from benchmarks.generation import GENERATIONS, Generation
from benchmarks.measure import Comparison, cpu, is_clean, usual_probe
from benchmarks.process import Process, Ready, Step, System, SystemFailed, Turns, Work
from benchmarks.run import command, table, write_results
from benchmarks.sizes import SIZES, Size, dpo_flops, group_flops, needed_flops, ranking_flops, sft_flops
from benchmarks.tasks import TASKS, Task
from benchmarks.workload import EOS, LONGEST, PACKED_ROW, WORKLOADS, words

from rather.batches.trees import Tree
from rather.errors import CheckFailed

MINI, GPT2 = SIZES["mini"], SIZES["gpt2"]
FAST = replace(QUICK, turn_seconds=0.05, warm_seconds=0.01, trial_seconds=0.05)
HELD = 20_000_000


# The fake systems: worker processes import them from this file.


def spins(turns: Turns, *, seconds: float, loss: float = 0.7, **_: Any) -> None:
    """Ten units and a thousand FLOPs a step, HELD bytes."""
    held = b"x" * HELD
    turns.ready(loss, 1.0)
    while True:
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            pass
        turns.tick(Work(10, 1000))
    assert held


def breaks(turns: Turns, **_: Any) -> None:
    raise ValueError("no such setting")


def fake(name: str, entry: str, **settings: Any) -> System:
    return System(name, f"test_benchmarks:{entry}", settings)


def fake_task(peers: list[System], ours: System | None = None) -> Task:
    return Task(
        "fake",
        "units/s",
        lambda size: 100.0,
        ours or fake("ours", "spins", seconds=0.002),
        "torch",
        lambda size: peers,
    )


def step(wall: float, flops: float = 1000, *, cpu: float | None = None, probe: float = 1.0) -> Step:
    return Step(Work(1, flops), wall, wall if cpu is None else cpu, probe, probe)


# The work


@pytest.mark.parametrize("task", WORKLOADS)
def test_the_same_seed_gives_the_same_trees_and_another_seed_others(task: str) -> None:
    workload = WORKLOADS[task]
    first, again, other = (workload.trees(MINI, seed, steps=2) for seed in (3, 3, 4))
    flat = [
        [np.concatenate([tree.prompt, *tree.responses]).tolist() for tree in trees] for trees in (first, again, other)
    ]
    assert flat[0] == flat[1] != flat[2]
    assert all(len(tree.responses) == workload.responses for tree in first)


def test_lengths_have_the_stated_means_and_bounds() -> None:
    trees = WORKLOADS["rank9"].trees(MINI, seed=0)
    prompts = [len(tree.prompt) for tree in WORKLOADS["sft"].trees(MINI, seed=0)]
    responses = [len(response) for tree in trees for response in tree.responses]
    assert np.mean(prompts) == pytest.approx(96, rel=0.05)
    assert np.mean(responses) == pytest.approx(48, rel=0.05)
    assert min(prompts + responses) >= 2
    assert max(prompts + responses) <= LONGEST
    assert 2 * LONGEST <= PACKED_ROW, "a packed row holds the longest demonstration"


def test_a_response_ends_in_its_only_eos_and_words_follow_zipf() -> None:
    trees = WORKLOADS["sft"].trees(MINI, seed=0)
    assert all((tree.responses[0] == EOS).nonzero()[0].tolist() == [len(tree.responses[0]) - 1] for tree in trees)
    counts = np.bincount(np.concatenate([tree.prompt for tree in trees]), minlength=MINI.vocab)
    assert counts[0] == counts[EOS] == 0
    assert counts[2] / counts[3] == pytest.approx(2, rel=0.1), "the first word is twice as frequent as the second"
    assert counts[2] / counts[11] == pytest.approx(10, rel=0.15)


def test_needed_flops_of_the_two_sizes() -> None:
    assert (MINI.body_flops, MINI.head_flops) == (12_582_912, 2_097_152)
    assert (GPT2.body_flops, GPT2.head_flops) == (169_869_312, 77_194_752)


def test_needed_flops_count_the_prompt_once() -> None:
    tree = Tree(np.arange(2, 7), (np.array([2, 1]), np.array([2, 3, 1])))  # P = 5, responses of 2 and 3
    b, h = MINI.body_flops, MINI.head_flops
    assert ranking_flops(MINI, tree) == 3 * (5 + 2 + 3) * b
    assert dpo_flops(MINI, tree, known=False) == 4 * ((5 + 2 + 3) * b + (2 + 3) * h)
    assert needed_flops("dpo-known", MINI, [tree]) == 3 * ((5 + 2 + 3) * b + (2 + 3) * h), "no reference in the step"
    assert sft_flops(MINI, tokens=7, response_tokens=2) == 3 * (7 * b + 2 * h)
    learned = 4 * ((5 + 2 + 3) * b + (2 + 3) * h)
    assert needed_flops("grpo-update", MINI, [tree]) == learned
    assert needed_flops("grpo", MINI, [tree]) == learned + (5 + 1 + 2) * b + (2 + 3) * h, "and it draws the responses"
    assert group_flops(MINI, 5, [2, 3], drawn=False) == learned
    one = Tree(tree.prompt, tree.responses[:1])
    assert needed_flops("sft", MINI, [one, one]) == 2 * sft_flops(MINI, 7, 2)


# Generation


@pytest.mark.parametrize("task", GENERATIONS)
def test_a_token_of_generation_needs_the_prompt_once_for_all_samples(task: str) -> None:
    job = GENERATIONS[task]
    prompt_tokens = sum(map(len, job.prompts_of(MINI, 0)))
    responses = job.prompts["mini"] * job.samples
    tokens = responses * job.mean_length(MINI)
    assert job.flops_per_token(MINI) * tokens == pytest.approx(
        (prompt_tokens + tokens - responses) * MINI.body_flops + tokens * MINI.head_flops
    )
    assert [p.tolist() for p in job.prompts_of(MINI, 3)] == [p.tolist() for p in job.prompts_of(MINI, 3)]
    assert job.mean_length(MINI) == pytest.approx({"generate-ragged": 38.4}.get(task, 48), abs=0.1)
    assert len(job.stops(MINI)) == {"generate-ragged": 103}.get(task, 0)


TINY = Size("tiny", "llama", vocab=64, hidden=32, layers=2, heads=2, mlp=32)
TINY_JOBS = {
    "equal": Generation("equal", {"tiny": 4}, 1, {"tiny": 6}),
    "ragged": Generation("ragged", {"tiny": 70}, 1, {"tiny": 30}, stop_every=10),
    "g8": Generation("g8", {"tiny": 3}, 8, {"tiny": 6}),
}


@pytest.mark.parametrize("task", TINY_JOBS)
@pytest.mark.parametrize(
    "system",
    [
        generate.sampler,
        partial(generate.in_batches, cache="static"),
        partial(generate.in_batches, cache="dynamic"),
        generate.continuously,
    ],
    ids=["ours", "static", "dynamic", "continuous"],
)
def test_every_system_says_as_much_to_the_same_prompts_and_ends_where_it_should(system: Any, task: str) -> None:
    job = TINY_JOBS[task]
    prompts = job.prompts_of(TINY, 0)
    said = system(generate.bf16_model(TINY, 0), job, TINY, prompts)(5)
    assert sorted(p.tolist() for p, _ in said) == sorted(p.tolist() for p in prompts for _ in range(job.samples))
    stops = set(job.stops(TINY))
    for _, response in said:
        assert not stops & set(response[:-1])
        assert len(response) == 30 or response[-1] in stops if stops else len(response) == 6
    assert generate.count(said) == pytest.approx(job.mean_length(TINY) * len(said), rel=0.5 if stops else 0)
    # Random weights give each of 64 words nearly the same chance: a little less than log 64 is surprise enough.
    assert 3.9 < generate.surprise(generate.bf16_model(TINY, 0), said[:16]) < 4.3


def test_what_a_batch_adds_after_the_end_is_cut() -> None:
    assert generate.cut([5, 9, 1, 0, 0], [1, 7]) == [5, 9, 1]
    assert generate.cut([5, 9, 2], [1, 7]) == [5, 9, 2]


# GRPO

SMALL = replace(TINY, name="mini")  # which says how many examples make a step


class TwoSteps:
    """In the place of the harness: what a system said, until it has done two steps."""

    def __init__(self) -> None:
        self.said: list[Ready] = []
        self.done: list[Work] = []

    def ready(self, loss: float, gradient_norm: float = 0.0, tokens: int = 0) -> None:
        self.said.append(Ready(loss, gradient_norm, tokens))

    def tick(self, work: Work) -> None:
        self.done.append(work)
        if len(self.done) == 2:
            sys.exit()


def two_steps(run: Any, task: str, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> TwoSteps:
    monkeypatch.setitem(SIZES, "mini", SMALL)
    turns = TwoSteps()
    with pytest.raises(SystemExit):
        run(turns, task=task, size="mini", seed=0, threads=1, **settings)
    return turns


def test_our_grpo_learns_from_the_given_groups_in_the_order_of_the_workload(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = two_steps(ours_grpo.run, "grpo-update", monkeypatch)
    (said,) = turns.said
    assert said.loss == pytest.approx(0, abs=1e-6), "advantages of a group add up to 0, and the reference is the policy"
    assert said.gradient_norm > 0.01
    batches = WORKLOADS["grpo-update"].batches(SMALL, seed=0)
    assert turns.done == [Work(8, needed_flops("grpo-update", SMALL, batch)) for batch in batches[1:3]]


def test_our_grpo_draws_as_long_as_the_die_says(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = two_steps(ours_grpo.run, "grpo", monkeypatch)
    (said,) = turns.said
    assert 3.9 < said.loss < math.log(64), "random weights know little of what comes next"
    stops = 1 + len(generation.GRPO.stops(SMALL))  # of 63 words that may be drawn
    assert said.tokens / 64 == pytest.approx(63 / stops, rel=0.4)
    assert [work.units for work in turns.done] == [8, 8]


def test_a_group_that_is_drawn_is_41_words_long_on_average() -> None:
    assert generation.GRPO.mean_length(MINI) == pytest.approx(41.6, abs=0.1)
    assert generation.GRPO.prompts == WORKLOADS["grpo"].per_step


# Judging steps


def test_a_step_between_two_usual_probes_is_clean_and_any_other_is_not() -> None:
    assert is_clean(step(1.0, probe=0.9), usual_probe=1.0)
    assert not is_clean(step(1.0, probe=0.7), usual_probe=1.0)
    assert not is_clean(replace(step(1.0), probe_after=0.7), usual_probe=1.0)
    assert not is_clean(step(1.0, cpu=0.8), usual_probe=1.0), "it was kept waiting for a fifth of its time"
    assert is_clean(step(1.0, cpu=1.9), usual_probe=1.0), "two threads"


def test_the_usual_probe_is_neither_the_mean_nor_one_burst() -> None:
    assert usual_probe([step(1.0, probe=1.0)] * 19 + [step(1.0, probe=9.0)]) == 1.0
    assert usual_probe([step(1.0, probe=1.0)] * 15 + [step(1.0, probe=0.3)] * 5) == 1.0


def test_the_ratio_is_the_median_over_rounds_with_the_lowest_and_the_highest() -> None:
    ours = [[step(1.0)], [step(1.0)], [step(2.0)]]
    peer = [[step(4.0)], [step(3.0)], [step(4.0)]]
    found = Comparison.of(list(zip(ours, peer, strict=True)))
    assert (found.ratio, found.spread, found.n) == (3.0, (2.0, 4.0), 3)
    assert (found.ours, found.peer) == (1000, 250)


def test_a_rate_is_of_needed_work_so_a_long_example_is_not_a_slow_step() -> None:
    found = Comparison.of([([step(1.0, flops=1000), step(3.0, flops=3000)], [step(2.0, flops=1000)])])
    assert found.ratio == 2.0


def test_a_disturbed_step_is_left_out_of_the_ratio_and_kept_in_the_other() -> None:
    rounds = [([step(1.0), step(9.0, probe=0.2)], [step(4.0)]), ([step(1.0)], [step(4.0, probe=0.2)])]
    judged = judge(rounds, usual=1.0)
    assert (judged["clean"].ratio, judged["clean"].n) == (4.0, 1), "the second round has no clean step of the peer"
    assert (judged["all"].ratio, judged["all"].n) == (pytest.approx((0.8 + 4.0) / 2), 2)
    assert judged["steps"] == {"ours": {"clean": 2, "all": 3}, "peer": {"clean": 1, "all": 2}}


def test_a_ratio_by_cpu_time_does_not_see_the_wait() -> None:
    rounds = [([step(1.0, cpu=1.0)], [step(4.0, cpu=2.0)])]
    assert (Comparison.of(rounds).ratio, Comparison.of(rounds, cpu).ratio) == (4.0, 2.0)
    judged = judge([([step(1.0, cpu=0.5)], [step(4.0, cpu=1.5)])], usual=1.0)
    assert judged["cpu"].ratio is None, "both were kept waiting"
    assert judged["all_cpu"].ratio == 3.0


def test_without_a_clean_round_there_is_no_ratio() -> None:
    assert Comparison.of([([], [step(1.0)])]) == Comparison(None, None, None, None, 0)


def test_the_same_work_is_the_same_loss_and_gradient_as_far_as_bf16_can_tell() -> None:
    assert same_work(Ready(8.3357, 4.1887), Ready(8.3391, 4.2))
    assert not same_work(Ready(0.71, 1.0), Ready(0.73, 1.0))
    assert not same_work(Ready(0.7, 1.0), Ready(0.7, 2.0)), "equal losses say nothing when the weights tell nothing"
    assert same_work(Ready(8.32, tokens=9_800), Ready(8.35, tokens=10_400)), "lengths are drawn"
    assert not same_work(Ready(8.32, tokens=9_800), Ready(8.35, tokens=30_000)), "one went on after the end"


# Processes


def test_a_process_does_as_many_steps_as_it_is_told_and_sleeps_between() -> None:
    with Process(fake("sleeper", "spins", seconds=0.005), threads=1) as process:
        assert process.ready == Ready(0.7, 1.0)
        runner = warmed(process, FAST)
        assert len(process.run(3)) == 3
        time.sleep(0.5)
        (alone,) = process.run(1)
        rounds = alternate(runner, [runner], 2, lambda line: None)
    assert alone.work == Work(10, 1000)
    assert 0.005 <= alone.wall < 0.5, "the wait between turns is nobody's step"
    assert min(alone.cpu, alone.probe_before, alone.probe_after) > 0
    assert process.baseline > process.memory > HELD / 2, "what the libraries take is not counted, what a step holds is"
    assert [[len(steps) for steps in each] for each in rounds] == [[runner.turn] * 2] * 2


def test_a_failing_system_is_named_with_what_it_raised() -> None:
    with pytest.raises(SystemFailed, match=r"(?s)broken raised:.*no such setting"):
        Process(fake("broken", "breaks"), threads=1)


def test_two_fake_systems_are_compared_and_the_faster_settings_of_the_peer_count() -> None:
    slow, fast = fake("slow", "spins", seconds=0.1), fake("fast", "spins", seconds=0.005)
    said: list[str] = []
    plan = replace(FAST, rounds=3, candidates=9)
    row = compare(fake_task([slow, fake("broken", "breaks"), fast]), MINI, 1, plan, 1e6, said.append)
    assert row["peer_settings"] == "fast"
    assert row["trials"]["broken"] is None
    assert row["trials"]["slow"]["rate"] < row["trials"]["fast"]["rate"]
    assert row["ratio_all"] > 0
    assert row["n_all"] == 3
    assert row["same_work"]
    assert any("broken: failed" in line and "no such setting" in line for line in said)


def test_when_every_candidate_fails_so_does_the_comparison() -> None:
    def start(system: System) -> Runner:
        raise SystemFailed(f"{system.name}: no memory")

    said: list[str] = []
    with pytest.raises(SystemFailed, match="b: no memory"):
        choose([fake("a", "breaks"), fake("b", "breaks")], start, FAST, str, said.append)
    assert len(said) == 2


# The command and its files

SCHEMA = {"name", "size", "threads", "unit", "ours", "peer", "peer_version", "ratio", "peak_share", "memory_ratio", "n"}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.run.Plan", lambda: FAST)
    monkeypatch.setattr("benchmarks.run.peak_flops", lambda threads, sizes: 1e6)


@pytest.mark.usefixtures("small")
def test_the_command_writes_results_says_one_json_object_and_fails_where_the_work_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TASKS, "fake", fake_task([fake("peer", "spins", seconds=0.004, loss=0.9)]))
    out = tmp_path / "results.json"
    ran = CliRunner().invoke(
        command, ["--tasks", "fake", "--sizes", "mini", "--threads", "1", "--out", str(out), "--json"]
    )
    assert isinstance(ran.exception, CheckFailed)
    (row,) = json.loads(out.read_text())
    assert json.loads(ran.stdout)["results"] == [row]
    assert (row["name"], row["size"], row["threads"]) == ("fake", "mini", 1)
    assert set(row) >= SCHEMA
    assert "NOT THE SAME WORK" in table([row])
    assert "round 1 of" in ran.stderr


@pytest.mark.usefixtures("small")
def test_a_self_test_compares_the_peer_with_itself_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = fake("ours", "breaks")  # never started
    monkeypatch.setitem(TASKS, "fake", fake_task([fake("peer", "spins", seconds=0.004)], ours))
    monkeypatch.setattr("benchmarks.run.RESULTS", tmp_path / "results.json")
    ran = CliRunner().invoke(command, ["--tasks", "fake", "--sizes", "mini", "--threads", "1", "--self-test"])
    assert ran.exception is None
    assert "fake  mini  1" in ran.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--tasks", "stf"], "there is no 'stf'. Did you mean 'sft'?"),
        (["--sizes", "huge"], "Expected some of: mini, gpt2"),
        (["--threads", "1,x"], "'1,x' is not a list of thread counts"),
        (["--threads", "0"], "'0' is not a list of thread counts"),
    ],
)
def test_a_wrong_option_is_told_before_anything_runs(args: list[str], says: str) -> None:
    assert says in str(CliRunner().invoke(command, args).exception)


def test_a_missing_peer_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "fake", replace(fake_task([]), peer="no_such_package"))
    ran = CliRunner().invoke(command, ["--tasks", "fake"])
    assert "pip install 'rather[peers]'" in str(ran.exception)


def test_results_keep_other_rows_which_say_what_machine_they_are_of(tmp_path: Path) -> None:
    def row(name: str, processor: str, ratio: float) -> dict[str, Any]:
        return {"name": name, "size": "mini", "threads": 1, "ratio": ratio, "machine": {"processor": processor}}

    path = tmp_path / "results.json"
    write_results(path, [row("sft", "A", 1.0), row("dpo", "A", 2.0)])
    write_results(path, [row("sft", "A", 3.0)])
    assert [(each["name"], each["ratio"]) for each in json.loads(path.read_text())] == [("sft", 3.0), ("dpo", 2.0)]
    write_results(path, [row("dpo", "B", 4.0)])
    found = [(each["name"], each["ratio"], each["machine"]["processor"]) for each in json.loads(path.read_text())]
    assert found == [("sft", 3.0, "A"), ("dpo", 4.0, "B")]


# TRL itself


@pytest.mark.peers
@pytest.mark.parametrize("task", ["sft", "rank4", "dpo", "dpo-known"])
def test_the_first_batch_has_the_loss_and_the_gradient_norm_that_trl_finds(task: str) -> None:
    pytest.importorskip("trl")
    from benchmarks import trl_peer  # an extra, not installed everywhere

    size = SMALL
    gradients, adam = ours.LEARNERS[task](size, WORKLOADS[task].batches(size, seed=0), 0)
    mine = Ready(gradients(0), ours.norm_of(adam))
    theirs = Ready(*trl_peer.first_batch(*trl_peer.build(task, size, 0, trl_peer.Settings("fp32", "sdpa"))))
    assert same_work(mine, theirs)
    assert theirs.gradient_norm > 0.01


@pytest.mark.peers
@pytest.mark.parametrize("settings", [{}, {"micro_batch": 16}, {"micro_batch": 8, "apart": True}], ids=str)
def test_trl_s_grpo_finds_our_gradient_norm_in_the_same_work(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trl")
    from benchmarks import trl_grpo  # an extra, not installed everywhere

    mine = two_steps(ours_grpo.run, "grpo-update", monkeypatch)
    how = {"weights": "fp32", "attention": "sdpa", "micro_batch": settings.get("micro_batch")}
    apart = settings.get("apart", False)
    theirs = two_steps(trl_grpo.run, "grpo-update", monkeypatch, settings=how, apart=apart)
    assert same_work(mine.said[0], theirs.said[0])
    assert mine.said[0].gradient_norm == pytest.approx(theirs.said[0].gradient_norm, rel=0.02)
    assert [work.units for work in theirs.done] == [8, 8]
    batches = WORKLOADS["grpo-update"].batches(SMALL, seed=0)
    mean = np.mean([needed_flops("grpo-update", SMALL, batch) for batch in batches])
    assert np.mean([work.flops for work in theirs.done]) == pytest.approx(mean, rel=0.5), "a step is one batch"


@pytest.mark.peers
@pytest.mark.parametrize("cache", ["static", "dynamic", "continuous"])
def test_trl_s_grpo_draws_from_the_same_distribution_and_ends_where_ours_does(
    cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trl")
    from benchmarks import trl_grpo  # an extra, not installed everywhere

    mine = two_steps(ours_grpo.run, "grpo", monkeypatch)
    how = {"weights": "fp32", "attention": "sdpa", "micro_batch": 16}
    theirs = two_steps(trl_grpo.run, "grpo", monkeypatch, settings=how, cache=cache)
    assert same_work(mine.said[0], theirs.said[0])
    assert [work.units for work in theirs.done] == [8, 8]


@pytest.mark.peers
def test_trl_s_grpo_is_given_each_group_whole() -> None:
    pytest.importorskip("trl")
    from benchmarks import trl_grpo  # an extra, not installed everywhere

    trees = WORKLOADS["grpo-update"].batches(SMALL, seed=0)[0][:2]
    asked = [words(tree.prompt) for tree in trees for _ in range(8)]
    given = trl_grpo.Given(trees)(asked, None)
    assert given["prompt_ids"] == [tree.prompt.tolist() for tree in trees for _ in range(8)]
    assert given["completion_ids"] == [response.tolist() for tree in trees for response in tree.responses]


@pytest.mark.peers
@pytest.mark.parametrize("task", ["sft", "rank4", "dpo"])
def test_trl_is_given_the_tokens_of_the_trees(task: str) -> None:
    pytest.importorskip("trl")
    from benchmarks import trl_peer  # an extra, not installed everywhere

    trees = WORKLOADS[task].batches(MINI, seed=0)[0]
    trainer, examples = trl_peer.build(task, MINI, 0, trl_peer.Settings("bf16", "eager"))
    batch = trainer.data_collator(examples)
    expected = {tuple(tree.prompt.tolist() + response.tolist()) for tree in trees for response in tree.responses}
    masks = batch["attention_mask"].bool()
    given = [tuple(ids[mask].tolist()) for ids, mask in zip(batch["input_ids"], masks, strict=True)]
    assert set(given) == expected
    assert len(given) == {"sft": 32, "rank4": 4 * 6 * 2, "dpo": 16 * 2}[task]


@pytest.mark.peers
def test_steps_of_like_length_follow_in_no_order_of_length() -> None:
    pytest.importorskip("trl")
    from benchmarks.trl_peer import by_length

    lengths = [7, 1, 6, 2, 5, 3, 8, 4]
    order = by_length(lengths, per_step=2, seed=0)
    steps = [sorted(lengths[index] for index in order[start : start + 2]) for start in (0, 2, 4, 6)]
    assert sorted(steps) == [[1, 2], [3, 4], [5, 6], [7, 8]]
    assert steps != sorted(steps)
    assert steps != sorted(steps, reverse=True)
    assert order == by_length(lengths, per_step=2, seed=0)


@pytest.mark.peers
@pytest.mark.parametrize("task", WORKLOADS)
@pytest.mark.parametrize("size", SIZES)
def test_the_settings_offered_to_trl_make_up_whole_steps(task: str, size: str) -> None:
    pytest.importorskip("trl")
    from benchmarks import trl_peer

    workload = WORKLOADS[task]
    pairs = {"rank4": 6, "rank9": 36, "grpo": 8, "grpo-update": 8}.get(task, 1)
    for system in TASKS[task].peers(SIZES[size]):
        settings = trl_peer.Settings(**system.settings["settings"])
        per_step = settings.packed_rows or workload.per_step[size] * pairs
        args = trl_peer.arguments(per_step, 0, settings)
        assert args["per_device_train_batch_size"] * args["gradient_accumulation_steps"] == per_step


def test_the_parts_of_a_step_make_up_the_whole():
    said = CliRunner().invoke(parts.command, ["--task", "rank4", "--steps", "1"])
    assert said.exit_code == 0, said.output
    shares = [float(line.split("%")[0]) for line in said.output.splitlines() if "%" in line]
    assert len(shares) == 8
    assert sum(shares) == pytest.approx(100, abs=0.5)
    assert "matrix products of the layers" in said.output
