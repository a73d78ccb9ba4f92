"""The command line: `rather VERB ...`. Each verb lives in its own module and is imported when it is called."""

from __future__ import annotations

import importlib
import io
import json
import sys
from collections.abc import Sequence
from contextlib import suppress

import click

from rather import __version__
from rather.errors import BadFile, CheckFailed, RatherError, nearest, visible

# verb -> (module below rather.cli, one line of help). The click command is called `command`, or what follows the colon.
VERBS = {
    "run": ("run", "Run a whole recipe: every stage that is not as it should be."),
    "new": ("new", "Write a project to begin with: a recipe and small sample files."),
    "plan": ("plan", "Say what a recipe needs before it starts: memory, tokens, time."),
    "data": ("data", "Check and convert files of prompts, demonstrations and rankings."),
    "doctor": ("doctor", "Say what this machine can do, and what to do about each problem."),
    "preview": ("preview", "Show examples as the model will see them, trained ones coloured."),
    "world": ("world", "Show or write the miniature world, in which the truth is known."),
    "pretrain": ("pretrain", "Make a tiny base model from the miniature world's web."),
    "reward": ("reward", "Step 2: train a reward model from rankings, and report on it."),
    "score": ("score", "Score responses with one or several reward models."),
    "ready": ("ready", "Before step 3: whether RLHF is the right tool here, with figures."),
    "ppo": ("ppo", "Step 3: optimise a policy against a reward model (PPO, PPO-ptx)."),
    "dpo": ("dpo", "Learn from rankings without a reward model (DPO and its kin)."),
    "grpo": ("grpo", "Learn from groups of responses that can be checked (GRPO)."),
    "best-of-n": ("best_of_n", "Keep the best of N samples, and draw the curve over N."),
    "sft": ("sft:sft", "Step 1: fine-tune a model on demonstrations."),
    "init": ("sft:init", "The model that step 3 starts from, and its KL reference."),
    "track": ("track", "Mirror a run's metrics to TensorBoard, W&B or MLflow."),
    "look": ("look", "Show what a policy said while it learned, tokens coloured."),
    "sample": ("sample", "Answer prompts with a model, to the screen or to records."),
    "chat": ("chat", "Talk to one model, or to several side by side."),
    "diagnose": ("diagnose", "What went wrong with a policy, question by question."),
    "evaluate": ("evaluate", "Run the paper's public tasks; the tax; whose answers win."),
    "compare": ("compare", "Hold policies against each other at equal KL and equal reward."),
    "report": ("report", "One HTML page of what run folders say, verdict first."),
    "labs": ("labs", "List the labs, or check what you wrote into one."),
    "explain": ("explain", "Say what a description of RLHF modifies, quoting its words."),
}


class Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        module, _, attribute = VERBS[name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(f"rather.cli.{module}"), attribute or "command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):  # without importing them: `rather --help` is instant
            formatter.write_dl([(name, line) for name, (_, line) in VERBS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS:
            raise RatherError(
                f"There is no verb {args[0]!r}.{nearest(args[0], VERBS)}",
                f"Verbs: {', '.join(VERBS)}.",
                "rather --help",
            )
        return super().resolve_command(ctx, args)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="rather %(version)s")
def rather() -> None:
    """Train language models to do what people would rather they did."""


def main(args: Sequence[str] | None = None) -> None:
    """Run a command; every error from outside ends in words and an exit code, never in a traceback."""
    args = list(sys.argv[1:] if args is None else args)
    if isinstance(sys.stdout, io.TextIOWrapper):
        with suppress(OSError):  # what a terminal cannot show is written out, as on standard error
            sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = rather.main(args, prog_name="rather", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)
    except Exception as error:  # of any kind: what is not from outside goes on as it is
        said = in_words(error)
        if said is None:
            raise
        _fail(said, args)


def in_words(error: BaseException) -> RatherError | None:
    """An error from outside as one of ours; None: it is a mistake in the code, and its traceback is wanted."""
    match error:
        case RatherError():
            return error
        case click.UsageError():
            command = error.ctx.command_path if error.ctx else "rather"
            return RatherError(error.format_message(), do=f"{command} --help")
        case FloatingPointError():  # a loss that is not finite; the maths below imports nothing of ours
            found, *rest = str(error).splitlines()
            return CheckFailed(found, *rest[:2])
        case MemoryError():
            return RatherError("There is not enough memory for this.", do="rather doctor says what this machine has.")
        case OSError():  # a disk that is full, a folder that vanished: nobody's mistake in the code
            where = f"{error.filename}: " if error.filename else ""
            return BadFile(f"{where}{error.strerror or error}", do="rather doctor says what this machine has left.")
    return None


def _fail(error: RatherError, args: Sequence[str]) -> None:
    if "--json" in args:
        said = {"error": type(error).__name__, "found": error.found, "expected": error.expected, "do": error.do}
        with suppress(OSError):  # where standard output is what failed, standard error and the exit code say so
            click.echo(json.dumps(said))
    # A message may quote a model's folder or another library's words; lines are lines, the rest is shown.
    click.echo("\n".join(map(visible, f"rather: {error}".split("\n"))), err=True)
    sys.exit(error.exit_code)
