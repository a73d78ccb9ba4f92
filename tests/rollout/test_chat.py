"""`rather chat`: what models hear and remember, what fits their window, and what a line may do to the terminal."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from rather.cli import main
from rather.cli.chat import Chat
from rather.cli.chat_speaker import Speaker, speakers
from rather.errors import visible
from rather.models.load import save_policy
from rather.models.tiny import TinyConfig, tiny
from rather.records import Samples, read
from rather.rollout import Sampling, sample

WORDS = ["Name a fish.", "A cod, a bream or a perch.", "Why is the sky blue?", "It is not, on a day like this one."]


def made(folder: Path, template: str, context: int = 384) -> Path:
    config = TinyConfig(vocabulary=300, hidden=16, layers=1, heads=2, context=context, template=template)
    policy = tiny(config, WORDS * 20, torch.Generator().manual_seed(0))
    return save_policy(policy, folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("model") / "plain", "plain")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("model") / "bare", "none", 64)


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    def say(lines: list[str], *args: object) -> tuple[int, str, str]:
        typed = "".join(line + "\n" for line in lines).encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed), encoding="utf-8"))
        with pytest.raises(SystemExit) as end:
            main(["chat", *map(str, args), "--max-new-tokens", "8"])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return int(end.value.code or 0), out, err

    return say


def speaker(folder: Path, **given: str) -> Speaker:
    settings = {"template": None, "separator": "\n", "system": None} | given
    (one,) = speakers([str(folder)], torch.float32, **settings)
    return one


def talk(one: Speaker, said: str, seed: int = 0, most: int = 8) -> str:
    return "".join(one.answer(said, Sampling(max_new_tokens=most, slots=1), seed))


def test_a_model_hears_the_whole_conversation_in_its_own_template(model):
    one = speaker(model, system="Be brief.")
    first = talk(one, "Name a fish.")
    (ids,) = one.encoder.prompts([one.conversation("Why?")])
    heard = one.policy.tokenizer.decode(ids.tolist())
    eos = one.policy.tokenizer.eos_token
    turns = ["System:\nBe brief.", "Human:\nName a fish.", f"Assistant:\n{first}{eos}", "Human:\nWhy?", "Assistant:\n"]
    assert heard.replace(one.policy.tokenizer.bos_token, "") == "\n\n".join(turns)


def test_without_a_template_a_conversation_is_one_text(bare):
    one = speaker(bare, separator=" / ")
    first = talk(one, "Name a fish.")
    assert one.conversation("Why?") == f"Name a fish. / {first} / Why?"


def test_what_streams_is_what_the_sampler_draws(model):
    one = speaker(model)
    (ids,) = one.encoder.prompts([one.conversation("Name a fish.")])
    said = talk(one, "Name a fish.", seed=5, most=30)
    drawn = sample(one.policy, [ids], Sampling(max_new_tokens=30), np.array([[5]])).samples[0][0]
    tokens = drawn.tokens[:-1] if drawn.finished else drawn.tokens
    assert said == one.policy.tokenizer.decode(tokens.tolist(), skip_special_tokens=True) == one.history[-1].answer
    assert one.history[-1].finished == drawn.finished


def test_the_oldest_goes_when_the_window_is_full_and_it_is_said(bare, say):
    _, said, _ = say(["Name a fish."] * 6, bare)
    assert "the window is full: the oldest" in said
    assert "/reset begins anew" in said
    one = speaker(bare)
    for _ in range(6):
        talk(one, "Name a fish.")
        ids, room, _ = one.reads("Why?", 8)
        assert len(ids) + room <= 64
    assert 0 < one.forgotten < len(one.history)
    assert "Name a fish." in one.conversation("Why?", one.forgotten)


def test_a_message_that_never_fits_is_not_asked(bare, say):
    _, said, _ = say(["word " * 80, "Why?"], bare)
    assert "leaves no room to answer" in said
    one = speaker(bare)
    with pytest.raises(Exception, match="leaves no room"):
        talk(one, "word " * 80)
    assert one.history == []


def test_two_models_answer_the_same_words_each_with_its_own_memory(model, bare, say, tmp_path):
    code, said, _ = say(["Name a fish.", "Why?", f"/save {tmp_path / 'talk.jsonl'}"], model, bare)
    assert code == 0
    assert said.count("[plain]") == said.count("[bare]") == 2
    rows = list(read(tmp_path / "talk.jsonl", Samples))
    assert [row.id for row in rows] == ["plain", "bare"]
    for row in rows:
        assert [turn.role for turn in row.prompt] == ["user", "assistant", "user"]
        assert (row.prompt[0].content, row.prompt[2].content) == ("Name a fish.", "Why?")
        assert row.responses[0].model == row.id
    shown = "\n".join(map(visible, rows[1].prompt[1].content.split("\n")))
    assert say(["Name a fish."], bare)[1].startswith(shown)


def test_what_is_undone_was_not_said(model, say, tmp_path):
    file = tmp_path / "talk.jsonl"
    say(["Name a fish.", "Why?", "/undo", "/again", f"/save {file}"], model)
    (row,) = read(file, Samples)
    assert [turn.content for turn in row.prompt] == ["Name a fish."]
    _, said, _ = say(["Name a fish.", "/reset", f"/save {tmp_path / 'none.jsonl'}", "/undo"], model)
    assert "Nothing was said yet." in said
    assert "There is nothing to undo." in said
    assert not (tmp_path / "none.jsonl").exists()


def test_the_same_words_are_answered_alike_at_temperature_0_and_differently_when_asked_again(model, say):
    _, cold, _ = say(["/temperature 0", "Name a fish."], model)
    assert say(["/temperature 0", "Name a fish."], model, "--seed", 9)[1] == cold
    _, said, _ = say(["Name a fish.", "/again"], model)
    answers = [line for line in said.splitlines() if line and "(" not in line and "forgotten" not in line]
    assert len(set(answers)) == len(answers)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/rest", "There is no /rest. Did you mean '/reset'?"),
        ("/temperature hot", "'hot' is no temperature"),
        ("/temperature -1", "'-1' is no temperature"),
        ("/max 0", "'0' is no max_new_tokens"),
        ("/save talk.txt", "Expected a name that ends in .jsonl"),
        ("/save /nowhere/talk.jsonl", "Nothing was said yet"),
        ("/undo", "nothing to undo"),
        ("/max", "max_new_tokens = 8"),
        ("/max 9", "max_new_tokens = 9"),
        ("/show Why?", "Human:"),
        ("/help", "/reset"),
        ("\x1b]0;title\x07/", "room"),
    ],
)
def test_every_line_is_answered_in_words_and_the_conversation_goes_on(model, say, line, words):
    code, said, _ = say([line, "/show still here"], model)
    assert code == 0
    assert words in said
    assert "still here" in said
    assert "\x1b" not in said


def test_a_file_that_is_there_is_not_written_over(model, say, tmp_path):
    file = tmp_path / "talk.jsonl"
    file.write_text("mine")
    _, said, _ = say(["Why?", f"/save {file}"], model)
    assert "is there already" in said
    assert file.read_text() == "mine"


def test_a_message_may_begin_with_a_slash(model, say, tmp_path):
    say(["//etc is a folder", f"/save {tmp_path / 'talk.jsonl'}", "/quit", "never"], model)
    (row,) = read(tmp_path / "talk.jsonl", Samples)
    assert row.prompt[0].content == "/etc is a folder"


def test_nothing_that_was_said_can_paint_the_terminal(model, say):
    _, said, _ = say(["\x1b[31mred\x1b[0m [bold]x[/bold]", "/show \x1b[2J"], model)
    assert "\x1b" not in said
    assert "\\x1b[2J" in said


class Interrupted(io.StringIO):
    """A screen on which somebody presses Ctrl-C when so many pieces have come."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def write(self, text: str) -> int:
        self.after -= 1
        if self.after == 0:
            raise KeyboardInterrupt
        return super().write(text)


def test_ctrl_c_ends_an_answer_and_what_had_come_is_remembered(model, bare):
    found = [speaker(model), speaker(bare)]
    screen = Interrupted(after=6)
    chat = Chat(found, Sampling(max_new_tokens=40, slots=1), torch.Generator().manual_seed(0), Console(file=screen))
    chat.talk(iter(["Name a fish.", None]).__next__)
    first, second = found
    assert "(stopped)" in screen.getvalue()
    assert len(first.history) == 1
    assert not first.history[0].finished
    assert second.history == [], "it had not begun"
    screen.after = -1
    chat.talk(iter(["Why?", None]).__next__)
    assert [one.said for one in first.history] == ["Name a fish.", "Why?"]


def test_on_a_terminal_several_stand_side_by_side(model, bare):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    chat = Chat([speaker(model), speaker(bare)], Sampling(max_new_tokens=4, slots=1), torch.Generator(), console)
    chat.ask("Name a fish.")
    head = next(line for line in screen.getvalue().splitlines() if "plain" in line and "bare" in line)
    assert head.index("plain") < head.index("bare")


def test_a_run_stands_for_its_checkpoint(model, tmp_path):
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / "checkpoint").symlink_to(model)
    found = speakers([str(tmp_path / "sft"), str(tmp_path / "sft" / "checkpoint")], torch.float32, None, "\n", None)
    assert [one.name for one in found] == ["sft 1", "sft 2"]


@pytest.mark.parametrize(("args", "words"), [(("./nowhere",), "There is no folder"), ((), "Missing argument")])
def test_wrong_use_is_said_in_words(say, args, words):
    code, said, err = say([], *args)
    assert (code, said) == (2, "")
    assert words in err


def test_bytes_that_are_no_text_are_named(model, say, monkeypatch):
    code, _, _ = say(["\udcff".encode("utf-8", "surrogatepass").decode("latin-1")], model)
    assert code == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe\n"), encoding="utf-8"))
    with pytest.raises(SystemExit) as end:
        main(["chat", str(model)])
    assert end.value.code == 2
