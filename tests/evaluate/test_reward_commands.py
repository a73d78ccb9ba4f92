"""`rather reward`, `rather reward report` and `rather score`, as somebody types them."""

from __future__ import annotations

import json

import pytest

from rather.cli import main
from rather.models.load import save_policy
from rather.run import verify
from reward_world import demonstrations, policy, rankings

SETTINGS = ("learning_rate=3e-3", "batch_size=16", "precision=fp32", "validation_share=0.3")


def write(file, records):
    file.write_text("".join(record.model_dump_json(exclude_none=True) + "\n" for record in records))


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    folder = tmp_path_factory.mktemp("story") / "run"
    (folder / "sft").mkdir(parents=True)
    save_policy(policy(), folder / "sft" / "checkpoint")
    write(folder / "rankings.jsonl", rankings(90, labelers=("ana", "ben", "cho")))
    write(folder / "demonstrations.jsonl", demonstrations(20))
    with pytest.raises(SystemExit) as end:
        main(["reward", str(folder), *SETTINGS, "held_out=['cho']"])
    assert end.value.code == 0
    return folder


@pytest.fixture
def run(capsys):
    def run(*args):
        with pytest.raises(SystemExit) as end:
            main([*map(str, args)])
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return run


def test_a_story_has_a_reward_model_that_is_finished_and_whole(story):
    done = verify(story / "reward")
    assert done["result"]["val/accuracy"] > 0.9
    assert (story / "reward" / "checkpoint" / "probe.json").exists()


def test_the_report_is_printed_and_written(story, run):
    asked = story / "asked.jsonl"
    asked.write_text("".join(json.dumps({"id": str(n), "prompt": f"say red 0 {n}"}) + "\n" for n in range(20)))
    code, out, _ = run("reward", "report", story, "--against", asked)
    assert code == 0
    assert "held-out labelers" in out
    assert "Coverage: " in out
    found = json.loads((story / "reward" / "report.json").read_text())
    assert found["groups"]["held-out labelers"]["labelers"] == 1
    assert found["demonstrations"]["mean"]["value"] == pytest.approx(0, abs=1e-4)


def test_the_report_as_an_object_with_a_curve_and_folds(story, run):
    code, out, _ = run("reward", "report", story, "--curve", "8,40", "--folds", "2", "--json")
    assert code == 0
    found = json.loads(out)
    assert [point["prompts"] for point in found["learning curve"]] == [8, 40]
    assert len(found["cross-validation"]["folds"]) == 2


def test_demonstrations_score_0_on_average(story, run):
    code, out, _ = run("score", story / "reward", story / "demonstrations.jsonl", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["mean"]["value"] == pytest.approx(0, abs=1e-4)
    assert (found["responses"], found["left out"]) == (20, 0)


def test_scores_are_written_one_line_a_record_and_two_models_disagree_by_so_much(story, run):
    run("reward", story, *SETTINGS, "--name", "reward-2", "seed=2")
    out_file = story / "scores.jsonl"
    code, out, _ = run("score", story / "reward", story / "reward-2", story / "rankings.jsonl", "-o", out_file)
    assert code == 0
    rows = [json.loads(line) for line in out_file.read_text().splitlines()]
    assert len(rows) == 270
    assert all(response["disagreement"] >= 0 for row in rows for response in row["responses"])
    assert max(response["disagreement"] for row in rows for response in row["responses"]) > 0.01
    assert "mean disagreement" in out


def test_what_a_model_sampled_can_be_scored(story, run):
    sampled = story / "samples.jsonl"
    run("sample", story / "sft" / "checkpoint", "-p", "say red", "-k", "3", "--max-new-tokens", "8", "-o", sampled)
    code, out, _ = run("score", story / "reward", sampled)
    assert code == 0
    assert "3 responses to 1 prompts" in out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["reward", "{nothing}"], "There is no {nothing}/rankings.jsonl"),
        (["reward", "report", "{nothing}"], "has no finished reward model"),
        (["reward", "{story}", "--again", "heads=0"], "heads is 0"),
        (["reward", "{story}", "--again", "held_out=['nobody']"], "held_out names nobody, who ranked nothing"),
        (["reward", "{story}", "--again", "leaning_rate=1"], "Did you mean 'learning_rate'"),
        (["reward", "report", "{story}", "--curve", "many"], "Expected numbers of prompts"),
        (["reward", "report", "{story}", "--curve", "4000"], "A learning curve up to 4,000 prompts"),
        (["score", "{story}/rankings.jsonl"], "Expected a reward model and a file"),
        (["score", "{story}/sft", "{story}/rankings.jsonl"], "no reward.json"),
        (["score", "{story}/reward", "{story}/prompts.jsonl"], "there is no response to score"),
        (["score", "{story}/reward", "{story}/rankings.jsonl", "-o", "x.csv"], "ends in .jsonl"),
    ],
)
def test_what_cannot_be_done_is_said_in_words_and_breaks_nothing(args, words, story, run, tmp_path):
    (story / "prompts.jsonl").write_text('{"id": "1", "prompt": "say red"}\n')
    places = {"nothing": tmp_path, "story": story}
    code, _, err = run(*(arg.format(**places) if "{" in arg else arg for arg in args))
    assert code == 2
    assert words.format(**places) in err
    assert "Traceback" not in err
    verify(story / "reward")


def test_a_story_whose_models_write_otherwise_is_told_before_training(story, run):
    other = policy()
    other.tokenizer.chat_template = "{{ messages[0]['content'] }} -> {{ messages[1]['content'] if messages[1:] }}"
    save_policy(other, story / "ppo" / "checkpoint") if (story / "ppo").mkdir() is None else None
    code, _, err = run("reward", story, *SETTINGS, "--name", "reward-3")
    assert code == 0
    assert "ppo, of this story, has another template than the model begun from" in err
    _, out, _ = run("reward", "report", story)
    assert "another template or EOS: ppo differs" in out


def test_help_names_the_settings_with_their_sections(run):
    code, out, _ = run("reward", "--help")
    assert code == 0
    assert "C.2: prompts, each with all its pairs" in out
    assert run("reward", "report", "--help")[1].count("--against") == 1
