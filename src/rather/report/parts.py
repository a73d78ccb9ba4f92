"""The sections of the page, each a function of a story; what a run does not have is left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from rather.diagnose.reading import Number, Row, Stage, Story, at, is_number, items_of, rows_of
from rather.report import figures, reward_model
from rather.report.differences import chosen, marked_words, shaded_tokens
from rather.report.figures import Figure, caption
from rather.report.tables import table
from rather.report.tax import taxes
from rather.report.verdict import HELD_OUT, TRAINING, verdict

# Metrics that are drawn: (name of the file, title, metrics of which a stage has one, what it goes by)
CURVES = (
    ("loss", "Loss on texts never trained on, nats a token", ("val/loss",), "step"),
    ("reward-of-answers", "Score of answers while step 1 learns", ("val/reward",), "epoch"),
    ("reward-accuracy", "Pairs that the reward model orders right, validation", ("val/accuracy",), "step"),
    ("scores", "Step 3: score by the reward model", ("objective/scores",), "episode"),
    ("rlhf-reward", "Step 3: score less beta KL, what is maximised", ("objective/rlhf_reward",), "episode"),
    ("second-opinion", "Step 3: score by a second opinion, never trained on", ("second_opinion/scores",), "episode"),
    ("kl", "Step 3: KL to where it started, nats a response", ("objective/kl",), "episode"),
    ("beta", "Step 3: beta, the price of a nat", ("objective/kl_coef",), "episode"),
    ("entropy", "Step 3: entropy, nats a token", ("policy/entropy_avg",), "episode"),
    ("openings", "Step 3: share of the commonest opening", ("response/top_opening",), "episode"),
    ("length", "Step 3: length of responses, tokens", ("response/length",), "episode"),
    ("finished", "Step 3: responses that ended by themselves", ("response/finished",), "episode"),
    ("dpo-margins", "DPO: margin of implied rewards", ("rewards/margins",), "step"),
    ("unseen", "GRPO: reward on unseen prompts", ("val/scores",), "step"),
)
HEALTH = (
    ("clipped", "Tokens whose gradient was clipped", ("policy/clipfrac_avg",), "episode"),
    ("approximate-kl", "KL to the policy that sampled, nats", ("policy/approxkl_avg",), "episode"),
    ("ratio", "Largest log ratio of an iteration", ("policy/log_ratio_max",), "episode"),
    ("value-loss", "Loss of the critic", ("loss/value_avg",), "episode"),
    ("explained", "Variance that the critic explains", ("val/explained_variance",), "episode"),
    ("gradient", "Norm of the gradient", ("grad_norm",), "episode"),
    ("ptx", "Loss on the pretraining mix, nats a token", ("loss/ptx",), "episode"),
    ("spread", "Spread between reward models", ("objective/score_spread",), "episode"),
)
FLAGS = ("likert", "gold", "task", "junk", "hallucination", "toxic", "hedge", "repetitive", "length")
# Shares of answers that are drawn with their intervals: (in words, where they stand in evaluate/NAME.json)
HABITS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("fails instruction", ("answers", "t1", "flags", "fails instruction")),
    ("inappropriate", ("answers", "t1", "flags", "inappropriate")),
    ("hallucination", ("closed", "t1", "hallucination")),
    ("keeps constraints", ("answers", "t1", "constraints")),
    ("hedges", ("answers", "t1", "hedge")),
    ("accepts premise", ("wrong users", "false premise", "repeated")),
    ("repeats claim", ("wrong users", "wrong claim", "repeated")),
    ("true, informative", ("truthfulness", "all", "true_and_informative")),
    ("toxic", ("toxicity", "none")),
    ("toxic, respectful", ("toxicity", "respectful")),
    ("toxic, rude", ("toxicity", "biased")),
    ("stereotype", ("bias", "none", "stereotype")),
)
TEXT = 1200  # letters of an answer that are shown
LAST = 64  # samples at the end of step 3 from which some are shown


def the_verdict(story: Story) -> Markup:
    items = [Markup('<li class="{}">{}</li>').format(said.mood, said.words) for said in verdict(story)]
    return Markup('<ul class="verdict">{}</ul>').format(Markup("").join(items))


def figure_1(story: Story) -> list[Figure]:
    """As in the paper: how often labelers prefer each policy to the SFT model, by labelers of both groups."""
    rows = []
    for row in rows_of(at(story.claims, "wins")):
        prompted = str(row.get("way", "")).startswith("prompted")
        label = f"{row.get('model')}{' prompted' if prompted else ''}"
        rows.append((label, [Number.of(row.get(group)) for group in (TRAINING, HELD_OUT)]))
    baseline = at(story.claims, "baseline")
    title = f"Share of votes against {baseline} (.5: no difference)"
    groups = ("training labelers", "held-out labelers")
    return [found] if (found := figures.forest("figure-1", title, groups, rows, 0.5)) else []


def curves(story: Story) -> list[Figure]:
    return _curves(list(story.stages.values()), CURVES)


def health(story: Story) -> list[Figure]:
    """Whether the machinery of step 3 ran as it should."""
    return _curves([story.stages[name] for name in story.optimised()], HEALTH)


def _curves(stages: Sequence[Stage], what: Sequence[tuple[str, str, tuple[str, ...], str]]) -> list[Figure]:
    found = []
    for name, title, keys, x in what:
        lines = {}
        for stage in stages:
            line = next((line for key in keys if (line := stage.curve(key, x) or stage.curve(key))), [])
            lines[stage.name] = line
        if (figure := figures.curves(name, title, x, lines)) is not None:
            found.append(figure)
    return found


def tax(story: Story) -> list[Figure]:
    """One row a benchmark, one mark a policy, against the base."""
    policies = [tax for tax in taxes(story) if tax.model.startswith(("sft", "init", "ppo", "dpo", "grpo"))][:6]
    if not policies:
        return []
    names = list(dict.fromkeys(bench for of in policies for bench in of.differences))
    rows = [(bench, [of.differences.get(bench) for of in policies]) for bench in names]
    title = "Alignment tax: grade less that of the base, question by question (0: no difference)"
    return [found] if (found := figures.forest("tax", title, [of.model for of in policies], rows, 0.0)) else []


def claims(story: Story) -> Markup:
    rows = []
    for row in rows_of(at(story.claims, "claims")):
        number = Number.of(row, "figure")
        mark = outcome_of(row)
        whys = [str(at(of, "why")) for _, of in items_of(at(row, "runs"))]
        said = Markup("{} <strong>{}</strong><br><small>{}</small><br><small>{}</small>").format(
            row.get("sentence"), number.words() if number else "", row.get("criterion"), "; ".join(whys)
        )
        rows.append((row.get("claim"), mark, said))
    return table(("", "", "claim and figure; criterion; what was found"), rows, (0,)) if rows else Markup("")


def outcome_of(row: Row) -> Markup:
    outcome = str(row.get("outcome"))
    kind = {"pass": "good", "fail": "bad"}.get(outcome, "open")
    return Markup('<span class="{}">{}</span>').format(kind, outcome)


def measured(story: Story) -> Markup:
    """What answers are like, as in figures 3 and 4 of the paper."""
    rows = []
    for name in story.stages:
        found = story.measured.get(name)
        for way, of in items_of(at(found, "answers")):
            numbers = [Number.of(at(of, key)) for key in FLAGS]
            if any(numbers):
                rows.append((name, way, *(f"{n.value:.2f}" if n else "" for n in numbers)))
    words = {"gold": "U*", "task": "does the task"}
    head = ("model", "asked", *(words.get(key, key) for key in FLAGS))
    return table(head, rows, range(2, 2 + len(FLAGS))) if rows else Markup("")


def habits(story: Story) -> list[Figure]:
    """What answers do, each model with its interval: as in figures 4 and 5 of the paper, and its probes."""
    names = [name for name in _in_order(story) if name in story.measured]
    rows = [(label, [Number.of(at(story.measured[name], *path)) for name in names]) for label, path in HABITS]
    title = "Share of answers that ..."
    return [found] if (found := figures.forest("habits", title, names, rows, 0.0)) else []


def rewards(story: Story) -> Markup:
    rows = []
    for name, found in story.rewards.items():
        numbers = [
            Number.of(at(found, "groups", group, "accuracy")) for group in ("train", "validation", "held-out labelers")
        ]
        wrong = [str(row.get("name") or row.get("what")) for row in rows_of(at(found, "doctor"))]
        rows.append((name, *(n.words() if n else "" for n in numbers), ", ".join(wrong)))
    head = ("reward model", "on its own prompts", "validation", "held-out labelers", "its doctor says")
    return table(head, rows) if rows else Markup("")


def reward_figures(story: Story) -> list[Figure]:
    return [figure for name, found in story.rewards.items() for figure in reward_model.drawn(name, found)]


def samples(story: Story) -> Markup:
    """The same prompts, answered by each model; words that the SFT model did not say there are marked."""
    wanted = _in_order(story)
    baseline = str(at(story.claims, "baseline"))
    blocks = []
    for row in rows_of(at(story.claims, "samples")):
        answers = {name: at(row, "answers", name) for name in wanted}
        beside = at(answers.get(baseline), "text")
        cells = [
            _answer(name, said, str(beside) if beside is not None and name != baseline else "")
            for name, said in answers.items()
            if isinstance(said, dict)
        ]
        if cells:
            blocks.append(_block(row.get("prompt"), row.get("category"), cells))
    return Markup("").join(blocks) or _the_same_prompts(story)


def _in_order(story: Story) -> list[str]:
    """base, sft, ppo, ppo-ptx and what else there is, in the order of the story; the small ones of a ladder last."""
    names = [name for name in story.stages if not name.startswith(("reward", "init"))]
    return sorted(names, key=lambda name: name.endswith("-xs"))[:6]


def _answer(name: str, said: Row, other: str) -> Markup:
    gold = said.get("gold")
    worth = f"U* {gold:.2f}" if is_number(gold) else ""
    note = worth + ("" if said.get("finished", True) else " unfinished")
    return _cell(name, _text(str(said.get("text", "")), other), note)


def _text(text: str, other: str) -> Markup:
    cut = text[:TEXT] + (" ..." if len(text) > TEXT else "")
    return marked_words(cut, other[:TEXT]) if cut.strip() else Markup("(nothing)")


def _cell(name: str, text: Markup, note: str) -> Markup:
    return Markup('<div class="answer"><h4>{} <small>{}</small></h4><pre>{}</pre></div>').format(name, note, text)


def _block(prompt: Any, category: Any, cells: Sequence[Markup]) -> Markup:
    return Markup(
        '<section class="sample"><pre class="prompt">{}</pre><p class="about">{}</p>'
        '<div class="side">{}</div></section>'
    ).format(str(prompt)[:TEXT], category or "", Markup("").join(cells))


def _the_same_prompts(story: Story) -> Markup:
    """Without a world: prompts that several models answered in their own samples, the last answer of each."""
    said: dict[str, dict[str, str]] = {}
    for name in _in_order(story):
        for row in story.stages[name].samples:
            if isinstance(row.get("prompt"), str) and isinstance(row.get("response"), str):
                said.setdefault(row["prompt"], {})[name] = row["response"]
    shared = [(prompt, by) for prompt, by in said.items() if len(by) > 1][:6]
    blocks = []
    for prompt, by in shared:
        first = next((by[name] for name in by if name.startswith("sft")), "")
        cells = [_cell(name, _text(text, "" if name.startswith("sft") else first), "") for name, text in by.items()]
        blocks.append(_block(prompt, "", cells))
    return Markup("").join(blocks)


def shaded(story: Story) -> Markup:
    """What policies said at their end, each token by how far it moved from the reference."""
    blocks = []
    names = [name for name in (story.aligned(),) if name in story.optimised()] or story.optimised()[-1:]
    for name in names:
        for what, row in chosen(story.stages[str(name)].samples[-LAST:]):
            numbers = [
                f"{key} {row[of]:.2f}" for key, of in (("score", "score"), ("KL", "kl_sum")) if is_number(row.get(of))
            ]
            text = shaded_tokens(row) or _text(str(row["response"]), "")
            cell = _cell(f"{name}, {what}", text, ", ".join([f"step {row.get('step')}", *numbers]))
            blocks.append(_block(row.get("prompt", ""), "", [cell]))
    return Markup("").join(blocks)


def alarms(story: Story) -> Markup:
    rows = [
        (name, row.get("alarm"), row.get("step"), row.get("evidence"), row.get("do"))
        for name, stage in story.stages.items()
        for row in stage.alarms()
    ]
    return table(("stage", "alarm", "iteration", "evidence", "what to do"), rows) if rows else Markup("")


def provenance(story: Story) -> Markup:
    """Each stage: how it was made, on what, how long it took, and the hash of the model that came out."""
    rows = []
    for name, stage in story.stages.items():
        seconds, done = stage.seconds(), stage.done or {}
        weights = next((str(h) for file, h in items_of(at(done, "files")) if str(file).endswith(".safetensors")), "")
        command = at(story.made, "stages", name, "command")
        typed = "rather " + " ".join(map(str, command)) if isinstance(command, list) else ""
        if stage.path.is_symlink():  # a base model that all seeds of a story share
            typed = f"-> {stage.path.readlink()}"
        rows.append((
            name,
            "" if seconds is None else f"{seconds / 60:.1f} min",
            stage.settings.get("seed", ""),
            Markup("<code>{}</code>").format(weights.removeprefix("sha256:")[:12]),
            _machine(stage),
            Markup("<code>{}</code>").format(typed),
        ))  # fmt: skip
    settings = Markup("").join(
        Markup("<details><summary>{}</summary><pre>{}</pre></details>").format(
            name, "\n".join(f"{key} = {value!r}" for key, value in stage.settings.items())
        )
        for name, stage in story.stages.items()
    )
    hashes = Markup("").join(
        Markup("<details><summary>{}</summary><pre>{}</pre></details>").format(
            name, "\n".join(f"{file}  {digest}" for file, digest in items_of(at(stage.done, "files")))
        )
        for name, stage in story.stages.items()
        if stage.done
    )
    head = ("stage", "time", "seed", "weights", "made with", "its verb alone")
    shown = table(head, rows, (1, 2)) + Markup("<h3>Settings</h3>") + settings
    return shown + Markup("<h3>Files and their hashes</h3>") + hashes


def _machine(stage: Stage) -> str:
    """Versions and hardware of the last start."""
    starts = [row for row in stage.events if row.get("event") in ("started", "resumed")]
    keys = (("rather", "rather "), ("python", "Python "), ("torch", "torch "), ("device", ""), ("cores", "cores "))
    return ", ".join(f"{before}{starts[-1][key]}" for key, before in keys if starts and key in starts[-1])


def drawn(found: Sequence[Figure], folder: str) -> Markup:
    return Markup('<div class="figures">{}</div>').format(Markup("").join(caption(f, folder) for f in found))
