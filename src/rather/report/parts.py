"""The sections of the page, each a function of a story; what a run does not have is left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from rather.report import figures
from rather.report.figures import Figure, caption
from rather.report.reading import Number, Row, Story, at, is_number, items_of, rows_of
from rather.report.tax import taxes
from rather.report.verdict import HELD_OUT, TRAINING, aligned, verdict

# Metrics that are drawn: (name of the file, title, metrics of which a stage has one, what it goes by)
CURVES = (
    ("loss", "Loss on texts never trained on, nats a token", ("val/loss",), "step"),
    ("reward-of-answers", "Score of answers while step 1 learns", ("val/reward",), "epoch"),
    ("reward-accuracy", "Pairs that the reward model orders right, validation", ("val/accuracy",), "step"),
    ("scores", "Step 3: score by the reward model", ("objective/scores",), "episode"),
    ("second-opinion", "Step 3: score by a second opinion, never trained on", ("second_opinion/scores",), "episode"),
    ("kl", "Step 3: KL to where it started, nats a response", ("objective/kl",), "episode"),
    ("entropy", "Step 3: entropy, nats a token", ("policy/entropy_avg",), "episode"),
    ("length", "Step 3: length of responses, tokens", ("response/length",), "episode"),
    ("dpo-margins", "DPO: margin of implied rewards", ("rewards/margins",), "step"),
    ("verified", "GRPO: answers that the verifier takes", ("val/accuracy/verifier", "verified"), "step"),
)
FLAGS = ("likert", "gold", "task", "junk", "hallucination", "toxic", "hedge", "repetitive", "length")
TEXT = 1200  # letters of an answer that are shown


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
    found = []
    for name, title, keys, x in CURVES:
        lines = {}
        for stage in story.stages.values():
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


def table(head: Sequence[str], rows: Sequence[Sequence[Any]], numbers: Sequence[int] = ()) -> Markup:
    """numbers: columns that are set to the right"""
    right = [Markup(' class="n"') if at in numbers else "" for at in range(len(head))]
    top = Markup("").join(Markup("<th{}>{}</th>").format(*cell) for cell in zip(right, head, strict=True))
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(
            Markup("").join(Markup("<td{}>{}</td>").format(*cell) for cell in zip(right, row, strict=True))
        )
        for row in rows
    )
    return Markup('<div class="wide"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>').format(
        top, body
    )


def claims(story: Story) -> Markup:
    rows = []
    for row in rows_of(at(story.claims, "claims")):
        number = Number.of(row, "figure")
        outcome = str(row.get("outcome"))
        mark = Markup('<span class="{}">{}</span>').format(
            {"pass": "good", "fail": "bad"}.get(outcome, "open"), outcome
        )
        whys = [str(at(of, "why")) for _, of in items_of(at(row, "runs"))]
        said = Markup("{} <strong>{}</strong><br><small>{}</small><br><small>{}</small>").format(
            row.get("sentence"), number.words() if number else "", row.get("criterion"), "; ".join(whys)
        )
        rows.append((row.get("claim"), mark, said))
    return table(("", "", "claim and figure; criterion; what was found"), rows, (0,)) if rows else Markup("")


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


def samples(story: Story) -> Markup:
    """The same prompts, answered by each model; where no world asked them, what step 3 said at its end."""
    shown = rows_of(at(story.claims, "samples"))
    wanted = _in_order(story)
    blocks = []
    for row in shown:
        answers = row.get("answers") if isinstance(row.get("answers"), dict) else {}
        cells = [_answer(name, at(answers, name)) for name in wanted if isinstance(at(answers, name), dict)]
        if cells:
            blocks.append(_block(row.get("prompt"), row.get("category"), cells))
    return Markup("").join(blocks) or _at_the_end(story)


def _in_order(story: Story) -> list[str]:
    """base, sft, ppo, ppo-ptx and what else there is, in the order of the story; the small ones of a ladder last."""
    names = [name for name in story.stages if not name.startswith(("reward", "init"))]
    return sorted(names, key=lambda name: name.endswith("-xs"))[:6]


def _answer(name: str, said: Row) -> Markup:
    gold = said.get("gold")
    worth = f"U* {gold:.2f}" if is_number(gold) else ""
    return _cell(name, str(said.get("text", "")), worth + ("" if said.get("finished", True) else " unfinished"))


def _cell(name: str, text: str, note: str) -> Markup:
    cut = text[:TEXT] + (" ..." if len(text) > TEXT else "")
    return Markup('<div class="answer"><h4>{} <small>{}</small></h4><pre>{}</pre></div>').format(
        name, note, cut or "(nothing)"
    )


def _block(prompt: Any, category: Any, cells: Sequence[Markup]) -> Markup:
    return Markup(
        '<section class="sample"><pre class="prompt">{}</pre><p class="about">{}</p>'
        '<div class="side">{}</div></section>'
    ).format(str(prompt)[:TEXT], category or "", Markup("").join(cells))


def _at_the_end(story: Story) -> Markup:
    name = aligned(story)
    rows = story.stages[name].samples[-4:] if name else []
    blocks = []
    for row in rows:
        numbers = [
            f"{key} {row[of]:.2f}" for key, of in (("score", "score"), ("KL", "kl_sum")) if is_number(row.get(of))
        ]
        cell = _cell(f"{name}, step {row.get('step')}", str(row.get("response", "")), ", ".join(numbers))
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
    """Each stage: how it was made, how long it took, and the hash of the model that came out."""
    rows = []
    for name, stage in story.stages.items():
        seconds, done = stage.seconds(), stage.done or {}
        weights = next((str(h) for file, h in items_of(at(done, "files")) if str(file).endswith(".safetensors")), "")
        command = at(story.made, "stages", name, "command")
        typed = "rather " + " ".join(map(str, command)) if isinstance(command, list) else ""
        rows.append((
            name,
            "" if seconds is None else f"{seconds / 60:.1f} min",
            stage.settings.get("seed", ""),
            Markup("<code>{}</code>").format(weights.removeprefix("sha256:")[:12]),
            Markup("<code>{}</code>").format(typed),
        ))  # fmt: skip
    settings = Markup("").join(
        Markup("<details><summary>{}</summary><pre>{}</pre></details>").format(
            name, "\n".join(f"{key} = {value!r}" for key, value in stage.settings.items())
        )
        for name, stage in story.stages.items()
    )
    head = ("stage", "time", "seed", "weights", "its verb alone")
    return table(head, rows, (1, 2)) + Markup("<h3>Settings</h3>") + settings


def drawn(found: Sequence[Figure], folder: str) -> Markup:
    return Markup('<div class="figures">{}</div>').format(Markup("").join(caption(f, folder) for f in found))
