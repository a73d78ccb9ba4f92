"""Win rates by people, a reward model, a model at an endpoint and a world: one set of numbers, whoever judged."""

from __future__ import annotations

import json
import random
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rather.cli import main
from rather.evaluate.asked import evaluation_prompts
from rather.evaluate.outcomes import Outcome, by_panels, worth
from rather.evaluate.preference import pairs, panel_votes, preferred
from rather.models.load import save_policy
from rather.worlds.noise import Noise
from reward_world import demonstrations, policy, rankings

# desk.md's golden numbers: six prompts with several labels each.
GOLDEN = [(1, 1, 1), (1, 0.5), (0, 0, 0.5), (1, 1), (1, 0, 1), (0, 0.5)]


def run(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main(["evaluate", "preference", *map(str, words)])
    out, err = capsys.readouterr()
    return end.value.code, out, err


def said(capsys, *words):
    code, out, err = run(capsys, *words, "--json")
    assert code == 0, err
    return json.loads(out)


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_golden_numbers_of_a_win_rate():
    found = worth([Outcome(p, value, 1, 2) for p, values in enumerate(GOLDEN) for value in values])
    assert found["win rate"]["value"] == pytest.approx(0.6389, abs=5e-5)
    assert found["win rate"]["se"] == pytest.approx(0.1470, abs=5e-5)
    assert (found["win rate"]["n"], found["win rate"]["clusters"]) == (15, 6)
    assert "All 15 length differences are -1" in found["length controlled"]["not computed"]  # an error, and no number
    assert "panels" not in found


def test_panels_are_groups_of_labelers_times_sources():
    rows = [
        Outcome(p, float(panel == "training" or p == 0), p, 0, source=source, panel=panel)
        for panel in ("training", "held-out")
        for source in ("api", "labeler")
        for p in range(4)
    ]
    found = worth(rows)
    assert found["win rate"]["value"] == 1  # that of the training labelers
    assert {name: of["value"] for name, of in found["panels"]["held-out"].items()} == dict.fromkeys(
        ("all", "api", "labeler"), 0.25
    )


def people(folder):
    """Twelve prompts, two labelers each; the second is held out and prefers the other model."""
    rows = []
    for k in range(12):
        texts = [
            {"text": "a" * (k + 1), "model": "ppo"},
            {"text": "b" * 5, "model": "sft"},
            {"text": "c", "model": "x"},
        ]
        asked = {"prompt": f"say {k}", "category": "chat" if k % 2 else "rewrite", "source": "api"}
        for who, ranks in (("ana", [1, 2, 3]), ("ben", [2, 1, 3] if k else [1, 1, 2])):
            rows.append({**asked, "id": f"{k} {who}", "responses": texts, "ranks": ranks, "labeler": who})
    return lines(folder / "rankings.jsonl", rows)


def test_people_by_their_rankings(tmp_path, capsys):
    file = people(tmp_path)
    found = said(capsys, "ppo", "sft", "--judge", f"people:{file}")
    assert found["win rate"]["value"] == pytest.approx((12 + 0.5) / 24)
    assert (found["win rate"]["wins"], found["win rate"]["ties"], found["win rate"]["losses"]) == (12, 1, 11)
    assert set(found["by category"]) == {"chat", "rewrite"}
    assert "length controlled" in found
    found = said(capsys, "ppo", "sft", "--judge", f"people:{file}", "--held-out", "ben")
    assert found["win rate"]["value"] == found["panels"]["training"]["api"]["value"] == 1
    assert found["panels"]["held-out"]["all"]["value"] == pytest.approx(0.5 / 12)
    code, out, _ = run(capsys, "ppo", "sft", "--judge", f"people:{file}", "--held-out", "ben")
    assert code == 0
    assert "held-out labelers, api" in out


def test_people_by_their_comparisons(tmp_path, capsys):
    rows = [
        {"id": str(k), "prompt": f"p {k}", "a": {"text": "x", "model": m[0]}, "b": {"text": "y", "model": m[1]},
         "preferred": verdict}
        for k, (m, verdict) in enumerate([(("us", "them"), "a"), (("them", "us"), "a"), (("them", "us"), "tie")])
    ]  # fmt: skip
    found = said(capsys, "us", "them", "--judge", f"people:{lines(tmp_path / 'c.jsonl', rows)}")
    assert found["win rate"]["value"] == 0.5
    assert found["win rate"]["ties"] == 1


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Polite answers are better, and a reward model that learned it."""
    folder = tmp_path_factory.mktemp("preference")
    (folder / "sft").mkdir()
    save_policy(policy(), folder / "sft" / "checkpoint")
    for name, records in (("rankings", rankings(60)), ("demonstrations", demonstrations(12))):
        (folder / f"{name}.jsonl").write_text("".join(r.model_dump_json(exclude_none=True) + "\n" for r in records))
    with pytest.raises(SystemExit) as end:
        main(["reward", str(folder), "learning_rate=3e-3", "batch_size=16", "precision=fp32", "validation_share=0.3"])
    assert end.value.code == 0
    for name, ending in (("polite", "please"), ("rude", "now")):
        said = [{"text": f"red blue {ending}" + " warm" * (k % 3), "model": name} for k in range(12)]
        rows = [{"id": str(k), "prompt": f"say red 0 {k}", "responses": [one]} for k, one in enumerate(said)]
        lines(folder / f"{name}.jsonl", rows)
    return folder


def test_a_reward_model_is_said_to_be_one(answers, capsys):
    words = (answers / "polite.jsonl", answers / "rude.jsonl", "--judge", f"reward:{answers / 'reward'}")
    found = said(capsys, *words, "-o", answers / "found.json")
    assert found["win rate"]["value"] > 0.9
    assert found["judge"].endswith("not by people")
    assert found["left out"] == 0
    assert json.loads((answers / "found.json").read_text()) == found


class Judge(BaseHTTPRequestHandler):
    """Prefers politeness, or whatever stands first, or says something else."""

    manner = "polite"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert body["temperature"] == 0
        _, _, rest = body["messages"][1]["content"].partition("# Answer A\n")
        first, _, second = rest.partition("# Answer B\n")
        verdict = {
            "polite": "A" if "please" in first and "please" not in second else "B" if "please" in second else "tie",
            "first": "A",
            "odd": "both",
        }[self.manner]
        content = json.dumps({"choices": [{"message": {"content": json.dumps({"verdict": verdict})}}]})
        self.send_response(500 if self.manner == "broken" else 200)
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint():
    with ThreadingHTTPServer(("127.0.0.1", 0), Judge) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"endpoint:http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()
    Judge.manner = "polite"


def test_a_model_at_an_endpoint_is_asked_in_both_orders(answers, endpoint, capsys):
    words = (answers / "polite.jsonl", answers / "rude.jsonl", "--judge", endpoint, "--model", "m")
    found = said(capsys, *words)
    assert found["win rate"]["value"] == 1
    assert found["judge's habits"]["consistent"]["value"] == 1
    assert found["judge's habits"]["first shown"]["value"] == 0.5
    Judge.manner = "first"  # a judge who likes what stands first prefers nothing
    found = said(capsys, *words)
    assert found["win rate"]["value"] == 0.5
    assert found["win rate"]["ties"] == 12
    assert found["judge's habits"]["consistent"]["value"] == 0
    assert found["judge's habits"]["first shown"]["value"] == 1


def test_a_verdict_that_is_none_is_an_error_and_no_tie(answers, endpoint, capsys):
    Judge.manner = "odd"
    code, _, err = run(capsys, answers / "polite.jsonl", answers / "rude.jsonl", "--judge", endpoint, "--model", "m")
    assert code == 2
    assert "verdict: A or tie or B" in err


def test_a_worlds_two_panels_judge_with_expected_votes(judges):
    asked = [one for one in evaluation_prompts(judges.world, 8) if one.group == "main"]
    rng = random.Random(0)
    ours = [judges.answer(one, judges.world.demonstration(one.prompt, rng), True) for one in asked]
    theirs = [judges.answer(one, "blah", True) for one in asked]
    met, noise = pairs(ours, theirs), Noise(1.0, 0.2)
    found = worth(by_panels(panel_votes(judges, met, noise), met))
    assert found["win rate"] == found["panels"]["training"]["all"]
    assert found["win rate"]["value"] > 0.9
    assert set(found["panels"]) == {"training", "held-out"}
    assert set(found["panels"]["held-out"]) == {"all", "api"}
    before = preferred(judges, ours, theirs, noise)
    assert [before[group]["value"] for group in found["panels"]] == [
        of["all"]["value"] for of in found["panels"].values()
    ]


def test_models_of_a_world_have_to_be_measured_first(story, tmp_path, capsys):
    copied = shutil.copytree(story, tmp_path / "run", ignore=shutil.ignore_patterns("evaluate"))
    code, _, err = run(capsys, copied / "base-s", copied / "sft-s", "--judge", "world")
    assert code == 2
    assert f"rather world measure {copied} base-s" in err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("a", "b", "--judge", "me"), "There is no judge 'me'"),
        (("a", "b", "--judge", "people"), "There is no judge 'people'"),
        (("a", "b", "--judge", "people:none.jsonl"), "no file none.jsonl"),
        (("a", "b", "--judge", "people:rankings.jsonl"), "nobody compared a with b"),
        (("a", "b", "--judge", "people:polite.jsonl"), "Expected rankings or comparisons"),
        (("a", "b", "--judge", "people:rankings.jsonl", "--held-out", "zoe"), "Labelers zoe are not in"),
        (("polite.jsonl", "rankings.jsonl", "--judge", "reward:reward"), "Expected answers to prompts"),
        (("polite.jsonl", "demonstrations.jsonl", "--judge", "reward:reward"), "answer 0 common prompts"),
        (("polite.jsonl", "rude.jsonl", "--judge", "endpoint:http://127.0.0.1:9/v1"), "--model NAME"),
        (
            ("polite.jsonl", "rude.jsonl", "--judge", "endpoint:http://127.0.0.1:9/v1", "--model", "m"),
            "cannot be asked",
        ),
        (("x/a", "y/b", "--judge", "world"), "of two runs"),
        (("polite.jsonl", "rude.jsonl", "--judge", "reward:reward", "-o", "x.html"), "ends in .json"),
        (("polite.jsonl", "rude.jsonl", "--judge", "reward:reward", "--held-out", "a"), "names people"),
    ],
)
def test_what_cannot_be_judged_is_said(answers, capsys, monkeypatch, words, expected):
    monkeypatch.chdir(answers)
    code, _, err = run(capsys, *words)
    assert code == 2
    assert expected in err
