"""The page: one HTML file with its style and figures inside. No script, no font, nothing that a browser would fetch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from markupsafe import Markup

from rather import __version__
from rather.diagnose.reading import Story
from rather.report import claims_over_runs, compared, diagnosis, parts
from rather.report.figures import Figure
from rather.report.funnel import funnel

Together = Literal["runs", "seeds"]
STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --pale: #5b6168; --paper: #fff; --line: #d9dde2; --good: #1a7f45;
  --bad: #b3261e; --open: #8a5a00; --soft: #f4f5f7;
  --c0: #0072b2; --c1: #d55e00; --c2: #008f68; --c3: #a64d86; --c4: #8a6d00; --c5: #4a4e53;
  --new: #fff0a8; --u1: #fde8dc; --u2: #fbd0b9; --u3: #f7b48f; --u4: #f39666; --d1: #e0eefa; --d2: #c2ddf4;
  --d3: #9dc8ec; --d4: #75b1e2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --pale: #a3abb4; --paper: #14171a; --line: #363c43;
  --good: #62c98b; --bad: #ff8a80; --open: #e8b33f; --soft: #1e2327;
  --c0: #56b4e9; --c1: #ff9448; --c2: #3ed0a5; --c3: #e59ac8; --c4: #e2cb4d; --c5: #b8bfc6;
  --new: #4d4410; --u1: #3a2418; --u2: #55301b; --u3: #733d1c; --u4: #94491a; --d1: #16283a; --d2: #173853;
  --d3: #164a70; --d4: #125d90; } }
@media print { :root { color-scheme: light; --ink: #000; --paper: #fff; --pale: #444; --line: #bbb; --soft: #fff;
  --good: #1a7f45; --bad: #b3261e; --open: #8a5a00; --c0: #0072b2; --c1: #d55e00; --c2: #008f68; --c3: #a64d86;
  --c4: #8a6d00; --c5: #4a4e53; --new: #fff0a8; --u1: #fde8dc; --u2: #fbd0b9; --u3: #f7b48f; --u4: #f39666;
  --d1: #e0eefa; --d2: #c2ddf4; --d3: #9dc8ec; --d4: #75b1e2; }
  ins, pre span { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  figure, tr, .sample { break-inside: avoid; } .wide { overflow: visible !important; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 1.2rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0; } 
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid var(--line); }
h3, h4 { font-size: 1rem; margin: 1rem 0 .3rem; } small, .about, figcaption { color: var(--pale); font-size: .85rem; }
p { margin: .4rem 0; } pre { white-space: pre-wrap; margin: 0; font: 13px/1.45 ui-monospace, monospace; }
code { font: 12px ui-monospace, monospace; } a { color: var(--c0); } p.about { margin: .1rem 0 .5rem; }
.verdict { list-style: none; padding: 0; margin: 1rem 0; }
.verdict li { padding: .5rem .8rem; margin: .4rem 0; background: var(--soft); border-left: 5px solid var(--open); }
.verdict li.good { border-color: var(--good); } .verdict li.bad { border-color: var(--bad); }
span.good { color: var(--good); } span.bad { color: var(--bad); font-weight: 600; } span.open { color: var(--open); }
.figures { display: grid; gap: 1rem 1.6rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr)); }
figure { margin: 0; max-width: 620px; } svg { width: 100%; height: auto; display: block; }
svg text { font: 11px system-ui, sans-serif; fill: var(--ink); } text.y, text.row { text-anchor: end; }
text.tick { text-anchor: middle; } text.x { text-anchor: end; fill: var(--pale); }
.grid { stroke: var(--line); stroke-width: .7; } .axis { stroke: var(--pale); }
.middle { stroke: var(--pale); stroke-dasharray: 3 3; }
.c0 { --c: var(--c0); } .c1 { --c: var(--c1); } .c2 { --c: var(--c2); } .c3 { --c: var(--c3); } .c4 { --c: var(--c4); }
.c5 { --c: var(--c5); } .line { fill: none; stroke: var(--c); stroke-width: 1.8; }
.mark rect { fill: var(--pale); opacity: .18; } .mark line { stroke: var(--pale); stroke-dasharray: 2 2; }
ins { text-decoration: none; background: var(--new); border-radius: 2px; }
.up1 { background: var(--u1); } .up2 { background: var(--u2); } .up3 { background: var(--u3); }
.up4 { background: var(--u4); } .down1 { background: var(--d1); } .down2 { background: var(--d2); }
.down3 { background: var(--d3); } .down4 { background: var(--d4); }
.line.dashed { stroke-dasharray: 5 3; }
.whisker { stroke: var(--c); stroke-width: 2; } circle { fill: var(--c); }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .1rem 1rem; margin: .1rem 0; padding: 0;
  font-size: .85rem; }
.legend li::before { content: ""; display: inline-block; width: 1.1em; border-top: 3px solid var(--c); 
  margin-right: .4em; vertical-align: middle; } .legend li.dashed::before { border-top-style: dashed; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--pale); font-weight: 600; }
.whose { display: none; }
@media (max-width: 38rem) { .over thead { display: none; }
  .over tr { display: flex; flex-wrap: wrap; column-gap: 1rem; border-bottom: 1px solid var(--line); }
  .over td { border: 0; padding: .15rem 0; } .over td:nth-child(3) { flex-basis: 100%; }
  .whose { display: block; color: var(--pale); } }
dl.asked { margin: .8rem 0; font-size: .9rem; } dt { font-weight: 600; } dd { margin: 0 0 .5rem; }
.figures + .wide { margin-top: 1rem; }
th.n { text-align: right; white-space: nowrap; } td.n { text-align: right; white-space: nowrap; }
th, td { overflow-wrap: normal; } td code { overflow-wrap: anywhere; }
.sample { margin: 1rem 0 1.6rem; } .prompt { background: var(--soft); padding: .6rem .8rem; }
.side { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 210px), 1fr)); }
.answer { border-top: 2px solid var(--line); } details { margin: .2rem 0; }
"""


def page(stories: Sequence[Story], folder: str, are: Together = "runs") -> tuple[Markup, dict[str, str]]:
    """The page, and name -> CSV of each figure.   folder: where the CSV files will lie beside it

    are: several stories are seeds where they are one story told several times
    """
    tables: dict[str, str] = {}
    bodies = []
    for place, story in enumerate(stories):
        prefix = "" if len(stories) == 1 else f"{place + 1}-"
        bodies.append(_of_one(story, folder, prefix, tables))
    if len(stories) > 1:
        bodies[:0] = [_claims(stories, folder, are, tables), _compared(stories, folder, tables)]
    names = ", ".join(story.name for story in stories)
    if are == "seeds":
        names = f"{stories[0].path.resolve().parent.name}: {names}"
    return Markup(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>{}: report</title>'
        '<style>{}</style></head><body>{}<footer><p class="about">rather {}</p></footer></body></html>\n'
    ).format(names, Markup(STYLE), Markup("").join(bodies), __version__), tables


def _claims(stories: Sequence[Story], folder: str, are: str, tables: dict[str, str]) -> Markup:
    rows, names = claims_over_runs.rows_over(stories)
    if not rows:
        return Markup("")
    tables[claims_over_runs.NAME] = claims_over_runs.csv(rows, names)
    without = [name for name in compared.labels(stories) if name not in names]
    body = claims_over_runs.shown(rows, names, without, folder)
    return Markup("<section><h1>The claims of the paper, over {} {}</h1>{}</section>").format(len(names), are, body)


def _compared(stories: Sequence[Story], folder: str, tables: dict[str, str]) -> Markup:
    figures = compared.drawn(stories)
    tables.update({figure.name: figure.csv for figure in figures})
    return Markup("<section><h1>Compared</h1>{}{}</section>").format(
        compared.lines(stories), parts.drawn(figures, folder) if figures else ""
    )


def _of_one(story: Story, folder: str, prefix: str, tables: dict[str, str]) -> Markup:
    def figures(found: list[Figure]) -> Markup:
        named = [Figure(prefix + f.name, f.title, f.told, f.svg, f.csv) for f in found]
        tables.update({f.name: f.csv for f in named})
        return parts.drawn(named, folder) if named else Markup("")

    def section(title: str, body: Markup, about: str = "") -> Markup:
        if not body:
            return Markup("")
        words = Markup('<p class="about">{}</p>').format(about) if about else Markup("")
        return Markup("<section><h2>{}</h2>{}{}</section>").format(title, words, body)

    sections: list[tuple[str, Callable[[], Markup], str]] = [
        ("Whom labelers prefer", lambda: figures(parts.figure_1(story)),
         "Figure 1 of the paper, for this run: expected votes on held-out prompts, with 95 % intervals."),
        ("The claims of the paper", lambda: parts.claims(story), ""),
        ("What went wrong, and what did not",
         lambda: figures(diagnosis.over_optimisation(story)) + diagnosis.answers(story),
         "Each question is answered from what was logged and measured; where that is missing it is not decided."),
        ("Alarms", lambda: parts.alarms(story), "Raised while it learned, each from the iterations until then."),
        ("While it learned", lambda: figures(parts.curves(story)), ""),
        ("The health of step 3", lambda: figures(parts.health(story)), ""),
        ("The alignment tax", lambda: figures(parts.tax(story)), "Paired by question, with 95 % intervals."),
        ("What the answers are like", lambda: figures(parts.habits(story)) + parts.measured(story),
         "Means over held-out prompts; t1 is temperature 1. The intervals of the table are in evaluate/*.json."),
        ("The reward model", lambda: parts.rewards(story) + figures(parts.reward_figures(story)),
         "Pairs ordered as labelers order them, with 95 % intervals."),
        ("Side by side", lambda: parts.samples(story),
         "Prompts drawn by lot, not chosen. Marked: words that the SFT model did not say there."),
        ("What step 3 said at its end", lambda: parts.shaded(story),
         "Of its last samples. Tokens by log policy - log reference: warm: likelier than before, cold: less likely."),
        ("What the data became", lambda: funnel(story), ""),
        ("Where it comes from", lambda: parts.provenance(story), ""),
    ]  # fmt: skip
    rest = Markup("").join(section(title, make(), about) for title, make, about in sections)
    head = Markup("<h1>{}</h1>").format(story.name)
    return Markup("<article>{}{}{}</article>").format(head, parts.the_verdict(story), rest)
