"""Settings: the order of the words, the refusals, and a saved file that gives the same configuration back."""

from __future__ import annotations

import math
import subprocess
import sys
from enum import Enum
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError, model_validator

from rather.config import Config, as_toml, describe, save
from rather.errors import BadFile, BadSetting, RatherError


class Sampling(Config):
    temperature: float = Field(1.0, gt=0, description="C.4")
    seeds: list[int] = Field([1, 2], description="ours")


class PPO(Config):
    batch_size: int = Field(512, ge=1, description="C.4: episodes per iteration")
    kl_coef: float = Field(0.02, description="C.4: beta")
    betas: tuple[float, float] = Field((0.9, 0.95), description="C.1")
    target_kl: float | None = Field(6.0, description="as in openai/lm-human-preferences")
    sampling: Sampling = Sampling()


class Speed(Enum):
    slow = "slow"
    fast = "fast"


class Whole(Config):
    model: str = Field("tiny", description="a folder or a hub id")
    out: Path | None = Field(None, description="where it goes")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="of the matrix products")
    speed: Speed = Speed.slow
    shuffle: bool = True
    weights: dict[str, float] = Field({}, description="of the sources")
    ppo: PPO = PPO()
    probe: Sampling | None = None


def recipe(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_defaults_then_recipe_then_the_command_line(tmp_path):
    path = recipe(tmp_path, "[ppo]\nbatch_size = 64\nkl_coef = 0.1\n")
    config = Whole.load(path, ["ppo.kl_coef=0.2", "ppo.kl_coef=0.3"])
    assert (config.ppo.batch_size, config.ppo.kl_coef, config.ppo.target_kl) == (64, 0.3, 6.0)


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("model=gpt2", "model", "gpt2"),
        ("model=7", "model", "7"),  # text stays text, whatever it looks like
        ("model=true", "model", "true"),
        ('model="7"', "model", "7"),
        ("model=a=b", "model", "a=b"),
        ("model=a # b", "model", "a # b"),
        ("model=x\nshuffle = false", "model", "x\nshuffle = false"),
        ("out=runs/1", "out", Path("runs/1")),
        ("shuffle=false", "shuffle", False),
        ("speed=fast", "speed", Speed.fast),
        ("weights={a = 1, b = 2.5}", "weights", {"a": 1.0, "b": 2.5}),
        ("weights.a=3", "weights", {"a": 3.0}),
        ("probe={temperature = 0.5}", "probe", Sampling(temperature=0.5)),
        ("probe=none", "probe", None),
        ("ppo.target_kl=none", "ppo", PPO(target_kl=None)),
        ("ppo.kl_coef=1e-6", "ppo", PPO(kl_coef=1e-6)),
        ("ppo.kl_coef=1", "ppo", PPO(kl_coef=1.0)),
        ("ppo.betas=[0.8, 1]", "ppo", PPO(betas=(0.8, 1.0))),
        (" ppo.batch_size = 1_000 ", "ppo", PPO(batch_size=1000)),
        ("ppo.sampling.seeds=[]", "ppo", PPO(sampling=Sampling(seeds=[]))),
    ],
)
def test_a_value_on_the_command_line(override, key, value):
    found = getattr(Whole.load(None, [override]), key)
    assert found == value
    assert type(found) is type(value)


def test_an_inline_table_adds_to_the_recipes_table(tmp_path):
    config = Whole.load(recipe(tmp_path, "[ppo]\nbatch_size = 64\n"), ["ppo={kl_coef = 0.5}"])
    assert (config.ppo.batch_size, config.ppo.kl_coef) == (64, 0.5)


@pytest.mark.parametrize(
    ("override", "guess"),
    [
        ("ppo.bacth_size=3", "'ppo.batch_size'"),
        ("kl_coef=3", "'ppo.kl_coef'"),  # a level deeper
        ("ppo.model=x", "'model'"),  # a level higher
        ("temperature=3", "'ppo.sampling.temperature'"),
        ("ppo.samplin.seeds=3", "'ppo.sampling'"),
        ("tempreature=3", "'ppo.sampling.temperature'"),
        ("ppo.batch_size", "'ppo.batch_size'"),
    ],
)
def test_an_unknown_key_is_refused_with_the_name_that_was_meant(override, guess):
    with pytest.raises(BadSetting) as refused:
        Whole.load(None, [override])
    assert guess in refused.value.found
    assert refused.value.expected


def test_a_field_one_level_too_high_in_a_recipe_is_refused_with_file_and_place(tmp_path):
    path = recipe(tmp_path, "batch_size = 3\n")
    with pytest.raises(
        BadSetting, match=r"recipe.toml: there is no setting 'batch_size'. Did you mean 'ppo.batch_size'"
    ):
        Whole.load(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ppo = 3", ["ppo is 3", "a table"]),
        ("[model]\nx = 1", ["model is", "text"]),
        ("[[ppo]]\nbatch_size = 1", ["ppo is", "a table"]),
        ("[ppo]\nbatch_size = '64'", ['ppo.batch_size is "64"', "a whole number, at least 1", "ppo.batch_size=512"]),
        ("[ppo]\nbatch_size = 64.0", ["64.0", "a whole number"]),
        ("[ppo]\nbatch_size = true", ["true", "a whole number"]),
        ("[ppo]\nbatch_size = 0", ["ppo.batch_size is 0", "at least 1"]),
        ("[ppo]\nbatch_size = 1979-05-27", ["1979-05-27", "a whole number"]),
        ("[ppo]\nkl_coef = nan", ["ppo.kl_coef", "finite"]),
        ("[ppo]\nkl_coef = -inf", ["ppo.kl_coef", "finite"]),
        ("[ppo]\nkl_coef = false", ["ppo.kl_coef is false", "a number"]),
        ("[ppo]\nkl_coef = 'none'", ["ppo.kl_coef", "a number"]),  # may not be unset
        ("[ppo]\nbetas = [0.9]", ["ppo.betas", "a list of 2"]),
        ("[ppo]\nbetas = [0.9, 'x']", ["ppo.betas[1]", '"x"']),
        ("[ppo.sampling]\nseeds = [1, 2.5]", ["ppo.sampling.seeds[1]", "2.5"]),
        ("[ppo.sampling]\ntemperature = 0.0", ["ppo.sampling.temperature", "more than 0"]),
        ("precision = 'fp16'", ["precision", "'auto', 'fp32', 'bf16'"]),
        ("speed = 'warp'", ["speed", "'slow', 'fast'"]),
        ("shuffle = 1", ["shuffle is 1", "true or false"]),
        ("shuffle = 'yes'", ["shuffle", "true or false"]),
        ("out = 3", ["out is 3", "a path"]),
        ("weights = {a = 'x'}", ["weights", "x"]),
        ("model = 3\nshuffle = 3", ["model is 3", "Wrong as well: shuffle"]),
    ],
)
def test_a_wrong_value_in_a_recipe_is_said_with_file_and_key(tmp_path, text, words):
    with pytest.raises(BadSetting) as refused:
        Whole.load(recipe(tmp_path, text))
    message = str(refused.value)
    assert "recipe.toml: " in message
    assert all(word in message for word in words), message
    assert len(message.splitlines()) <= 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"model = tiny\n", ["recipe.toml:1:", "model = tiny"]),
        (b"shuffle = true\nmodel 'x'\n", ["recipe.toml:2:", "model 'x'"]),
        (b"shuffle = true\nshuffle = false\n", ["recipe.toml:2:", "verwrite"]),
        (b"[ppo]\n[ppo]\n", ["recipe.toml:2:"]),
        (b"model = 'caf\xe9'\n", ["recipe.toml:1:", "0xe9", "UTF-8"]),
        (b"\xef\xbb\xbfmodel = 'x'\n", ["byte order mark"]),
        ("model = 'x'\n".encode("utf-16"), ["UTF-8"]),
        (b"model = 'x\n", ["recipe.toml: ", "end of document"]),
        (b'model = "\x00"\n', ["recipe.toml:1:"]),
        (b"x = " + b"[" * 5000, ["nested too deeply"]),
        (b"x = " + b"9" * 5000, ["recipe.toml", "digit"]),
        (b"\x80\x04\x95", ["recipe.toml:1:", "0x80"]),
    ],
)
def test_a_file_that_is_not_toml_is_said_with_its_line(tmp_path, content, words):
    with pytest.raises(BadFile) as refused:
        Whole.load(recipe(tmp_path, content))
    message = str(refused.value)
    assert all(word in message for word in words), message
    assert len(message.splitlines()) <= 3


def test_a_missing_recipe_offers_its_neighbour_and_a_folder_is_no_recipe(tmp_path):
    recipe(tmp_path, "")
    with pytest.raises(BadFile, match=r"No such file.* Did you mean 'recipe.toml'"):
        Whole.load(tmp_path / "recpie.toml")
    with pytest.raises(BadFile, match="is a folder"):
        Whole.load(tmp_path)


@pytest.mark.parametrize("text", ["", "=", "=3", "model", "model=", "ppo.=3", ".ppo=3", "ppo..x=3", "ppo.target_kl=",
                                  "ppo=", "ppo=3", "ppo.kl_coef=.5x", "ppo.kl_coef.x=3", "model=\udc80", "\udc80=3",
                                  "shuffle=True", "weights.=3", "ppo.kl_coef=" + "[" * 5000])  # fmt: skip
def test_a_malformed_override_gives_words(text):
    with pytest.raises(RatherError) as refused:
        Whole.load(None, [text])
    assert 1 <= len(str(refused.value).splitlines()) <= 3


def test_an_empty_value_says_how_to_write_one():
    with pytest.raises(BadSetting, match=r"ppo.target_kl=none"):
        Whole.load(None, ["ppo.target_kl="])
    with pytest.raises(BadSetting, match="""model='""'"""):
        Whole.load(None, ["model="])


def test_what_has_no_default_is_asked_for(tmp_path):
    class Needs(Config):
        model: str
        inner: PPO = PPO()

    with pytest.raises(BadSetting, match=r"model is not set and has no default.\nExpected text.\nType model=..."):
        Needs.load(None, [])
    assert Needs.load(None, ["model=x"]).model == "x"


def test_a_rule_between_settings_speaks_in_its_own_words(tmp_path):
    class Batches(Config):
        batch_size: int = 8
        minibatch_size: int = 4

        @model_validator(mode="after")
        def divides(self) -> Batches:
            if self.batch_size % self.minibatch_size:
                raise ValueError(f"batch_size {self.batch_size} is not a multiple of {self.minibatch_size}")
            return self

    class Outer(Config):
        sft: Batches = Batches()

    with pytest.raises(BadSetting, match=r"^command line: sft: batch_size 7 is not a multiple of 4$"):
        Outer.load(None, ["sft.batch_size=7"])


def test_a_configuration_is_frozen_and_misspelt_names_are_refused_in_code_too():
    with pytest.raises(ValidationError):
        PPO().batch_size = 3  # type: ignore[misc]
    with pytest.raises(ValidationError, match="bacth_size"):
        PPO(bacth_size=3)  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        PPO(kl_coef=math.inf)


FULL = Whole(
    model="a \"b\" 'c' \\ \n\t\r\x00\x1f\x7f é 日本 🙂 # = [x]",
    out=Path("runs/ä b"),
    precision="bf16",
    speed=Speed.fast,
    shuffle=False,
    weights={"plain": 1.0, "with space": 1e-300, 'quo"te': 0.1 + 0.2, "": 1e22, "a.b": -0.0},
    ppo=PPO(kl_coef=1e-6, target_kl=None, betas=(0.9, 0.999), sampling=Sampling(seeds=[])),
    probe=Sampling(seeds=[2**62, -1]),
)


@pytest.mark.parametrize("config", [Whole(), FULL], ids=["defaults", "everything"])
def test_the_saved_file_gives_the_same_configuration_back(tmp_path, config):
    save(config, tmp_path / "config.toml")
    again = Whole.load(tmp_path / "config.toml")
    assert again == config
    assert as_toml(again) == as_toml(config)
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]  # nothing temporary stays


@given(
    st.text(st.characters(exclude_categories=["Cs"])).filter(lambda text: text != "none"),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(),
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])), st.floats(allow_nan=False, allow_infinity=False)
    ),
)
def test_whatever_the_values_the_round_trip_is_exact(tmp_path_factory, text, number, whole, table):
    config = Whole(model=text, weights=table, ppo=PPO(kl_coef=number, sampling=Sampling(seeds=[whole])))
    path = tmp_path_factory.mktemp("round") / "config.toml"
    save(config, path)
    assert Whole.load(path) == config


def test_the_saved_file_says_everything_and_why(tmp_path):
    text = as_toml(Whole())
    assert 'out = "none"  # where it goes' in text
    assert "[ppo]\nbatch_size = 512  # C.4: episodes per iteration\n" in text
    assert "[ppo.sampling]\n" in text


def test_the_text_none_cannot_be_mistaken_for_unset():
    class Named(Config):
        name: str | None = None

    with pytest.raises(BadSetting, match="name"):
        as_toml(Named(name="none"))


def test_describe_lists_every_setting_with_type_default_and_comment():
    rows = {row.key: row for row in describe(Whole)}
    assert rows["ppo.batch_size"][1:] == ("a whole number, at least 1", 512, "C.4: episodes per iteration")
    assert rows["ppo.target_kl"].type == "a number, or none"
    assert rows["out"].type == "a path, or none"
    assert rows["weights"].type == "a table"
    assert rows["precision"].type == "one of 'auto', 'fp32', 'bf16'"
    assert next(iter(rows)) == "model"
    assert "ppo" not in rows
    assert "ppo.sampling.seeds" in rows


def test_ground_modules_start_without_torch():
    code = "import rather.config, rather.run, rather.files, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
