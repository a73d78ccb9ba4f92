"""Whole-state checkpoints: 10 steps are 5, a resume and 5, to the byte; and nothing is loaded that is not all there."""

from __future__ import annotations

import io
import json
import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rather import checkpoint
from rather.checkpoint import storage
from rather.errors import BadFile, BadSetting


class Average:
    """An exponential moving average of a model's weights (C.4)."""

    def __init__(self, model: nn.Module) -> None:
        self.weights = {name: weight.detach().clone() for name, weight in model.named_parameters()}

    def update(self, model: nn.Module) -> None:
        for name, weight in model.named_parameters():
            self.weights[name].lerp_(weight.detach(), 1 - 0.992)

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.weights = saved["weights"]


class Training:
    """A tiny whole: everything of checklist item 44 that moves."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Dropout(0.2), nn.Linear(8, 1))
        self.critic = nn.Linear(6, 1, dtype=torch.bfloat16)
        self.optimizer = torch.optim.AdamW(
            [{"params": list(self.model.parameters())}, {"params": list(self.critic.parameters()), "lr": 1e-2}], lr=1e-3
        )
        warm_up = torch.optim.lr_scheduler.LinearLR(self.optimizer, 0.1, total_iters=3)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, 20)
        self.schedule = torch.optim.lr_scheduler.SequentialLR(self.optimizer, [warm_up, cosine], [3])
        self.average = Average(self.model)
        self.sampler = torch.Generator().manual_seed(seed)
        self.order = random.Random(seed)
        self.noise = np.random.default_rng(seed)
        self.state: dict[str, Any] = {
            "model": self.model,
            "critic": self.critic,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "average": self.average,
            "rngs": [self.sampler, self.order, self.noise, torch.default_generator],  # dropout draws from the last
            "kl": {"beta": 0.02, "horizon": 10_000, "history": []},
            "prompts": np.arange(64),
            "best": None,
            "step": 0,
        }

    def advance(self, steps: int) -> Training:
        self.model.train()
        for _ in range(steps):
            self.order.shuffle(self.state["prompts"])
            x = torch.randn(4, 6, generator=self.sampler) + float(self.noise.normal()) + self.state["prompts"][0]
            loss = (self.model(x) - self.critic(x.bfloat16())).square().mean() + self.state["kl"]["beta"]
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.schedule.step()
            self.average.update(self.model)
            self.state["kl"]["beta"] *= 1.01
            self.state["kl"]["history"].append(loss.item())
            self.state["best"] = {"loss": loss.item()}
            self.state["step"] += 1
        return self

    def bytes(self) -> dict[str, Any]:
        """Everything as plain bytes, by means other than the code under test."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"critic.{k}": v for k, v in self.critic.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.weights.items()}
        for index, entry in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in entry.items()}
        found: dict[str, Any] = {
            k: v.detach().contiguous().view(-1).view(torch.uint8).tolist() for k, v in tensors.items()
        }
        found["lr"] = [group["lr"] for group in self.optimizer.param_groups]
        found["rngs"] = [
            self.sampler.get_state().tolist(),
            self.order.getstate(),
            self.noise.bit_generator.state,
            torch.get_rng_state().tolist(),
        ]
        found["rest"] = [self.state["kl"], self.state["prompts"].tolist(), self.state["best"], self.state["step"]]
        return found


def test_ten_steps_are_five_a_resume_and_five_to_the_byte(tmp_path):
    straight = Training().advance(10).bytes()
    checkpoint.save(tmp_path, Training().advance(5).state, 5)
    resumed = Training(seed=99)  # nothing of it may survive
    assert checkpoint.load_latest(tmp_path, resumed.state) == 5
    assert resumed.advance(5).bytes() == straight


def test_a_resume_into_a_training_that_has_moved_is_exact_too(tmp_path):
    training = Training().advance(5)
    checkpoint.save(tmp_path, training.state, 5)
    then = json.dumps(training.bytes())
    training.advance(3)
    checkpoint.load_latest(tmp_path, training.state)
    assert json.dumps(training.bytes()) == then
    assert training.optimizer.param_groups[0]["params"][0] is training.model[0].weight


def test_tensors_are_read_into_the_tensors_that_are_there(tmp_path):
    state = {"w": nn.Parameter(torch.ones(3)), "list": [torch.zeros(2)], "grown": []}
    alias, inner, grown = state["w"], state["list"][0], state["grown"]
    checkpoint.save(tmp_path, {"w": torch.full((3,), 7.0), "list": [torch.ones(2)], "grown": [1, torch.ones(1)]}, 1)
    checkpoint.load_latest(tmp_path, state)
    assert state["w"] is alias
    assert alias.tolist() == [7, 7, 7]
    assert inner.tolist() == [1, 1]
    assert grown == [1, torch.ones(1)]


VALUES = {
    "numbers": [0, -1, 2**100, True, False, 1e-323, 0.1, -0.0, float("inf"), float("-inf")],
    "text": ["", 'é\x00"\\\n🙂', "\udc80"],
    "tuple": (1, (2.5, "x"), []),
    "keys": {"a.b": 1, 3: {"": None}},
    "bytes": b"\x00\xff",
    "arrays": [np.zeros((0, 3)), np.arange(6, dtype=np.int16).reshape(2, 3).T, np.float32(0.1), np.array(["é", "xx"])],
    "none": None,
}
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.uint8, torch.bool]


def test_every_kind_of_value_comes_back_as_it_was(tmp_path):
    tensors = {str(dtype): torch.arange(6).reshape(2, 3).to(dtype).t() for dtype in [*DTYPES, torch.complex64]}
    tensors |= {"scalar": torch.tensor(3.5), "empty": torch.empty(0, 4), "nan": torch.tensor([float("nan")])}
    legacy = np.random.RandomState(5)
    state = {"values": VALUES, "tensors": tensors, "legacy": legacy}
    checkpoint.save(tmp_path, state, 1)
    drawn = legacy.rand()
    empty: dict[str, Any] = {
        "values": dict.fromkeys(VALUES),
        "tensors": {name: torch.zeros_like(tensor) for name, tensor in tensors.items()},
        "legacy": np.random.RandomState(6),
    }
    checkpoint.load_latest(tmp_path, empty)
    assert repr(empty["values"]) == repr(VALUES)
    assert [type(x) for x in empty["values"]["numbers"]] == [type(x) for x in VALUES["numbers"]]
    for name, tensor in tensors.items():
        assert torch.equal(tensor.isnan(), empty["tensors"][name].isnan())
        assert torch.equal(tensor.nan_to_num(), empty["tensors"][name].nan_to_num())
    assert empty["legacy"].rand() == drawn


@pytest.mark.parametrize("value", [{1, 2}, 1j, object(), Path("x"), torch.float32, {(1, 2): 3}, np.array([object()])])
def test_what_cannot_be_stored_is_refused_by_name_and_leaves_nothing(tmp_path, value):
    with pytest.raises(BadSetting, match=r"outer.inner"):
        checkpoint.save(tmp_path / "state", {"outer": {"inner": value}}, 1)
    assert not (tmp_path / "state").exists()


# ---- keeping


def test_the_last_n_are_kept(tmp_path):
    for step in (1, 2, 10, 300):
        checkpoint.save(tmp_path, {"x": torch.tensor(step)}, step, keep=2)
    assert checkpoint.steps(tmp_path) == [10, 300]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010", "step-00000300"]


def test_a_step_saved_again_replaces_the_first(tmp_path):
    checkpoint.save(tmp_path, {"x": torch.tensor(1)}, 5)
    checkpoint.save(tmp_path, {"x": torch.tensor(2)}, 5)
    state = {"x": torch.tensor(0)}
    assert checkpoint.load_latest(tmp_path, state) == 5
    assert state["x"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000005"]


def test_a_checkpoint_that_was_cut_off_is_ignored_and_cleaned(tmp_path):
    whole = checkpoint.save(tmp_path, {"x": torch.tensor(1)}, 1)
    shutil.copytree(whole, tmp_path / ".step-00000002.unfinished")
    state = {"x": torch.tensor(0)}
    assert checkpoint.load_latest(tmp_path, state) == 1
    checkpoint.save(tmp_path, state, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000001", "step-00000003"]


def test_no_checkpoint_yet_is_no_error(tmp_path):
    assert checkpoint.load_latest(tmp_path / "none", {}) is None
    assert checkpoint.load_latest(tmp_path, {}) is None


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "state").write_text("x")
    with pytest.raises(BadFile, match="Cannot write"):
        checkpoint.save(tmp_path / "state", {"x": 1}, 1)


FILL = """
import resource, signal, sys, torch
from rather import checkpoint
from rather.errors import BadFile
checkpoint.save(sys.argv[1], {"x": torch.ones(10)}, 1)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))  # no file may grow beyond: as good as a full disk
try:
    checkpoint.save(sys.argv[1], {"x": torch.ones(10_000)}, 2)
except BadFile as error:
    print(error)
x = {"x": torch.zeros(10)}
print(checkpoint.load_latest(sys.argv[1], x), x["x"].sum().item())
"""


def test_a_full_disk_is_said_and_the_checkpoint_before_it_stays(tmp_path):
    filled = subprocess.run([sys.executable, "-c", FILL, str(tmp_path)], capture_output=True, text=True, check=True)
    first, *_, last = filled.stdout.splitlines()
    assert "could not be written" in first
    assert last == "1 10.0"
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]  # what did not fit is gone


# ---- refusing


def damaged(folder: Path) -> Iterator[tuple[str, Path]]:
    """Copies of a folder of checkpoints, each with one file damaged in one way, and the word that names the file."""
    for name in ("__0_0.distcp", ".metadata", "values-0.json", "manifest.json"):
        for how in ("truncated", "empty", "missing", "flipped"):
            if (name, how) == ("manifest.json", "flipped"):
                continue  # of what a flipped bit makes of numbers in the manifest, the other files' sums tell
            copy = folder.with_name(f"{folder.name}-{name}-{how}")
            shutil.copytree(folder, copy)
            path = copy / "step-00000002" / name
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            half = content[: len(content) // 2]
            path.write_bytes({"truncated": half, "empty": b"", "missing": b"", "flipped": content}[how])
            if how == "missing":
                path.unlink()
            yield name, copy


def test_ctrl_c_while_it_writes_is_no_damage(tmp_path, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rather.checkpoint.storage._Writer.write_data", interrupted)
    with pytest.raises(KeyboardInterrupt):
        storage.write(tmp_path / "state", {"a": torch.zeros(3)})


def test_damage_to_any_file_is_refused_by_name_with_the_way_on(tmp_path):
    training = Training().advance(1)
    checkpoint.save(tmp_path / "state", training.state, 1)
    checkpoint.save(tmp_path / "state", training.advance(1).state, 2)
    training.advance(1)
    then = json.dumps(training.bytes())
    for name, folder in damaged(tmp_path / "state"):
        with pytest.raises(BadFile) as refused:
            checkpoint.load_latest(folder, training.state)
        message = str(refused.value)
        assert name in message
        assert "to go on from step 1" in message
        assert len(message.splitlines()) <= 3
        assert json.dumps(training.bytes()) == then  # nothing was loaded in part
    shutil.rmtree(folder / "step-00000002")  # what was to be typed
    assert checkpoint.load_latest(folder, Training().state) == 1


def torch_pickle() -> bytes:
    buffer = io.BytesIO()
    torch.save({"x": 1}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content", [pickle.dumps({"x": 1}), torch_pickle(), b"", b"text"], ids=["pickle", "torch", "empty", "text"]
)
def test_a_pickle_is_no_checkpoint(tmp_path, content):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "model.pt").write_bytes(content)
    for path in (tmp_path / "state", tmp_path / "state" / "model.pt"):
        with pytest.raises(BadFile, match="no pickles"):
            checkpoint.load_latest(path, {"x": 0})


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("pwned"),)


def test_an_index_that_asks_for_foreign_code_is_refused_unexecuted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = checkpoint.save(tmp_path / "state", {"x": torch.ones(1)}, 1)
    for content in (pickle.dumps(Malicious()), pickle.dumps({"x": 1})):
        (path / ".metadata").write_bytes(content)
        manifest = json.loads((path / "manifest.json").read_text())
        manifest["files"][".metadata"] = checkpoint._summed(path / ".metadata")  # whoever forges one forges the other
        (path / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(BadFile, match=r"\.metadata is not the index of a checkpoint"):
            checkpoint.load_latest(tmp_path / "state", {"x": torch.ones(1)})
    assert not Path("pwned").exists()


def test_keys_that_differ_are_named_on_both_sides(tmp_path):
    checkpoint.save(tmp_path, {"policy": nn.Linear(2, 2), "kl": {"beta": 0.1}, "old": 3}, 1)
    state = {"policy": nn.Linear(2, 2, bias=False), "kl": {"beta": 0.1, "target": 6.0}, "critic": nn.Linear(2, 1)}
    with pytest.raises(BadFile) as refused:
        checkpoint.load_latest(tmp_path, state)
    assert "Only in the checkpoint: old, policy.bias. Not in the checkpoint: critic, kl.target." in refused.value.found


@pytest.mark.parametrize(
    ("stored", "here", "words"),
    [
        (torch.zeros(2, 3), torch.zeros(3, 2), r"x was \(2, 3\) torch.float32, is \(3, 2\) torch.float32"),
        (torch.zeros(2), torch.zeros(2, dtype=torch.bfloat16), "float32, is .* torch.bfloat16"),
        (torch.zeros(2), 3.0, "x was a tensor, is builtins.float"),
        (3.0, torch.zeros(2), r"x was '3.0', is torch.Tensor"),
        (torch.Generator(), 3, "x was torch.Generator, is builtins.int"),
        (torch.Generator(), random.Random(), "x was torch.Generator, is random.Random"),
        (3, random.Random(), "is random.Random"),
        (nn.Linear(1, 1), 3, "x was object, is builtins.int"),
        ({"a": 1}, nn.Linear(1, 1), "x was a dict, is torch.nn"),
        ({"a": 1}, [1], "x was a dict, is builtins.list"),
        ([1], {"a": 1}, "x was a list, is builtins.dict"),
        ([random.Random()], [], r"x\.0 was random.Random, is nothing"),
        (np.random.Generator(np.random.MT19937()), np.random.default_rng(), "does not fit"),
    ],
)  # fmt: skip
def test_another_kind_of_thing_under_the_same_key_is_refused(tmp_path, stored, here, words):
    checkpoint.save(tmp_path, {"x": stored}, 1)
    with pytest.raises(BadFile, match=words):
        checkpoint.load_latest(tmp_path, {"x": here})


def test_an_optimizer_of_another_model_is_refused(tmp_path):
    def stepped(*layers: nn.Module) -> torch.optim.Optimizer:
        optimizer = torch.optim.AdamW([p for layer in layers for p in layer.parameters()])
        for layer in layers:
            layer(torch.ones(2)).sum().backward()
        optimizer.step()
        return optimizer

    checkpoint.save(tmp_path, {"optimizer": stepped(nn.Linear(2, 2), nn.Linear(2, 2))}, 1)
    with pytest.raises(BadFile, match=r"optimizer was of groups of \[4\] parameters, is of \[2\]"):
        checkpoint.load_latest(tmp_path, {"optimizer": torch.optim.AdamW(nn.Linear(2, 2).parameters())})


def test_a_load_state_dict_that_rounds_is_found_out(tmp_path):
    """PyTorch's optimizers cast float32 moments to the type of bfloat16 parameters when they load."""
    weight = nn.Parameter(torch.ones(3, dtype=torch.bfloat16))

    class Float32Moments(torch.optim.SGD):
        pass

    optimizer = Float32Moments([weight], lr=0.1)
    optimizer.state[weight]["moment"] = torch.tensor([0.1, 0.2, 0.3])
    checkpoint.save(tmp_path, {"optimizer": optimizer}, 1)
    with pytest.raises(BadFile, match=r"did not take all of it: optimizer.state.0.moment"):
        checkpoint.load_latest(tmp_path, {"optimizer": Float32Moments([weight], lr=0.1)})
