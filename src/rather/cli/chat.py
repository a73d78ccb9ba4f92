"""`rather chat MODEL...`: talk to one model, or to several side by side, in the terminal or through a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import click
import torch
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rather import machine
from rather.cli.chat_speaker import Speaker, speakers
from rather.errors import BadSetting, RatherError, nearest, visible
from rather.records import write
from rather.rollout import Sampling, draw_seeds

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
YOU = "> "


@click.command("chat")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--system", help="What the model is told before anybody speaks.")
@click.option("--temperature", default=1.0, show_default=True, type=click.FloatRange(min=0), help="0: the likeliest.")
@click.option(
    "--top-p", type=click.FloatRange(min=0, min_open=True, max=1), help="Draw from the likeliest of this sum."
)
@click.option("--max-new-tokens", default=256, show_default=True, type=click.IntRange(min=1), help="Of an answer.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of all answers.")
@click.option("--precision", default="fp32", show_default=True, type=click.Choice(list(DTYPES)), help="Of the models.")
@click.option("--template", help="plain, page or none. Default: each model's own chat template, if it has one.")
@click.option("--separator", default="\\n", show_default=True, help="Between turns where there is no template.")
def command(
    models: tuple[str, ...],
    system: str | None,
    temperature: float,
    top_p: float | None,
    max_new_tokens: int,
    seed: int,
    precision: str,
    template: str | None,
    separator: str,
) -> None:
    """Talk to MODEL, a folder, a run or a hub id; several answer the same words side by side.

    Each remembers what was said, in its own chat template. /help lists the commands, such as /reset and /save FILE.
    Ctrl-C stops an answer; Ctrl-D or /quit ends. Standard input may be a pipe: one line is one message.
    """
    torch.set_num_threads(machine.best_threads())
    separator = separator.replace("\\n", "\n").replace("\\t", "\t")
    found = speakers(list(models), DTYPES[precision], template, separator, system)
    sampling = Sampling(max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, slots=1)
    chat = Chat(found, sampling, torch.Generator().manual_seed(seed), Console(highlight=False))
    for speaker in found:
        for note in (*speaker.policy.notes, *speaker.encoder.notes):
            chat.aside(f"{speaker.name}: {note}", err=True)
    chat.talk(_lines(chat.aside))


def _lines(aside: Callable[[str], None]) -> Callable[[], str | None]:
    """The next line that is said, None at the end."""
    terminal = sys.stdin.isatty()
    if terminal:
        import readline  # noqa: F401 - late: editing and history for `input`, on a terminal only

    def following() -> str | None:
        try:
            if terminal:
                return input(YOU)
            line = sys.stdin.readline()
        except EOFError:
            return None
        except KeyboardInterrupt:
            aside("\nCtrl-D or /quit ends.")
            return ""
        except UnicodeDecodeError as error:
            raise BadSetting("Standard input is not UTF-8.", "Expected text.") from error
        return line.rstrip("\r\n") if line else None

    return following


@dataclass
class Chat:
    speakers: Sequence[Speaker]
    sampling: Sampling
    rng: torch.Generator
    console: Console
    ended: bool = False
    last: str = ""
    commands: Mapping[str, tuple[Callable[[str], None], str]] = field(init=False)

    def __post_init__(self) -> None:
        self.commands = {
            "/help": (self._help, "this list"),
            "/reset": (self._reset, "forget the conversation"),
            "/undo": (self._undo, "forget the last message and its answers"),
            "/again": (self._again, "answer the last message once more"),
            "/save": (self._save, "FILE.jsonl: the conversation as records, one for each model"),
            "/show": (self._show, "what the models would read if you said: TEXT"),
            "/temperature": (lambda said: self._set("temperature", said), "of the answers; 0 takes the likeliest"),
            "/top-p": (lambda said: self._set("top_p", said), "draw from the likeliest of this sum; none: from all"),
            "/max": (lambda said: self._set("max_new_tokens", said), "tokens of an answer"),
            "/system": (self._system, "TEXT: what the models are told before anybody speaks; forgets the conversation"),
            "/quit": (self._quit, "end; so does Ctrl-D"),
        }

    def talk(self, following: Callable[[], str | None]) -> None:
        while not self.ended:
            line = following()
            if line is None:
                break
            if not line.strip():
                continue
            try:
                self._heard(line)
            except RatherError as error:  # said, and the conversation goes on
                self.aside(str(error))

    def _heard(self, line: str) -> None:
        if not line.startswith("/") or line.startswith("//"):
            self.ask(line.removeprefix("/") if line.startswith("//") else line)
            return
        name, _, rest = line.partition(" ")
        if name not in self.commands:
            raise BadSetting(
                f"There is no {visible(name)}.{nearest(name, self.commands)}",
                "/help lists the commands. A message that begins with a slash begins with two.",
            )
        self.commands[name][0](rest.strip())

    def ask(self, said: str) -> None:
        """Everybody answers. Ctrl-C ends the answer that is being given, and those that have not begun."""
        self.last = said
        seed = int(draw_seeds(self.rng, 1, 1)[0, 0])
        asked = [speaker for speaker in self.speakers if self._may_ask(speaker, said)]
        together = len(asked) > 1 and self.console.is_terminal
        stopped = False
        for speaker in asked:
            forgotten = speaker.forgotten
            if len(self.speakers) > 1 and not together:
                self.aside(f"[{speaker.name}]")
            answering = speaker.answer(said, self.sampling, seed)
            try:
                with self.console.status(visible(speaker.name)) if together else nullcontext():
                    for piece in answering:
                        if not together:
                            self.console.print(self.safe(piece), end="", soft_wrap=True)
            except KeyboardInterrupt:
                stopped = True
            finally:
                answering.close()
            if not together:
                self.console.print()
                self._afterwards(speaker, forgotten, stopped)
            if stopped:
                break
        if together:
            self._columns([speaker for speaker in asked if speaker.history and speaker.history[-1].said == said])

    def _may_ask(self, speaker: Speaker, said: str) -> bool:
        try:
            speaker.reads(said, self.sampling.max_new_tokens)
        except RatherError as error:
            self.aside(str(error))
            return False
        return True

    def _afterwards(self, speaker: Speaker, forgotten: int, stopped: bool) -> None:
        for words in self._remarks(speaker, stopped, forgotten):
            self.aside(f"({words})")

    def _remarks(self, speaker: Speaker, stopped: bool, forgotten: int) -> list[str]:
        found = []
        last = speaker.history[-1] if speaker.history and speaker.history[-1].said == self.last else None
        if last is None or not last.finished:
            found.append("stopped" if stopped else "cut off: no room for more, or /max")
        elif not last.answer:
            found.append("it ended without a word")
        if speaker.forgotten > forgotten:
            left = len(speaker.history) - speaker.forgotten
            found.append(
                f"the window is full: the oldest {speaker.forgotten} of {len(speaker.history)} exchanges are not read "
                f"any more, the last {left} are; /reset begins anew"
            )
        return found

    def _columns(self, asked: Sequence[Speaker]) -> None:
        table = Table(expand=True, show_lines=False)
        for speaker in asked:
            table.add_column(self.safe(speaker.name), ratio=1, overflow="fold")
        cells = []
        for speaker in asked:
            cell = self.safe(speaker.history[-1].answer)
            for words in self._remarks(speaker, False, 0):
                cell.append(f"\n({words})", style="dim")
            cells.append(cell)
        table.add_row(*cells)
        self.console.print(table)

    # ---- commands

    def _help(self, said: str) -> None:
        for name, (_, words) in self.commands.items():
            self.aside(f"{name:14} {words}")

    def _reset(self, said: str) -> None:
        for speaker in self.speakers:
            speaker.reset()
        self.last = ""
        self.aside("forgotten")

    def _undo(self, said: str) -> None:
        # Not every model may have been asked: one whose window was too small has nothing of it to forget.
        had = [speaker for speaker in self.speakers if speaker.history and speaker.history[-1].said == self.last]
        if not self.last or not had:
            raise BadSetting("There is nothing to undo.")
        for speaker in had:
            speaker.undo()
        before = [speaker.history[-1].said for speaker in self.speakers if speaker.history]
        gone, self.last = self.last, before[-1] if before else ""
        self.aside(f"forgotten: {gone}")

    def _again(self, said: str) -> None:
        again = self.last
        self._undo("")
        self.ask(again)

    def _save(self, said: str) -> None:
        if not said.endswith((".jsonl", ".jsonl.gz")):
            raise BadSetting(f"Save as {visible(said)!r}?", "Expected a name that ends in .jsonl.", "/save talk.jsonl")
        path = Path(said).expanduser()
        if path.exists():
            raise BadSetting(f"{visible(said)} is there already, and is left as it is.", do="Name another file")
        records = [record for speaker in self.speakers if (record := speaker.record()) is not None]
        if not records:
            raise BadSetting("Nothing was said yet.")
        write(path, records)
        self.aside(f"{said}: {len(records)} conversation{'s' * (len(records) > 1)}")

    def _show(self, said: str) -> None:
        for speaker in self.speakers:
            ids, room, _ = speaker.reads(said or "...", self.sampling.max_new_tokens)
            self.aside(f"[{speaker.name}] {len(ids):,} tokens, room for an answer of {room:,}")
            self.console.print(self.safe(str(speaker.policy.tokenizer.decode(ids.tolist()))), soft_wrap=True)

    def _set(self, key: str, said: str) -> None:
        if said:
            try:
                value = None if said == "none" else int(said) if key == "max_new_tokens" else float(said)
                self.sampling = Sampling.model_validate({**self.sampling.model_dump(), key: value})
            except (ValueError, ValidationError):
                raise BadSetting(f"{visible(said)!r} is no {key}.", "Expected a number in its range.") from None
        self.aside(f"{key} = {getattr(self.sampling, key)}")

    def _system(self, said: str) -> None:
        for speaker in self.speakers:
            speaker.system = said or None
        self._reset("")

    def _quit(self, said: str) -> None:
        self.ended = True

    # ---- words on the screen

    def aside(self, words: str, err: bool = False) -> None:
        """What the chat says itself, and not a model."""
        if err:
            click.echo(visible(words), err=True)
        else:
            self.console.print(self.safe(words, "dim"), soft_wrap=True)

    def safe(self, text: str, style: str = "") -> Text:
        """Nothing that a terminal would obey but line breaks, and nothing that it cannot show."""
        shown = "\n".join(visible(line) for line in text.split("\n"))
        return Text(shown.encode(self.console.encoding, "backslashreplace").decode(self.console.encoding), style=style)
