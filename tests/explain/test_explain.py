"""The explainer on forty descriptions, on negations, and on texts about something else."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rather.explain import Explanation, explain, in_words

HERE = Path(__file__).parent
DESCRIPTIONS, UNSEEN = (
    [case for name in names for case in tomllib.loads((HERE / f"descriptions_{name}.toml").read_text())["description"]]
    for names in (("first", "second"), ("unseen",))
)
STAGES = ("sft", "reward", "policy")


def right(case: dict) -> dict[str, bool]:
    said = explain(case["text"])
    return {
        "stage": list(said.modified) == case["modified"],
        "loss": all(said.losses[stage].value == case[stage] for stage in STAGES),
        "kl": said.kl.value == case["kl"],
        "reference": said.reference.value == case["reference"],
        "preferences": said.preferences.value.split(", ") == case["preferences"],
    }


def test_stage_loss_and_kl_are_each_right_in_38_of_40():
    assert len(DESCRIPTIONS) == 40
    answers = {case["name"]: right(case) for case in DESCRIPTIONS}
    for what in ("stage", "loss", "kl"):
        wrong = [name for name, each in answers.items() if not each[what]]
        assert len(wrong) <= 2, f"{what}: {wrong}"
    for what in ("reference", "preferences"):
        wrong = [name for name, each in answers.items() if not each[what]]
        assert len(wrong) <= 4, f"{what}: {wrong}"


def test_the_ones_written_later_are_right_as_well():
    answers = {case["name"]: right(case) for case in UNSEEN}
    assert len(answers) == 22
    for what in ("stage", "loss", "kl"):
        assert sum(not each[what] for each in answers.values()) <= 1, what


@pytest.mark.parametrize("case", DESCRIPTIONS, ids=lambda case: case["name"])
def test_every_answer_quotes_words_of_the_text(case):
    said = explain(case["text"])
    text = " ".join(case["text"].split())
    assert said.about_rlhf.value == "yes"
    for what, finding in {"about": said.about_rlhf, **said.findings()}.items():
        assert finding.stated == bool(finding.evidence), what
        for quote in finding.evidence:
            assert quote.words in text, what


# What labs.md's table of well-known methods has, from their names alone.
@pytest.mark.parametrize(
    ("name", "policy", "kl", "reward"),
    [
        ("DPO", "DPO", "implicit", "none"),
        ("IPO", "IPO", "implicit", "none"),
        ("KTO", "KTO", "implicit", "none"),
        ("ORPO", "ORPO", "none", "none"),
        ("SimPO", "SimPO", "none", "none"),
        ("GRPO", "GRPO", "not stated", "not stated"),
        ("Dr. GRPO", "Dr. GRPO", "not stated", "not stated"),
        ("DAPO", "DAPO", "none", "not stated"),
        ("RLOO", "RLOO", "in the reward", "not stated"),
        ("REINFORCE++", "REINFORCE++", "in the reward", "not stated"),
        ("best-of-16", "best-of-N", "none", "not stated"),
        ("rejection sampling", "rejection sampling", "none", "not stated"),
        ("RAFT", "rejection sampling", "none", "not stated"),
        ("SLiC-HF", "SLiC", "other regulariser", "not stated"),
        ("RRHF", "RRHF", "other regulariser", "not stated"),
        ("PRO", "PRO", "other regulariser", "not stated"),
        ("WARP", "policy averaging", "not stated", "not stated"),
        ("PPO", "PPO", "not stated", "not stated"),
    ],
)
def test_what_follows_from_a_name_is_said_to_follow(name, policy, kl, reward):
    said = explain(f"We align the language model with {name} on our prompts and fine-tune it for a week.")
    assert (said.losses["policy"].value, said.kl.value, said.losses["reward"].value) == (policy, kl, reward)
    assert said.kl.basis == "follows" or not said.kl.stated


@pytest.mark.parametrize(
    ("text", "kl"),
    [
        ("We run PPO on a language model without a KL penalty.", "none"),
        ("We run PPO on a language model with no critic, no reference model and no KL penalty.", "none"),
        ("Without a critic, a reference model or a KL penalty, we train the language model by REINFORCE.", "none"),
        ("PPO trains the language model. The KL penalty is dropped.", "none"),
        ("PPO trains the language model. A KL term was not used.", "none"),
        ("PPO trains the language model. The KL coefficient is set to zero.", "none"),
        ("PPO with beta = 0.0 trains the language model, so there is no KL cost.", "none"),
        ("A KL-free PPO recipe for language models.", "none"),
        (
            "Most RLHF systems put a KL penalty in the reward. We use GRPO on a language model and drop the penalty.",
            "none",
        ),
        ("We log the KL to the SFT model but never penalise it; PPO trains the language model.", "none"),
        ("We do not drop the KL penalty when PPO trains the language model: it stays in the reward.", "in the reward"),
        ("PPO trains the language model, not without a KL penalty in the reward.", "in the reward"),
        (
            "The KL penalty was removed from the reward and placed in the loss; PPO trains the chat model.",
            "in the loss",
        ),
        ("Not only the KL penalty in the reward but also the clip keeps PPO near the SFT model.", "in the reward"),
        ("PPO stays near the SFT model thanks to a KL penalty in the reward, without drifting.", "in the reward"),
        ("We train a language model by PPO on scores of a reward model.", "not stated"),
        ("We train a language model by PPO and report its KL from the SFT model.", "not stated"),
        ("DPO without an explicit KL penalty trains our language model on pairs.", "implicit"),
        (
            "PPO trains the language model; training stops early when the KL to the SFT model exceeds 10 nats.",
            "constraint",
        ),
    ],
)
def test_what_is_denied_is_not_claimed(text, kl):
    assert explain(text).kl.value == kl


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("We replace PPO with DPO to fine-tune the language model on preference pairs.", "DPO"),
        ("Instead of DPO we use PPO to fine-tune the language model.", "PPO"),
        ("Unlike PPO, our language model is trained with GRPO.", "GRPO"),
        ("PPO is replaced by best-of-16 sampling; the language model and the reward model are unchanged.", "best-of-N"),
        ("We fine-tune the language model with DPO, which matches PPO and exceeds IPO.", "DPO"),
        ("Our language model is trained with DPO and then with PPO against a reward model.", "DPO then PPO"),
    ],
)
def test_the_method_of_the_text_is_told_from_those_it_compares_with(text, policy):
    assert explain(text).losses["policy"].value == policy


@pytest.mark.parametrize(
    "text",
    [
        "Under the law a Data Protection Officer (DPO) answers requests, trains staff and updates the privacy policy.",
        "Our PPO plan gives members rewards for healthy choices; the policy covers outpatient care.",
        "The company's IPO was priced at 20 dollars, and investors preferred the shares to bonds.",
        "We train a quadruped robot with PPO in simulation; the reward encourages forward velocity.",
        "We train a variational autoencoder; the loss adds a KL divergence term with weight beta = 4.",
        "Simmer the tomatoes for an hour, rank the sauces by taste, and serve the best one.",
        "A classifier of images is fine-tuned with a cross-entropy loss on labels by annotators.",
        "hello",
        "KL PPO DPO",
    ],
)
def test_a_text_about_something_else_is_said_to_be(text):
    said = explain(text)
    assert not said.about_rlhf.stated
    assert said.about_rlhf.note
    assert said.modified == ()
    assert not any(finding.stated for finding in said.findings().values())
    assert in_words(said)[0].startswith("Not about RLHF.")


def test_a_short_text_claims_nothing_beyond_itself():
    said = explain("We use reinforcement learning from human feedback.")
    assert said.losses["policy"].value == "reinforcement learning"
    assert {name for name, f in said.findings().items() if f.stated} == {"stage policy", "loss policy", "preferences"}


def test_hostile_words_in_a_quotation_cannot_paint_the_terminal():
    said = explain("We run PPO \x1b[31m on a language model with a KL penalty in the reward.")
    assert "\x1b" not in "\n".join(in_words(said))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ("we", "PPO", "DPO", "KL", "KTO", "penalty", "without", "no", "not", "instead of", "but", "the")
        ),
        max_size=60,
    )
)
def test_any_words_get_an_answer_with_evidence(words):
    said = explain(" ".join(words))
    assert isinstance(said, Explanation)
    assert all(finding.stated == bool(finding.evidence) for finding in said.findings().values())


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        (
            "Direct Preference Optimization (DPO) is a widely used algorithm for language models. We propose SimPO, "
            "which is simpler and needs no reference model.",
            "SimPO",
        ),
        (
            "InstructGPT has three stages, the last of which is Proximal Policy Optimization (PPO). But PPO is hard "
            "to tune. In this work we introduce RRHF for language models.",
            "RRHF",
        ),
        (
            "We find a bias in Group Relative Policy Optimization (GRPO), which makes language models verbose, and "
            "introduce Dr. GRPO, which has none.",
            "Dr. GRPO",
        ),
    ],
)
def test_what_a_paper_proposes_is_told_from_what_it_departs_from(text, policy):
    said = explain(text)
    assert said.losses["policy"].value == policy
    assert said.losses["sft"].value in ("not stated", "joined"), "InstructGPT's stages are not this text's"


def test_what_a_model_is_aligned_with_is_not_where_its_preferences_come_from():
    said = explain(
        "RLHF aligns language models with human preferences. We train the reward model on preferences by an LLM."
    )
    assert said.preferences.value == "AI model"
    assert said.modified == ("reward",)
