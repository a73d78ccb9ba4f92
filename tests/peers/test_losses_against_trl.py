"""Our losses against TRL's own code on the same log-probs and scores: values, gradients and logged rewards.

TRL keeps its losses inside trainers. Here a trainer's method is called on a plain object that holds the settings it
reads, with a model that returns given log-probs: only the loss is compared, and its gradient reaches the log-probs.
"""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, tensor

from rather import advantages as adv
from rather import losses

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def trl():
    """Imported when a test runs: collecting the tests that are not for peers stays fast."""
    return pytest.importorskip("trl", reason="TRL is in the extra `peers`")


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def trainer(**settings) -> SimpleNamespace:
    accelerate = pytest.importorskip("accelerate", reason="accelerate is in the extra `peers`")
    return SimpleNamespace(
        accelerator=accelerate.Accelerator(cpu=True),
        aux_loss_enabled=False,
        _metrics={"train": defaultdict(list), "eval": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
        model=SimpleNamespace(training=True),
        **settings,
    )


def equal(ours: Tensor, theirs: Tensor, at: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(
        torch.autograd.grad(ours, at, retain_graph=True)[0], torch.autograd.grad(theirs, at)[0], rtol=1e-10, atol=1e-12
    )


# Two prompt tokens, then a response; the first three rows are chosen, the last three rejected.
COMPLETION = torch.stack([(torch.arange(9) >= 2) & (torch.arange(9) < 2 + n) for n in (3, 7, 1, 5, 2, 4)]).long()
OURS = {
    "sigmoid": losses.dpo_loss,
    "sigmoid_norm": losses.dpo_loss,
    "hinge": losses.hinge_loss,
    "ipo": losses.ipo_loss,
    "robust": lambda *x: losses.robust_dpo_loss(*x, flip_rate=0.1),
}


@pytest.mark.parametrize("loss_type", OURS)
def test_dpo_family(trl, loss_type):
    mask = COMPLETION[:, 1:]  # TRL shifts
    logprobs = (random(0, 6, 8) - 2).requires_grad_()
    ref = random(1, 6, 8) - 2
    tables = {name: torch.zeros(6, 8) for name in ("entropy", "mean_logits")}
    theirs = trainer(
        loss_types=[loss_type],
        loss_weights=[1.0],
        beta=0.1,
        label_smoothing=0.1,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        use_weighting=False,
    )
    inputs = {
        "input_ids": torch.zeros(6, 9, dtype=torch.long),
        "attention_mask": torch.ones(6, 9, dtype=torch.long),
        "completion_mask": COMPLETION,
        "ref_chosen_logps": (ref * mask).sum(1)[:3],
        "ref_rejected_logps": (ref * mask).sum(1)[3:],
    }

    def model(**_):
        return SimpleNamespace(log_probs=logprobs * mask, is_top1=mask.bool(), **tables)

    model.training = True
    their_loss = trl.DPOTrainer._compute_loss(theirs, model, inputs, return_outputs=False)

    policy, reference = (logprobs * mask).sum(1), (ref * mask).sum(1)
    if loss_type in ("ipo", "sigmoid_norm"):  # theirs divide by the number of tokens
        policy, reference = policy / mask.sum(1), reference / mask.sum(1)
    result = OURS[loss_type](policy[:3], policy[3:], reference[:3], reference[3:], 0.1)
    equal(result.loss.sum() / 3, their_loss, logprobs)
    if loss_type not in ("ipo", "sigmoid_norm"):  # they log rewards of sums whatever the loss is of
        logged = theirs._metrics["train"]
        assert result.chosen_rewards.mean().item() == pytest.approx(logged["rewards/chosen"][0])
        assert result.rejected_rewards.mean().item() == pytest.approx(logged["rewards/rejected"][0])
        accuracy = (result.chosen_rewards > result.rejected_rewards).float().mean().item()
        assert accuracy == pytest.approx(logged["rewards/accuracies"][0])


@pytest.mark.parametrize("margin", [False, True])
@pytest.mark.parametrize("centring", [None, 0.01])
def test_pairwise_reward_loss(trl, margin, centring):
    scores = random(2, 10).requires_grad_()
    theirs = trainer(args=SimpleNamespace(center_rewards_coefficient=centring))
    margins = random(3, 5).abs()
    inputs = {"attention_mask": torch.ones(10, 4)} | ({"margin": margins} if margin else {})
    their_loss = trl.RewardTrainer.compute_loss(theirs, lambda **_: SimpleNamespace(logits=scores[:, None]), inputs)

    table, ranks = scores.view(2, 5).T, tensor([[1, 2]] * 5)  # theirs: chosen first, then rejected
    ours = losses.ranking_loss(table, ranks, 5, margins[:, None, None].expand(5, 2, 2) if margin else None)
    if centring:
        ours = ours + centring * losses.centring_penalty(table, ranks, 5)
    equal(ours, their_loss, scores)


@pytest.mark.parametrize("loss_type", ["grpo", "dr_grpo", "dapo"])
@pytest.mark.parametrize("kl_coef", [0.0, 0.04])
def test_grpo_family(trl, loss_type, kl_coef):
    mask = COMPLETION[:, 2:]  # (6, 7)
    old = random(4, 6, 7) - 2
    logprobs = (old + 0.3 * random(5, 6, 7)).requires_grad_()
    ref, advantages = old + 0.3 * random(6, 6, 7), random(7, 6)
    theirs = trainer(
        loss_type=loss_type,
        beta=kl_coef,
        epsilon_low=0.2,
        epsilon_high=0.28,
        max_completion_length=7,
        importance_sampling_level="token",
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        use_vllm=False,
        current_gradient_accumulation_steps=1,
        _entropy_bonus_enabled=False,
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False, steps_per_generation=1),
        _get_per_token_logps_and_entropies=lambda *_, **__: (logprobs, torch.zeros(6, 7), None),
    )
    inputs = {
        "prompt_ids": torch.zeros(6, 2, dtype=torch.long),
        "prompt_mask": torch.ones(6, 2, dtype=torch.long),
        "completion_ids": torch.zeros(6, 7, dtype=torch.long),
        "completion_mask": mask,
        "advantages": advantages,
        "old_per_token_logps": old,
        "ref_per_token_logps": ref,
        "num_items_in_batch": mask.sum(),
    }
    their_loss = trl.GRPOTrainer._compute_loss(theirs, None, inputs)

    weights, denominator = {
        "grpo": (losses.sequence_weights(mask.double()), 6),
        "dr_grpo": (mask, 6 * 7),
        "dapo": (mask, int(mask.sum())),
    }[loss_type]
    spread = advantages[:, None].expand(6, 7)
    result = losses.grpo_loss(logprobs, old, spread, weights, denominator, 0.2, 0.28)
    ours = result.loss
    if kl_coef:
        ours = ours + losses.kl_loss(logprobs, ref, weights, denominator, kl_coef, "k3")
    equal(ours, their_loss, logprobs)
    if loss_type == "dapo":  # they log the share over tokens whatever the loss is divided by
        assert result.clip_fraction > 0.1
        assert result.clip_fraction.item() == pytest.approx(theirs._metrics["train"]["clip_ratio/region_mean"][0])


def test_group_deviation_is_theirs_with_their_epsilon(trl):
    from trl.trainer.utils import nanstd  # a submodule of the optional dependency

    rewards = random(8, 5, 4)
    theirs = (rewards - rewards.mean(1, keepdim=True)) / (nanstd(rewards, dim=1, keepdim=True) + 1e-4)
    torch.testing.assert_close(adv.group_normalised(rewards, unbiased=True, eps=1e-4), theirs)


def test_entropy(trl):
    from trl.trainer.utils import entropy_from_logits  # a submodule of the optional dependency

    logits = random(9, 3, 4, 11)
    torch.testing.assert_close(losses.entropy(logits), entropy_from_logits(logits))


def test_sft_loss_with_a_denominator_is_that_of_transformers_with_num_items_in_batch():
    from transformers.loss.loss_utils import ForCausalLMLoss  # slow to import, so not above

    logits, labels = (
        random(10, 2, 6, 11).float().requires_grad_(),
        torch.randint(11, (2, 6), generator=torch.Generator().manual_seed(0)),
    )
    mask = tensor([[0, 0, 1, 1, 1, 0], [0, 1, 1, 1, 1, 1]])
    theirs = ForCausalLMLoss(logits, labels.masked_fill(mask == 0, -100), 11, num_items_in_batch=20)
    logprobs = logits[:, :-1].log_softmax(-1).gather(2, labels[:, 1:, None])[..., 0]
    ours = losses.sft_loss(logprobs, mask[:, 1:], 20)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(
        torch.autograd.grad(ours, logits, retain_graph=True)[0], torch.autograd.grad(theirs, logits)[0]
    )
