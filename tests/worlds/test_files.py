"""`rather world show` and `rather world write`: same seed, same bytes; ordinary records; whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from itertools import islice

import pytest

from rather.cli import main
from rather.errors import BadFile
from rather.records import Demonstration, Prompt, Ranking, Text, read
from rather.worlds import SHARES, Marn
from rather.worlds.web import GENRES
from rather.worlds.writing import BY_LABELERS, Sizes, write_world

SMALL = ("--documents", "300", "--demonstrations", "120", "--votes", "60", "--scale", "tiny",
         "--reward-prompts", "200", "--ppo-prompts", "150")  # fmt: skip


def in_a_process_of_its_own(*args: str, folder, hash_seed: str) -> str:
    quiet = {**os.environ, "PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "rather", "world", *args]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=quiet)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rather(*args: str, capsys) -> tuple[int, str, str]:
    """(exit code, standard output, standard error)"""
    with pytest.raises(SystemExit) as ended:
        main(["world", *args])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def digests(folder) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def test_the_same_seed_gives_the_same_bytes_in_two_processes(tmp_path):
    for name, hash_seed in (("one", "1"), ("two", "22222")):
        said = in_a_process_of_its_own(
            "write", name, "--seed", "9", *SMALL, "--json", folder=tmp_path, hash_seed=hash_seed
        )
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert json.loads(said)["records"]["web.jsonl"] == 300


def test_another_seed_is_another_world(tmp_path, capsys):
    for seed in ("9", "10"):
        code, _, _ = rather("write", str(tmp_path / seed), "--seed", seed, *SMALL, capsys=capsys)
        assert code == 0
    other = digests(tmp_path / "10")
    assert all(other[name] != digest for name, digest in digests(tmp_path / "9").items())


PINNED = "6c445210fef9fb54e199c424cc1690a5b5d713da54baf70c726179b61f98966e"
WITHOUT_MARKING = "90e8500e3aa0037ad0b199bb8977648c45b956e760c92023d8467d99b0530f1a"


@pytest.mark.parametrize(("genres", "digest"), [({}, PINNED), ({"marking": 0}, WITHOUT_MARKING)])
def test_the_bytes_are_these_on_every_platform(genres, digest):
    """They change only when the world does. Then put the new digest here, and say in the commit what changed."""
    world, rng = Marn(0, "tiny", genres), random.Random(0)
    said = [page.text for page in islice(world.web_documents(rng), 500)]
    for source in ("api", "labeler"):
        prompts = world.prompts(rng, 200, source, "train")
        said += [prompt.text + world.demonstration(prompt, rng) for prompt in prompts]
    assert hashlib.sha256("\0".join(said).encode()).hexdigest() == digest


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worlds") / "world"
    sizes = Sizes(documents=400, demonstrations=150, reward_prompts=250, ppo_prompts=200, votes=60)
    return folder, write_world(Marn(0, "tiny"), folder, sizes), sizes


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("web", Text), ("demonstrations", Demonstration), ("prompts-reward", Prompt), ("prompts-ppo", Prompt),
        ("votes", Ranking),
    ],
)  # fmt: skip
def test_files_are_ordinary_records(written, name, kind):
    folder, counts, _ = written
    splits = {"train": "", "validation": "-validation", "test": "-test"}
    if name == "votes":
        del splits["validation"], splits["test"]
    for split, ending in splits.items():
        records = list(read(folder / f"{name}{ending}.jsonl"))
        assert len(records) == counts[f"{name}{ending}.jsonl"]
        assert all(isinstance(record, kind) and record.split == split for record in records)
        assert len({record.id for record in records}) == len(records)


def test_stages_have_the_papers_shares_of_labeler_written_prompts(written):
    folder, _, sizes = written
    n_of = {"sft": sizes.demonstrations, "reward": sizes.reward_prompts, "ppo": sizes.ppo_prompts}
    for stage, n in n_of.items():
        name = "demonstrations" if stage == "sft" else f"prompts-{stage}"
        by_labelers = sum(record.source.startswith("labeler") for record in read(folder / f"{name}.jsonl"))
        assert by_labelers == round(BY_LABELERS[stage] * n)


def test_a_story_has_every_size_it_asks_for(written):
    _, counts, _ = written
    assert counts == {
        "web.jsonl": 400, "web-validation.jsonl": 40, "web-test.jsonl": 40,
        "demonstrations.jsonl": 150, "demonstrations-validation.jsonl": 15, "demonstrations-test.jsonl": 15,
        "prompts-reward.jsonl": 250, "prompts-reward-validation.jsonl": 25, "prompts-reward-test.jsonl": 25,
        "prompts-ppo.jsonl": 200, "prompts-ppo-validation.jsonl": 20, "prompts-ppo-test.jsonl": 20,
        "votes.jsonl": counts["votes.jsonl"],
    }  # fmt: skip


def test_how_many_of_one_thing_are_written_changes_nothing_in_the_other_files(written, tmp_path):
    folder, _, sizes = written
    write_world(Marn(0, "tiny"), tmp_path / "more", replace(sizes, ppo_prompts=30, documents=500))
    more = digests(tmp_path / "more")
    same = {name for name, digest in digests(folder).items() if more[name] == digest}
    assert same == {name for name in more if not name.startswith(("web", "prompts-ppo"))}


def test_progress_names_each_file_once_off_a_terminal_and_says_nothing_with_json(tmp_path, capsys):
    code, out, err = rather("write", str(tmp_path / "a"), *SMALL, capsys=capsys)
    assert code == 0
    files = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert sorted(line.split(":")[0] for line in err.splitlines()) == files
    assert "web.jsonl: 300 records, " in err
    assert err.count(" a second") == out.count(str(tmp_path)) == len(files)
    assert rather("write", str(tmp_path / "b"), *SMALL, "--json", capsys=capsys)[2] == ""


def test_votes_are_rankings_of_several_people_with_ties(written):
    folder, counts, _ = written
    rankings = list(read(folder / "votes.jsonl"))
    assert counts["votes.jsonl"] > 50
    assert len({ranking.labeler for ranking in rankings}) > 5
    assert all(2 <= len(ranking.responses) <= 6 for ranking in rankings)
    assert any(len(set(ranking.ranks)) < len(ranking.ranks) for ranking in rankings)


def test_a_folder_that_exists_is_not_touched(written):
    folder, _, sizes = written
    before = digests(folder)
    with pytest.raises(BadFile, match="is there already"):
        write_world(Marn(0, "tiny"), folder, sizes)
    assert digests(folder) == before


def test_show_prints_every_genre_use_case_and_a_ranking(capsys):
    code, said, _ = rather("show", "--scale", "tiny", capsys=capsys)
    assert code == 0
    for words in (*GENRES, *SHARES, "A ranking by one labeler"):
        assert words in said
    page = json.loads(rather("show", "--scale", "tiny", "--json", capsys=capsys)[1])
    assert set(page["documents"]) == set(GENRES)
    assert [asked["category"] for asked in page["prompts"]] == list(SHARES)
    ranks = [row["rank"] for row in page["ranking"]["responses"]]
    assert ranks == sorted(ranks)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("show", "--scale", "big"), "big"),
        (("write", "--documents", "0"), "not in the range"),
        (("write", ".", *SMALL), "is there already"),
        (("write", "no/such/parent", *SMALL), "there is no folder"),
    ],
)
def test_wrong_use_is_answered_in_words(args, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, _, said = rather(*args, capsys=capsys)
    assert code == 2
    assert words in said
    assert not list(tmp_path.iterdir())
