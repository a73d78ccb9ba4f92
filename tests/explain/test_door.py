"""`rather explain` as it is typed: texts, files, recipes, runs, and a model at an endpoint."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from rather.cli import main
from rather.config import save
from rather.explain.endpoint import CHOICES
from rather.stages.ppo_config import PPOConfig
from rather.stages.reward import RewardConfig
from rather.stages.sft import SFTConfig

TEXT = "We fine-tune a language model with PPO, and a KL penalty to the SFT model is subtracted from the reward."
RECIPE = """# a comment with kl_coef = 7
[sft]
epochs = 2

[reward]
rankings = "rankings.jsonl"

[ppo]
kl_coef = 0.05   # more than the paper
ptx_coef = 0.0
"""


def say(capsys, *args):
    with pytest.raises(SystemExit) as stopped:
        main(["explain", *map(str, args)])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return stopped.value.code, said.out, said.err


def test_a_text_is_answered_in_words_with_its_evidence(capsys):
    code, out, err = say(capsys, TEXT)
    assert (code, err) == (0, "")
    assert "KL or equivalent: in the reward" in out
    assert f'"{TEXT}"' in out


def test_the_same_as_one_json_object(capsys, tmp_path):
    file = tmp_path / "abstract.txt"
    file.write_text(TEXT)
    for given in (TEXT, file):
        said = json.loads(say(capsys, given, "--json")[1])
        assert said["about_rlhf"] is True
        assert said["kl"] == {"value": "in the reward", "basis": "stated", "evidence": [{"words": TEXT}]}
        assert said["losses"]["sft"] == {"value": "not stated"}


def test_a_recipe_is_quoted_by_line_and_what_it_leaves_out_is_a_default(capsys, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(RECIPE)
    said = json.loads(say(capsys, file, "--json")[1])
    assert said["losses"]["policy"]["value"] == "PPO"
    assert said["losses"]["policy"]["evidence"] == [{"words": "ptx_coef = 0.0", "where": f"{file}:10"}]
    assert said["kl"]["value"] == "in the reward"
    assert said["kl"]["evidence"] == [{"words": "kl_coef = 0.05", "where": f"{file}:9"}]
    assert said["preferences"]["value"] == "rankings: rankings.jsonl"
    file.write_text(RECIPE.replace("kl_coef = 0.05", "clip_range = 0.1"))
    said = json.loads(say(capsys, file, "--json")[1])
    assert (said["kl"]["value"], said["kl"]["basis"]) == ("in the reward", "default")
    file.write_text(RECIPE.replace("0.05", "0.0"))
    said = json.loads(say(capsys, file, "--json")[1])
    assert (said["kl"]["value"], said["modified"]) == ("none", ["policy"])


def test_a_story_of_runs_is_explained_from_what_they_resolved_to(capsys, tmp_path):
    for name, settings in (
        ("sft", 'demonstrations = "d.jsonl"\n'),
        ("reward", 'rankings = "r.jsonl"\n'),
        ("ppo", "kl_coef = 0.02\nkl_target = 6.0\nptx_coef = 27.8\n"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.toml").write_text(settings)
    said = json.loads(say(capsys, tmp_path, "--json")[1])
    assert said["losses"]["policy"]["value"] == "PPO-ptx"
    assert said["kl"]["value"] == "in the reward"
    assert said["stages"]["policy"]["value"] == "changed: an adaptive KL coefficient"
    alone = json.loads(say(capsys, tmp_path / "ppo", "--json")[1])
    assert alone["losses"]["reward"] == {"value": "not stated"}
    assert alone["kl"] == said["kl"]


def test_the_settings_of_the_real_stages_are_known(capsys, tmp_path):
    # The keys that are read, held against the classes that have them: a setting that is renamed fails here.
    for name, config in (("sft", SFTConfig()), ("reward", RewardConfig()), ("ppo", PPOConfig())):
        (tmp_path / name).mkdir()
        save(config, tmp_path / name / "config.toml")
    said = json.loads(say(capsys, tmp_path, "--json")[1])
    assert said["modified"] == []
    assert (said["losses"]["policy"]["value"], said["kl"]["value"]) == ("PPO-ptx", "in the reward")
    assert said["kl"]["note"] == "kl_coef 0.02"
    save(RewardConfig(heads=3), tmp_path / "reward" / "config.toml")
    save(PPOConfig(preset="ziegler2019"), tmp_path / "ppo" / "config.toml")
    said = json.loads(say(capsys, tmp_path, "--json")[1])
    assert said["stages"]["reward"]["value"] == "changed: several heads"
    assert said["stages"]["policy"]["value"] == "changed: an adaptive KL coefficient"
    assert said["losses"]["policy"]["value"] == "PPO"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b" \n\t ", "is empty"),
        (b"We train\n\xff\xfe", ":2: byte 0xff is not UTF-8"),
    ],
)
def test_a_file_that_is_no_text_is_refused_in_words(capsys, tmp_path, content, words):
    file = tmp_path / "it.txt"
    file.write_bytes(content)
    code, out, err = say(capsys, file)
    assert (code, out) == (2, "")
    assert words in err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["missing.toml"], "no file or folder 'missing.toml'"),
        (["."], "holds no run of a stage"),
        ([TEXT, "--model", "m"], "one was given"),
        ([TEXT, "--model", "m", "--endpoint", "ftp://x"], "no address of an endpoint"),
        ([TEXT, "--model", "m", "--endpoint", "http://127.0.0.1:9/v1"], "cannot be asked"),
        (["x" * 5000], "no file or folder"),
        (["a\0b c"], "about"),
    ],
)
def test_wrong_use_is_words(capsys, tmp_path, monkeypatch, args, words):
    monkeypatch.chdir(tmp_path)
    code, out, err = say(capsys, *args)
    assert words in (err + out)
    assert code == 2 or words == "about"


def test_a_recipe_without_a_stage_or_with_bad_toml_is_said(capsys, tmp_path):
    file = tmp_path / "other.toml"
    file.write_text("[tool]\nname = 1\n")
    assert say(capsys, file)[1].startswith("Not about RLHF.")
    file.write_text("[ppo\n")
    code, _, err = say(capsys, file)
    assert code == 2
    assert "other.toml" in err


class Endpoint(BaseHTTPRequestHandler):
    reply: bytes = b""
    status = 200
    seen: dict = {}  # noqa: RUF012  (one server, one test)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Endpoint.seen = {"path": self.path, "key": self.headers["Authorization"], **json.loads(body)}
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.reply)

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint():
    with HTTPServer(("127.0.0.1", 0), Endpoint) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()
    Endpoint.status = 200


def answering(values):
    content = "```json\n" + json.dumps(values) + "\n```"
    return json.dumps({"choices": [{"message": {"content": content}}]}).encode()


def test_a_models_answer_is_held_against_the_rules_and_the_text(capsys, monkeypatch, endpoint):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    Endpoint.reply = answering(
        {
            "loss policy": {"value": "PPO", "quote": "fine-tune a language model with PPO"},
            "kl": {"value": "in the loss", "quote": "subtracted from the reward"},
            "loss sft": {"value": "cross-entropy", "quote": "on 13k demonstrations"},
        }
    )
    code, out, _ = say(capsys, TEXT, "--endpoint", endpoint, "--model", "judge")
    assert code == 0
    assert (Endpoint.seen["path"], Endpoint.seen["model"], Endpoint.seen["key"]) == (
        "/v1/chat/completions",
        "judge",
        "Bearer secret",
    )
    assert "kl: the rules say in the reward, the model says in the loss" in out
    assert '("on 13k demonstrations", which does not stand in the text)' in out
    assert "loss policy: the rules" not in out
    said = json.loads(say(capsys, TEXT, "--endpoint", endpoint, "--model", "judge", "--json")[1])
    assert {o["what"] for o in said["model"]} == set(CHOICES)
    assert said["kl"]["value"] == "in the reward"


@pytest.mark.parametrize(
    ("reply", "status", "words"),
    [
        (b"<html>", 200, "does not answer with JSON"),
        (b"{}", 200, "did not answer with the JSON object"),
        (b'{"choices": [{"message": {"content": null}}]}', 200, "did not answer with the JSON object"),
        (b'{"choices": [{"message": {"content": "I cannot."}}]}', 200, "did not answer with the JSON object"),
        (b"", 401, "Set OPENAI_API_KEY"),
        (b"", 302, "answers 302"),
        (b"[" * 100_000, 200, "does not answer with JSON"),
    ],
)
def test_an_endpoint_that_answers_otherwise_is_words(capsys, endpoint, reply, status, words):
    Endpoint.reply, Endpoint.status = reply, status
    code, _, err = say(capsys, TEXT, "--endpoint", endpoint, "--model", "judge")
    assert code == 2
    assert words in err


def test_an_answer_of_odd_values_is_shown_and_breaks_nothing(capsys, endpoint):
    Endpoint.reply = answering({"kl": "yes", "loss sft": {"value": 3, "quote": ["x"]}, "reference": None})
    code, out, _ = say(capsys, TEXT, "--endpoint", endpoint, "--model", "judge")
    assert code == 0
    assert "the model says not stated" in out
