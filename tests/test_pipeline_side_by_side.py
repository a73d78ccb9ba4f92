"""`rather run --jobs 2`: which stages run side by side, that they make the same bytes, and what a failure leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from rather import toml
from rather.cli.reward import STORY
from rather.cli.run import command
from rather.errors import BadFile, RatherError, RunLocked
from rather.models.load import save_policy
from rather.models.tiny import TinyConfig, tiny
from rather.pipeline import Told, story
from rather.pipeline_memory import FILE
from rather.pipeline_order import LOOKS_FOR, beside, next_of, waits
from rather.pipeline_recipe import Recipe
from rather.pipeline_side_by_side import CONTEXT, SideBySide, _Lines, threads_of_each, usual_jobs
from rather.records import Demonstration, write
from rather.run import lock, read_done

ROOT = Path(__file__).parents[1]
ANSWERS = {"snow": "white", "coal": "black", "grass": "green", "blood": "red", "sky": "blue", "gold": "yellow"}
DEMONSTRATIONS = [
    Demonstration(id=f"{n} {thing}", prompt=asked.format(thing), response=f"it is {color} .", labeler="program")
    for n, asked in enumerate(("color of {} ?", "what color is {} ?", "{} : which color ?", "and {} ?"))
    for thing, color in ANSWERS.items()
]
# Two that do not wait for each other, and one that goes on from the first.
THREE = """
[story]
stages = ["sft one", "sft two", "sft three"]
[sft]
model = "{run}/start/checkpoint"
epochs = 3
batch_size = 8
learning_rate = 3e-3
dropout = 0.1
max_new_tokens = 8
validation_prompts = 4
precision = "fp32"
checkpoint_every = 4
keep = "chosen"
[two]
model = "{run}/start/checkpoint"
epochs = 3
seed = 1
max_new_tokens = 8
validation_prompts = 4
precision = "fp32"
checkpoint_every = 4
keep = "chosen"
[three]
model = "{run}/one/checkpoint"
epochs = 1
max_new_tokens = 8
validation_prompts = 4
precision = "fp32"
keep = "chosen"
"""
NAMES = ("one", "two", "three")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """The bytes are the same where the number of threads is."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def made(folder: Path, *overrides: str, text: str = THREE) -> Recipe:
    """A recipe whose first stages have what they need."""
    (folder.parent / "r.toml").write_text(text)
    words = [f"{d.prompt} {d.response}" for d in DEMONSTRATIONS]
    config = TinyConfig(vocabulary=300, hidden=16, layers=1, heads=2, context=64, template="page")
    if not folder.exists():
        (folder / "start").mkdir(parents=True)
        save_policy(tiny(config, words, torch.Generator().manual_seed(0)), folder / "start" / "checkpoint")
        write(folder / "demonstrations.jsonl", DEMONSTRATIONS)
    return Recipe.read(folder.parent / "r.toml", folder, overrides)


def told(recipe: Recipe, jobs: int = 2) -> dict[str, str]:
    return story(recipe, Told(lambda step, why: None, print), jobs)


def results(folder: Path) -> dict[str, dict[str, str]]:
    return {name: read_done(folder / name)["files"] for name in NAMES}


def until(true, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Dead, though perhaps whoever is its parent now has not asked how yet."""
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(") ")[2].startswith("Z")


def free(folder: Path) -> bool:
    try:
        lock.release(lock.take(folder))
    except RunLocked:
        return False
    return True


# ---- the order


def order(tmp_path: Path, stages: str, rest: str = "") -> dict[str, frozenset[str]]:
    (tmp_path / "o.toml").write_text(f"[story]\nstages = [{stages}]\n{rest}")
    return waits(Recipe.read(tmp_path / "o.toml", tmp_path / "run"))


def test_what_the_miniature_waits_for():
    found = waits(Recipe.read(ROOT / "recipes" / "miniature.toml", Path("run/x")))
    assert found["base-s"] == set()
    assert found["sft-s"] == {"world", "base-s"}
    assert found["rankings"] == {"world", "base-xs", "base-s", "sft-s"}
    assert found["ppo-ptx"] == found["ppo"] == {*found["reward"], "reward", "init-s", "sft-xs"}
    assert len(found["measure"]) == 10
    assert found["report"] == {*found["measure"], "measure", "claims"}
    assert beside(Recipe.read(ROOT / "recipes" / "miniature.toml", Path("run/x")))["ppo-ptx"] == ["ppo"]


@pytest.mark.parametrize(
    ("model", "those"),
    [
        ("{run}/a/checkpoint", {"a"}),
        ("{run}/b/../a/epochs/3", {"a"}),
        ("run/a/checkpoint", {"a"}),
        ("{run}", {"a", "b"}),
        ("a", set()),
        ("owner/model", set()),
        ("{run}-2/a/checkpoint", set()),
    ],
)
def test_a_stage_waits_for_what_its_settings_name_whether_it_is_there_or_not(tmp_path, monkeypatch, model, those):
    monkeypatch.chdir(tmp_path)
    found = order(tmp_path, '"pretrain a", "pretrain b", "sft c"', f'[c]\nmodel = "{model}"')
    assert found["c"] == those


def test_a_folder_that_is_named_by_way_of_a_link_is_waited_for(tmp_path, monkeypatch):
    (tmp_path / "real" / "run").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "o.toml").write_text(
        f'[story]\nstages = ["pretrain a", "sft b"]\n[b]\nmodel = "{tmp_path}/link/run/a/checkpoint"'
    )
    monkeypatch.chdir(tmp_path / "real")
    assert waits(Recipe.read(tmp_path / "o.toml", Path("run")))["b"] == {"a"}


def test_a_stage_waits_for_a_folder_that_is_its_default(tmp_path):
    found = order(tmp_path, '"pretrain base", "pretrain other", "sft", "sft mine"', '[mine]\nmodel = "OWN/MODEL"')
    assert found["sft"] == {"base"}
    assert found["mine"] == set()


@pytest.mark.parametrize("verb", ["ppo", "grpo", "best-of-n"])
def test_what_learns_from_a_reward_waits_for_the_story_s_own_where_it_names_none(tmp_path, verb):
    assert order(tmp_path, f'"reward", "{verb} x"', '[x]\nmodel = "x/y"\nprompts = "p.jsonl"')["x"] == {"reward"}


def test_rewards_are_named_by_the_names_of_a_table(tmp_path):
    rest = f'[grpo]\nmodel = "x/y"\nrewards = {{"{tmp_path}/run/good/checkpoint" = 1.0}}\n[reward]\nmodel = "x/y"'
    assert order(tmp_path, '"reward good", "reward bad", "grpo"', rest)["grpo"] == {"good"}


def test_a_stage_does_not_leave_what_an_earlier_one_would_then_find(tmp_path):
    found = order(tmp_path, '"sft a", "pretrain late"', '[a]\nmodel = "{run}/late/checkpoint"')
    assert found["late"] == {"a"}


def test_a_file_of_records_may_be_the_world_s_and_a_world_s_pages_by_name_are_not(tmp_path):
    rest = '[a]\ntexts = "{run}/own.jsonl"\n[b]\ntexts = "marn:0"'
    found = order(tmp_path, '"world", "pretrain a", "pretrain b"', rest)
    assert (found["a"], found["b"]) == ({"world"}, set())


def test_each_ppo_begins_after_the_one_before_because_both_say_what_speaks_against_it(tmp_path):
    rest = '[late]\nmodel = "x/y"\nreward = "{run}/slow/checkpoint"\n[early]\nmodel = "x/y"\nreward = "x/y"'
    (tmp_path / "o.toml").write_text(f'[story]\nstages = ["reward slow", "ppo late", "ppo early"]\n{rest}')
    recipe = Recipe.read(tmp_path / "o.toml", tmp_path / "run")
    _, late, early = recipe.steps
    waiting = {"late": frozenset({"slow"}), "early": frozenset[str]()}
    assert next_of([late, early], {"slow"}, waiting) is None
    assert next_of([late, early], set(), waiting) is late
    assert next_of([early], {"late"}, waiting) is early


def test_tokenizers_that_the_reward_model_is_held_against_are_waited_for():
    assert set(STORY) == set(LOOKS_FOR["reward"])


# ---- what they make


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict[str, dict[str, str]]:
    """The story as one process makes it."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as here:
        here.setenv("OMP_NUM_THREADS", "1")
        told(made(folder), jobs=1)
    torch.set_num_threads(threads)
    return results(folder)


def weights_of(found: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """config.toml names the folder that the story lies in."""
    return {name: {file: of for file, of in files.items() if file != "config.toml"} for name, files in found.items()}


def test_side_by_side_they_make_the_same_bytes_in_the_same_order(tmp_path, alone, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = made(Path("run"))
    assert told(recipe) == dict.fromkeys(NAMES, "new")
    assert weights_of(results(Path("run"))) == weights_of(alone)
    first, second, third = (tmp_path / "run" / name for name in NAMES)
    for begun, ended in ((first, second), (second, first)):
        assert (begun / "config.toml").stat().st_mtime_ns < (ended / "DONE").stat().st_mtime_ns
    assert (first / "DONE").stat().st_mtime_ns < (third / "config.toml").stat().st_mtime_ns
    kept = json.loads((tmp_path / "run" / FILE).read_text())["stages"]
    assert list(kept) == [*NAMES]
    assert all(stage["done"] and stage["seconds"] > 0 for stage in kept.values())

    said = capsys.readouterr()
    assert [line for line in said.out.splitlines() if line.startswith("two: run/two: ")]
    lines = [line for text in said for line in text.splitlines() if not line.startswith("run/three: ")]
    assert {line.partition(": ")[0] for line in lines} <= {*NAMES}
    assert told(recipe) == dict.fromkeys(NAMES, "as it was")


def test_the_first_failure_stops_the_others_which_go_on_next_time(tmp_path, alone, capsys):
    recipe = made(tmp_path / "run", "two.demonstrations={run}/mine.jsonl", "one.epochs=500")
    (tmp_path / "run" / "mine.jsonl").write_text("{\n")
    with pytest.raises(RatherError, match=r"^two: .*mine\.jsonl:1") as failed:
        told(recipe)
    assert type(failed.value).__name__ == "BadRecord"
    assert failed.value.exit_code == 2
    assert "one: stopped" in capsys.readouterr().err
    assert CONTEXT.active_children() == []
    assert not (tmp_path / "run" / "one" / "DONE").exists()
    stages = json.loads((tmp_path / "run" / FILE).read_text())["stages"]
    assert {name: stage["done"] for name, stage in stages.items()} == {"one": False, "two": False}

    write(tmp_path / "run" / "mine.jsonl", DEMONSTRATIONS)
    mended = made(tmp_path / "run", "two.demonstrations={run}/mine.jsonl")
    assert told(mended)["one"] == "epochs was 500, is 3"
    assert weights_of(results(tmp_path / "run")) == weights_of(alone)


@pytest.fixture
def interruptible():
    """A shell makes what it puts into the background deaf to Ctrl-C, and with it tests and their children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_stops_all(tmp_path):
    recipe = made(tmp_path / "run", "one.epochs=500", "two.epochs=500")
    logs = [tmp_path / "run" / name / "metrics.jsonl" for name in ("one", "two")]

    def interrupt() -> None:
        until(lambda: all(log.exists() and log.stat().st_size for log in logs))
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        told(recipe)
    assert CONTEXT.active_children() == []
    for name in ("one", "two"):
        last = (tmp_path / "run" / name / "events.jsonl").read_text().splitlines()[-1]
        assert json.loads(last)["error"] == "KeyboardInterrupt"


def test_a_stage_whose_process_is_killed_is_said_so(tmp_path):
    recipe = made(tmp_path / "run", "one.epochs=500", "two.epochs=500")

    def kill() -> None:
        until(lambda: (tmp_path / "run" / "two" / "metrics.jsonl").exists())
        (two,) = (child for child in CONTEXT.active_children() if child.name == "two")
        two.kill()

    threading.Thread(target=kill, daemon=True).start()
    with pytest.raises(RatherError, match=r"two: its process was killed by SIGKILL\.\n.*\n.*--jobs 1"):
        told(recipe)
    assert CONTEXT.active_children() == []


@pytest.mark.slow
def test_killed_with_minus_9_its_stages_end_and_the_next_run_goes_on_to_the_same_bytes(tmp_path, alone):
    recipe = made(tmp_path / "run")
    words = [sys.executable, "-m", "rather", "run", str(recipe.path), str(recipe.folder), "--jobs", "2"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    begun = [tmp_path / "run" / name / "events.jsonl" for name in ("one", "two")]
    until(lambda: process.poll() is not None or all(log.exists() and log.stat().st_size for log in begun))
    process.kill()
    said = process.communicate()[0]
    pids = [json.loads(log.read_text().splitlines()[0])["pid"] for log in begun if log.exists()]
    assert len(set(pids)) == 2, said
    until(lambda: all(map(gone, pids)), seconds=2)

    assert "it was interrupted" in told(recipe).values(), said
    assert weights_of(results(tmp_path / "run")) == weights_of(alone)


STAGE = """
import os, time
from pathlib import Path
from rather.run import lock
held = lock.take(Path("run"))
print(os.getpid(), flush=True)
time.sleep(600)
"""
PARENT = f"""
from functools import partial
from rather.pipeline_side_by_side import SideBySide
with SideBySide(2, []) as beside:
    beside.start("a", partial(exec, {STAGE!r}, {{}}))
    beside.ended()
"""


def test_stages_end_within_a_second_of_a_parent_that_was_killed_and_their_locks_are_free(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", PARENT], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    pid = int(process.stdout.readline().removeprefix("a: "))
    with pytest.raises(RunLocked):
        lock.take(tmp_path / "run")
    process.kill()
    until(lambda: gone(pid) and free(tmp_path / "run"), seconds=2)  # a second, and one for a machine that is busy
    process.communicate()


# ---- parts


def test_threads_are_shared_and_what_a_person_set_is_obeyed(monkeypatch):
    assert threads_of_each(2) == 1
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr("rather.limits.cores", lambda: 2)
    assert (threads_of_each(2), threads_of_each(3)) == (1, 1)


def test_lines_are_whole_and_say_whose_they_are(capsys):
    reader, writer = CONTEXT.Pipe(duplex=False)
    lines = _Lines("ppo", reader, "stdout")
    for some in (b"ppo: step 1\nno", b"te: \xc3", b"\xa4\n\n10%\r50%\r100%\n\xff", b" and no end"):
        os.write(writer.fileno(), some)
        lines.take(gone=False, aloud=True)
    writer.close()
    lines.take(gone=True, aloud=True)
    assert capsys.readouterr().out == "ppo: step 1\nppo: note: ä\nppo: 100%\nppo: \ufffd and no end\n"


IMPORTING = """
from rather.pipeline_side_by_side import _start_fork_server
try:
    _start_fork_server(["slow"])
    input()
except KeyboardInterrupt:
    print("stopped")
"""


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_while_the_fork_server_imports_is_no_traceback(tmp_path):
    (tmp_path / "slow.py").write_text('import time\nprint("importing", flush=True)\ntime.sleep(1)\n')
    process = subprocess.Popen([sys.executable, "-c", IMPORTING], cwd=tmp_path, stdin=subprocess.PIPE, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip
    assert process.stdout.readline() == "importing\n"
    os.killpg(process.pid, signal.SIGINT)
    assert process.stdout.read() == "stopped\n"
    process.wait()


@pytest.mark.parametrize(
    ("work", "kind", "says", "traced"),
    [
        (partial(exec, "raise __import__('click').Abort"), RatherError, "x: its process was stopped", False),
        (partial(os.stat, "/not/there"), BadFile, "x: /not/there: No such file", False),
        (partial(int, "y"), RatherError, "x: ValueError: invalid literal", True),
    ],
)
def test_errors_are_the_ones_that_a_verb_would_end_with(work, kind, says, traced, capsys):
    with SideBySide(2, ["rather.pipeline", "rather.cli.sft"]) as beside:
        beside.start("x", work)
        with pytest.raises(kind, match=says):
            beside.ended()
    assert ("Traceback" in capsys.readouterr().err) == traced


def test_the_recipe_may_say_how_many(tmp_path):
    recipe = made(tmp_path / "run", text=THREE.replace("[sft]", "jobs = 3\n[sft]", 1))
    assert recipe.jobs == 3
    assert toml.read(recipe.path)["story"]["jobs"] == 3


def test_a_model_that_the_recipe_does_not_make_is_alone_unless_somebody_says_so(monkeypatch):
    monkeypatch.setattr("rather.limits.cores", lambda: 2)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert (usual_jobs(own_models=True), usual_jobs(own_models=False)) == (2, 1)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert usual_jobs(own_models=True) == 1


def test_the_plan_says_which_stage_may_run_beside_which(tmp_path):
    recipe = made(tmp_path / "run")
    words = [str(recipe.path), str(recipe.folder), "--plan", "--jobs"]
    two = CliRunner().invoke(command, [*words, "2"], catch_exceptions=False).output
    assert [line.split() for line in two.splitlines()[::2]] == [
        ["one", "new"],
        ["two", "new", "(may", "run", "beside", "one)"],
        ["three", "new", "(may", "run", "beside", "two)"],
    ]
    assert "beside" not in CliRunner().invoke(command, [*words, "1"], catch_exceptions=False).output
