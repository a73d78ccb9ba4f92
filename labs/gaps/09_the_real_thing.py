# Parts to write: drift, leashed, best_of_n_drift. Check them: rather labs check 09
# ruff: noqa
"""Lab 9. The real thing: the questions of labs 1 to 8, asked of a language model in the miniature world.

A recipe trains one small model from nothing and goes on from it in seven ways: three leashes, an adaptive one, the
pretraining mix, DPO, best of N. You change a line, run it again, and read the report. All numbers here are estimates.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # sheet.py lies beside the whole labs

import sheet

RECIPE = Path(sheet.__file__).with_name("09_the_real_thing.toml")
ASKED = 200  # prompts that drift and reward are estimated on
# --quick: every stage for a moment. It shows that all works, and no model learns anything.
QUICK = {
    "world": "documents=100 demonstrations=400 reward_prompts=30 ppo_prompts=60 votes=400",
    "base-xs": "tokens=20000 validation_tokens=4000",
    "sft-xs": "epochs=1 max_new_tokens=16 validation_prompts=4",
    "init-xs": "max_new_tokens=16 validation_prompts=4",
    "reward": "epochs=4 validation_share=0.2",
    **dict.fromkeys(("ppo", "ppo-free", "ppo-tight", "ppo-adaptive"), "episodes=32 batch_size=16 minibatch_size=16"),
    "ppo-ptx": "episodes=32 batch_size=16 minibatch_size=16 ptx_length=64",
    "dpo": "max_new_tokens=16",
    "best-of-n": "count=4 samples=4 max_new_tokens=16",
    "measure": "n=16 max_new_tokens=16 questions=2 beliefs=1 openings=2 alike=2 times=4 pages=20",
}


def drift(ours: list[list[float]], reference: list[list[float]]) -> tuple[float, float]:
    """KL from the reference, in nats a response, and its standard error, from the policy's own responses.

    One list of log-probabilities per response, one number per token, of the same tokens under both models.
    """
    raise SystemExit("To write: drift: mean of sum(ours) - sum(reference), and root of (variance, n - 1) / n")


def leashed(reward: float, kl: float, beta: float) -> float:
    """What PPO maximises: the reward less the price of the drift."""
    raise SystemExit("To write: leashed: reward - beta * kl")


def best_of_n_drift(n: int) -> float:
    """How far the best of n samples is from the policy that drew them: ln n - (n - 1) / n, at most."""
    raise SystemExit("To write: best_of_n_drift: ln n - (n - 1) / n")


def train(folder: Path, changes: list[str]) -> list[str]:
    """Run the recipe; the names of the policies it leaves. What has not changed is left as it was."""
    from rather.pipeline import Told, story
    from rather.pipeline_recipe import Recipe

    recipe = Recipe.read(RECIPE, folder, changes)
    story(recipe, Told(lambda step, why: print(f"{step.name:<14}{why.words if why else 'as it was'}"), lambda _: None))
    return [
        step.name for step in recipe.steps if (folder / step.name / "checkpoint").is_dir() and step.verb != "reward"
    ]


def estimates(folder: Path, name: str) -> tuple[float, float, float]:
    """(drift from where PPO begins, its standard error, mean reward) of responses to prompts nobody was trained on."""
    import torch

    from rather.evaluate.asking import encoder_of
    from rather.models.load import load_policy
    from rather.models.logprobs import use_trees
    from rather.models.reward_folder import load_reward_model
    from rather.records import Prompt, read
    from rather.rollout import Sampling, draw_seeds, sample
    from rather.stages.episodes import episodes_of, response_logprobs, response_scores
    from rather.stages.steps import Share

    policy, reference = (load_policy(folder / one / "checkpoint") for one in (name, "init-xs"))
    scorer = load_reward_model(folder / "reward" / "checkpoint").model
    prompts = list(read(folder / "prompts-ppo-validation.jsonl", Prompt))[:ASKED]
    ids = encoder_of(policy).prompts(prompt.prompt for prompt in prompts)
    fits = [at for at, tokens in enumerate(ids) if len(tokens) <= 120]
    seeds = draw_seeds(torch.Generator().manual_seed(0), len(fits), 1)
    drawn = sample(policy, [ids[at] for at in fits], Sampling(max_new_tokens=64), seeds)
    episodes = episodes_of(policy, [prompts[at] for at in fits], drawn, torch.device("cpu"))
    both = []
    for model in (policy.model, reference.model):
        use_trees(model)
        table = response_logprobs(model, episodes.trees, Share(4096), 1.0)
        both.append([row[: int(n)].tolist() for row, n in zip(table, episodes.lengths, strict=True)])
    use_trees(scorer.body)
    return *drift(*both), float(response_scores(scorer, episodes.trees, Share(4096)).mean())


def main(argv: list[str] | None = None) -> None:
    parser = sheet.flags("Lab 9: the real thing, in the miniature world (minutes the first time, seconds after)")
    parser.add_argument("--run", type=Path, default=Path("run/lab-09"), help="folder of the story")
    parser.add_argument(
        "--change", action="append", default=[], metavar="STAGE.KEY=VALUE",
        help="a line of labs/09_the_real_thing.toml, such as ppo.kl_coef=0.05; may be given again",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="each stage for a moment: nothing is learned")
    parser.add_argument("--beta", type=sheet.number(0, 10), default=0.02, help="price of a nat in the last column")
    args = parser.parse_args(argv)
    try:
        from rather.errors import RatherError
    except ImportError:
        raise SystemExit(
            "This lab needs rather itself: `make demo` in the checkout, then . .venv/bin/activate"
        ) from None
    quick = [f"{stage}.{setting}" for stage, settings in QUICK.items() for setting in settings.split()]
    try:
        names = train(args.run, [*quick * args.quick, *args.change])
    except RatherError as error:
        parser.error(str(error))

    print("\npolicy         drift (KL)        reward   true utility           junk   web loss   reward - beta KL")
    points = []
    for name in names:
        kl, error, reward = estimates(args.run, name)
        found = json.loads((args.run / "evaluate" / f"{name}.json").read_text(encoding="utf-8"))
        gold, junk = (found["answers"]["t1"][key] for key in ("gold", "junk"))
        (low, high), web = gold["interval"], found["web"]["per token"]["value"]
        line = f"{name:<14}{kl:6.2f} +- {1.96 * error:4.2f}   {reward:8.2f}   "
        line += f"{gold['value']:5.2f} ({low:5.2f} to {high:5.2f})   {junk['value']:4.2f}   {web:8.3f}   "
        print(f"{line}{leashed(reward, kl, args.beta):16.2f}")
        if not name.startswith("base"):
            points.append((max(kl, 0.0) ** 0.5, reward, gold["value"]))
    curve = json.loads((args.run / "best-of-n" / "curve.json").read_text(encoding="utf-8"))
    print("\nbest of N, nothing trained: N, KL at most, reward, true utility")
    for row in curve["curve"]:
        reward, gold = row["score"]["value"], row["gold"]["value"]
        print(f"{row['n']:4d}   {best_of_n_drift(row['n']):5.2f}   {reward:6.2f}   {gold:6.2f}")
    points.sort()
    curves = {"reward": [(x, y) for x, y, _ in points], "true utility": [(x, y) for x, _, y in points]}
    sheet.plot(args.plot, "What more drift buys", "root of the KL", "reward", curves)
    print(f"\nThe report of the run: {args.run / 'report.html'}")
    print("Which of them would you ship, and which number decides it: the one they were trained on?")


assert drift([[-1.0, -2.0], [-0.5]], [[-1.5, -2.5], [-1.0]]) == (0.75, 0.25)
assert leashed(1.0, 10.0, 0.02) == 0.8
assert round(best_of_n_drift(16), 4) == 1.8351

if __name__ == "__main__":
    sys.exit(sheet.run(main))
