"""`rather plan`: what a recipe will hold and how long it will take, before anything starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rather.cli import main
from rather.models.load import save_policy
from rather.models.tiny import TinyConfig, tiny
from rather.pipeline_recipe import Recipe
from rather.plan import plan_of
from rather.plan.machines import named_gpu, this_machine
from rather.plan.words import in_bytes, in_time

ROOT = Path(__file__).parents[2]
RECIPES = ("miniature", "paper-in-miniature")  # the others begin with a model of the hub
WORDS = ["Name a fish.", "A cod, a bream or a perch.", "Why is the sky blue?", "It is not, on a day like this one."]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    policy = tiny(TinyConfig(vocabulary=300, hidden=16, layers=2, heads=2, context=96), WORDS * 20, torch.Generator())
    return save_policy(policy, tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    def run(*args: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["plan", *map(str, args)])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return int(end.value.code or 0), out, err

    return run


def planned(run: Any, *args: object) -> dict[str, Any]:
    code, said, _ = run(*args, "--json")
    found = json.loads(said)
    assert code == (0 if found["fits"] else 1)
    return found


def bytes_of(stage: dict[str, Any], **wanted: str) -> int:
    items = stage["memory"]["items"]
    return sum(item["bytes"] for item in items if all(item[key] == value for key, value in wanted.items()))


@pytest.mark.parametrize("name", RECIPES)
def test_a_story_is_planned_before_any_of_its_models_is_there(name):
    recipe = Recipe.read(ROOT / "recipes" / f"{name}.toml", Path("nowhere"))
    stages = [(step.verb, step.name, step.settings) for step in recipe.steps]
    plan = plan_of(stages, recipe.folder, this_machine(rates=False))
    assert [stage.name for stage in plan.stages] == [step.name for step in recipe.steps]
    for stage in plan.stages:
        open_ = stage.verb in ("world", "best-of-n", "measure", "claims", "report")
        assert (stage.need is None) == open_
        assert bool(stage.work) != open_
    assert plan.seconds is None, "nothing was measured"
    assert not Path("nowhere").exists()


def test_four_models_of_ppo_are_accounted_for(run, model):
    both = ("ppo", "run", f"model={model}", f"reward={model}", "world=marn:0:tiny", "--no-time", "precision=fp32")
    (stage,) = planned(run, *both, "second_opinion=" + str(model))["stages"]
    n = stage["parameters"]["policy"]
    assert set(stage["parameters"]) == {"policy", "reference", "reward model", "second opinion", "critic"}
    table = 300 * 16
    head = 16 + 1
    body = n  # tied: the table is in the body
    assert table < n
    assert bytes_of(stage, model="policy", purpose="masters") == 4 * n
    assert bytes_of(stage, model="policy", purpose="moments") == 8 * n
    assert bytes_of(stage, model="policy", purpose="moving average") == 4 * n
    assert bytes_of(stage, model="critic", purpose="moments") == 8 * (body + head)
    assert bytes_of(stage, model="reference") == 4 * n
    assert bytes_of(stage, model="reward model") == bytes_of(stage, model="second opinion") == 4 * (body + head)
    (half,) = planned(run, *both[:-1], "precision=bf16")["stages"]
    assert bytes_of(half, model="reference") == 2 * n
    assert bytes_of(half, model="policy", purpose="working copy") == 2 * n
    (without,) = planned(run, *both, "ema_decay=0.0", "preset=instructgpt")["stages"]
    assert bytes_of(without, purpose="moving average") == 0
    assert bytes_of(stage, purpose="pretraining text") > bytes_of(without, purpose="pretraining text") == 0


def test_with_adapters_the_reference_is_the_policy_without_them_and_the_critic_shares_its_body(run, model):
    ask = ("ppo", "run", f"model={model}", f"reward={model}", "world=marn:0:tiny", "--no-time", "precision=fp32")
    (whole,) = planned(run, *ask)["stages"]
    (few,) = planned(run, *ask, "lora.rank=2")["stages"]
    n = few["parameters"]["policy"]
    assert bytes_of(few, model="reference") == 0
    assert bytes_of(few, model="policy", purpose="frozen weights") == 4 * n
    for role in ("policy", "critic"):
        assert 0 < bytes_of(few, model=role, purpose="moments") < bytes_of(whole, model=role, purpose="moments") / 2


def test_a_function_or_an_address_that_scores_is_no_model(run, model):
    ask = ("ppo", "run", f"model={model}", "world=marn:0:tiny", "critic_from=policy", "--no-time")
    (stage,) = planned(run, *ask, 'reward=["math:sqrt", "http://localhost:1"]')["stages"]
    assert set(stage["parameters"]) == {"policy", "reference", "critic"}


def test_the_peak_is_what_is_always_there_and_the_largest_phase(run, model):
    (stage,) = planned(run, "ppo", "run", f"model={model}", f"reward={model}", "world=marn:0:tiny", "--no-time")[
        "stages"
    ]
    memory = stage["memory"]
    phases = {item["phase"] for item in memory["items"]} - {""}
    assert {"sampling", "learning", "learning, critic"} == phases
    sizes = {phase: bytes_of(stage, phase=phase) for phase in phases}
    assert memory["peak"] == bytes_of(stage, phase="") + max(sizes.values())
    assert memory["phase"] == max(sizes, key=lambda phase: sizes[phase])


def test_records_that_are_there_are_counted_by_the_models_own_tokens(run, model, tmp_path):
    rows = [{"prompt": WORDS[0], "response": WORDS[1]}, {"prompt": WORDS[2], "response": WORDS[3]}] * 20
    (tmp_path / "demonstrations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (stage,) = planned(run, "sft", tmp_path, f"model={model}", "epochs=3", "--no-time")["stages"]
    trained = sum(one["count"] for one in stage["work"] if one["kind"] == "train")
    updates = sum(one["count"] for one in stage["work"] if one["kind"] == "update")
    assert updates == 3 * 2
    assert 3 * 40 * 30 < trained < 3 * 40 * 75  # some thirty letters on either side, and a template
    (missing,) = planned(run, "sft", tmp_path / "other", f"model={model}", "--no-time")["stages"]
    assert missing["work"] == []
    assert "is not there yet" in missing["notes"][0]


def test_time_is_measured_here_and_more_epochs_take_longer(run, model, tmp_path):
    row = json.dumps({"prompt": WORDS[0], "response": WORDS[1]}) + "\n"
    (tmp_path / "demonstrations.jsonl").write_text(row * 40)
    found = planned(run, "sft", tmp_path, f"model={model}", "epochs=2")
    (rates,) = found["machine"]["measured"]
    assert min(rates[key] for key in ("train", "score", "decode", "update")) > 0
    assert rates["repeats"] >= 2
    assert found["seconds"] == found["stages"][0]["seconds"] > 0
    assert not found["machine"]["estimate"]


def test_a_gpu_by_name_is_an_estimate_and_more_of_them_share_the_work_and_not_the_memory(run, model):
    ask = ("ppo", "run", f"model={model}", f"reward={model}", "world=marn:0:tiny")
    one = planned(run, *ask, "--gpu", "h100")
    eight = planned(run, *ask, "--gpu", "H100", "--gpus", 8)
    assert one["machine"]["estimate"]
    assert one["machine"]["gpu"]["peak"] == 989e12
    assert one["seconds"] / 8 <= eight["seconds"] < one["seconds"]
    assert eight["stages"][0]["memory"]["peak"] == one["stages"][0]["memory"]["peak"]
    _, said, _ = run(*ask, "--gpu", "H100", "--gpus", 8)
    assert "Times are estimates" in said
    assert "Every GPU holds all of every model" in said


LARGE = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "intermediate_size": 11008,
         "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32000,
         "max_position_embeddings": 2048}  # fmt: skip


def test_what_does_not_fit_says_what_to_change_and_fails(run, tmp_path):
    """A model of seven billion parameters, of which only the configuration is there."""
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "config.json").write_text(json.dumps(LARGE))
    ask = (
        "ppo",
        tmp_path,
        f"model={tmp_path / 'large'}",
        f"reward={tmp_path / 'large'}",
        "world=marn:0:tiny",
        "--no-time",
    )
    found = planned(run, *ask, "--gpu", "H100")
    assert found["stages"][0]["parameters"]["policy"] == 6_738_415_616  # Llama 7B's own count
    assert any(line.startswith("lora.rank=16: ") for line in found["stages"][0]["advice"])
    code, said, _ = run(*ask, "--gpu", "L4", "--gpus", 4)
    assert code == 1
    assert "DOES NOT FIT in 24 GB" in said
    assert "no setting is enough" in said
    assert "more GPUs share the work and not the memory" in said


def test_what_the_advice_says_makes_it_fit(run, tmp_path):
    """A model of some 800 million parameters on 24 GB: rows and slots are too many, and nothing else is wrong."""
    small = LARGE | {"hidden_size": 2048, "intermediate_size": 5504, "num_hidden_layers": 12}
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text(json.dumps(small))
    demos = tmp_path / "demonstrations.jsonl"
    demos.write_text('{"prompt": "a", "response": "b"}\n')
    ask = ("sft", tmp_path, f"model={tmp_path / 'm'}", "row_budget=32768", "--gpu", "RTX4090")
    found = planned(run, *ask)
    assert not found["fits"]
    said = found["stages"][0]["advice"]
    assert said[0].startswith("row_budget=4096: ")
    assert said[-1] == "together they make it fit"
    changes = [line.partition(":")[0] for line in said[:-1]]
    assert planned(run, *ask[:3], *changes, *ask[4:])["fits"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("nothing",), "neither a recipe nor a stage"),
        (("pppo",), "Did you mean 'ppo'?"),
        (("nowhere.toml",), "nowhere.toml cannot be read"),
        (("ppo", "--gpu", "H1000"), "Did you mean 'H100'?"),
        (("ppo", "--gpus", "2"), "without --gpu"),
        (("ppo", "kl_coeff=1"), "Did you mean 'kl_coef'?"),
        (("ppo", "somewhere"), "no stage of the recipe leaves it"),
        (("sft", "model=./nowhere"), "There is no ./nowhere"),
        (("recipes/miniature.toml", "--name", "x"), "--name without a VERB"),
    ],
)
def test_wrong_use_is_said_in_words(run, args, words, monkeypatch):
    monkeypatch.chdir(ROOT)
    code, said, err = run(*args)
    assert (code, said) == (2, "")
    assert words in err


NO_CONFIGURATIONS = ["", "[]", "{}", '{"model_type": "lama"}', '{"model_type": "llama", "num_hidden_layers": "x"}']
NO_CONFIGURATIONS += ['{"model_type": "llama", "hidden_size": -4}', '{"model_type": "llama", "vocab_size": 1e99}']


@pytest.mark.parametrize("content", NO_CONFIGURATIONS)
def test_a_configuration_that_is_none_is_named(run, tmp_path, content):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text(content)
    code, _, err = run("ppo", tmp_path, f"model={tmp_path / 'm'}", "--no-time")
    assert code == 2
    assert "config.json" in err


def test_bytes_and_seconds_as_people_say_them():
    assert [in_bytes(n) for n in (12, 1234, 5.6e6, 7.89e9, 3e12)] == [
        "12 bytes",
        "1.23 kB",
        "5.6 MB",
        "7.89 GB",
        "3 TB",
    ]
    assert [in_time(s) for s in (0.21, 12.2, 300, 9000, 400_000)] == [
        "0.21 seconds", "12 seconds", "5 minutes", "2.5 hours", "4.6 days",
    ]  # fmt: skip


def test_gpus_are_found_however_they_are_spelt():
    assert named_gpu("a100 80", 1).gpu == named_gpu("A100-80", 1).gpu
