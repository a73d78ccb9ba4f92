"""`torchrun -m rather VERB`: two workers leave the models that one leaves, and one of them speaks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rather.cli import main
from rather.worlds import Marn
from rather.worlds.writing import Sizes, write_world

TWO = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
STAGES = {
    "pretrain": "size=xs texts=marn:0:tiny tokens=20000 validation_tokens=2000 evaluate_every=1000 --name base",
    "sft": "model=one/base/checkpoint epochs=1 validation_prompts=4 max_new_tokens=8 dropout=0",
    "reward": "model=one/sft/checkpoint rankings={run}/votes.jsonl validation_share=0.2 learning_rate=1e-3",
}


@pytest.mark.slow
def test_two_workers_leave_what_one_leaves(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_world(Marn(0, "tiny"), Path("one"), Sizes(20, 40, 10, 10, 60))
    shutil.copytree("one", "two")
    for verb, settings in STAGES.items():
        words = [*settings.split(), "precision=fp32", "--json"]
        with pytest.raises(SystemExit, match="0"):
            main([verb, "one", *words])
        one = json.loads(capsys.readouterr().out)
        done = subprocess.run(
            [sys.executable, *TWO, "-m", "rather", verb, "two", *words],
            env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        two = json.loads(done.stdout)  # of one worker: two objects would be no JSON
        assert {k: v for k, v in two.items() if isinstance(v, float)} == pytest.approx(
            {k: v for k, v in one.items() if isinstance(v, float)}, abs=1e-4
        )
        name = {"pretrain": "base"}.get(verb, verb)
        weights = [load_file(Path(run, name, "checkpoint", "model.safetensors")) for run in ("one", "two")]
        for key, value in weights[0].items():
            torch.testing.assert_close(weights[1][key], value, atol=2e-4, rtol=2e-4)
