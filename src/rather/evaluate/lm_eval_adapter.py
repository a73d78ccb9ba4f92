"""A policy for EleutherAI's lm-evaluation-harness: every task that has no place here (extra `eval`).

    from rather.evaluate.lm_eval_adapter import language_model
    lm_eval.simple_evaluate(model=language_model()(load_policy("run/ppo/checkpoint")), tasks=["arc_easy"])

The three things it asks of a model are functions of a policy; the class around them exists only where lm-eval is
installed, and is then registered there as `rather`. A text beyond the model's window is refused: lm-eval's own models
cut its beginning off and say nothing.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from rather.batches.packing import rows
from rather.batches.trees import Tree
from rather.errors import BadModel, BadSetting, MissingExtra
from rather.evaluate.asking import ask, encoder_of
from rather.evaluate.likelihood import BUDGET, Likelihood, check_window, choice_trees, likelihoods
from rather.models.attention import NAME
from rather.models.cache import attending
from rather.models.load import Policy, load_policy, window_of
from rather.models.logprobs import Head, hidden_states, targets
from rather.rollout import Sampling

LENGTH = 256  # tokens of an answer where a task does not say, as in lm-eval
KNOWN = {"until", "max_gen_toks", "do_sample", "temperature", "top_p", "top_k"}


def loglikelihood(policy: Policy, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
    """(log-probability of the continuation, whether greedy decoding would give it) of each context and continuation.

    The spaces that end a context open the continuation, as in lm-eval: they belong to its first word.
    """
    split = [(c.rstrip(), c[len(c.rstrip()) :] + continuation) for c, continuation in pairs]
    told = [at for at, (context, _) in enumerate(split) if context]
    bare = [at for at, (context, _) in enumerate(split) if not context]
    contexts, texts = [split[at][0] for at in told], [split[at][1] for at in told]
    of = dict(zip(told, encoder_of(policy).answers(contexts, texts, [False] * len(told)), strict=True))
    of |= dict(zip(bare, choice_trees(policy, [""] * len(bare), [[split[at][1]] for at in bare]), strict=True))
    trees = [of[at] for at in range(len(split))]
    check_window(policy, trees)
    found = [one for (one,) in likelihoods(policy, trees)]
    unclear = [at for at, one in enumerate(found) if _greedy(one) is None]
    looked = dict(zip(unclear, _likeliest(policy, [trees[at] for at in unclear]), strict=True))
    return [(one.total, looked[at] if at in looked else bool(_greedy(one))) for at, one in enumerate(found)]


def _greedy(found: Likelihood) -> bool | None:
    """What probabilities alone say: above one half is the likeliest, and the likeliest has at least exp(-entropy)."""
    if (found.logprobs < -found.entropies - 1e-3).any():
        return False
    return True if (found.logprobs > math.log(0.5) + 1e-3).all() else None


def _likeliest(policy: Policy, trees: Sequence[Tree]) -> list[bool]:
    """Whether every token of each tree's response is the likeliest in its place."""
    head, device = Head.of(policy.model), next(policy.model.parameters()).device
    found = [True] * len(trees)
    with attending(policy.model, NAME):
        for row in rows(trees, BUDGET) if trees else ():
            row = row.to(device)
            where = targets(row)
            hidden = hidden_states(policy.model, row)[where.predictor]
            # A cap on logits keeps their order, so it is left out.
            best = [torch.nn.functional.linear(part, head.weight, head.bias).argmax(-1) for part in hidden.split(512)]
            right = torch.cat(best) == where.token
            for sequence, tree in enumerate(row.tree_of.tolist()):
                found[tree] = bool(right[where.sequence == sequence].all())
    return found


def loglikelihood_rolling(policy: Policy, texts: Sequence[str]) -> list[float]:
    """Of whole texts, every token once: windows that do not overlap, each behind the last token of the one before."""
    encoder, window = encoder_of(policy), window_of(policy.model.config)
    start = encoder.eos_id if encoder.bos_id is None else encoder.bos_id
    trees: list[Tree] = []
    for at, ids in enumerate(encoder.prompts(texts)):
        plain = ids[1:] if encoder.bos_id is not None else ids
        size = len(plain) if window is None else window - 1
        whole = np.concatenate([np.array([start], dtype=plain.dtype), plain])
        for begin in range(0, len(plain), max(size, 1)):
            trees.append(Tree(whole[begin : begin + 1], (plain[begin : begin + size],), str(at)))
    totals = [0.0] * len(texts)
    for tree, (one,) in zip(trees, likelihoods(policy, trees) if trees else [], strict=True):
        totals[int(tree.key)] += one.total
    return totals


def generate_until(policy: Policy, asked: Sequence[tuple[str, Mapping[str, Any]]], slots: int = 64) -> list[str]:
    """Answers, cut before the first of each one's `until`; greedy unless it is told to sample."""
    found = [""] * len(asked)
    groups: dict[tuple[Any, ...], list[int]] = {}
    for at, (_, how) in enumerate(asked):
        if unknown := set(how) - KNOWN:
            raise BadSetting(f"A task asks for {', '.join(sorted(unknown))}.", f"Known are {', '.join(sorted(KNOWN))}.")
        until = how.get("until") or ()
        ends = (until,) if isinstance(until, str) else tuple(until)
        temperature = float(how.get("temperature") or 0.0) if how.get("do_sample") else 0.0
        key = (ends, int(how.get("max_gen_toks") or LENGTH), temperature, how.get("top_p"), how.get("top_k"))
        groups.setdefault(key, []).append(at)
    for (ends, length, temperature, top_p, top_k), members in groups.items():
        sampling = Sampling(
            max_new_tokens=length, temperature=temperature, slots=slots,
            top_p=top_p if temperature else None, top_k=(top_k or None) if temperature else None,
        )  # fmt: skip
        texts = [asked[at][0] for at in members]
        # Only an end of one character can stop the sampler at a token; the others are cut off afterwards.
        said = ask(policy, texts, sampling, seed=0, end="".join(end for end in ends if len(end) == 1 and end != " "))
        for at, answer in zip(members, said, strict=True):
            if answer is None:
                raise BadModel(
                    f"The model reads {window_of(policy.model.config)} tokens, and a prompt with an answer needs more.",
                    "Expected a window that holds them: what is cut is another question.",
                )
            found[at] = min((answer[0].text.partition(end)[0] for end in ends if end), key=len, default=answer[0].text)
    return found


def language_model() -> Any:
    """lm-eval's class of a policy, registered there as `rather`; model_args: pretrained=FOLDER."""
    try:
        api = importlib.import_module("lm_eval.api.model")
        registry = importlib.import_module("lm_eval.api.registry")
    except ImportError:
        raise MissingExtra("Running lm-eval's tasks", "lm_eval", "eval") from None

    def begin(self: Any, policy: Policy | None = None, pretrained: str = "", **theirs: Any) -> None:
        """theirs: batch_size, max_batch_size and device, which lm-eval gives to every model"""
        api.LM.__init__(self)
        if unknown := set(theirs) - {"batch_size", "max_batch_size", "device"}:
            raise BadSetting(f"model_args has {', '.join(sorted(unknown))}.", "Expected pretrained=FOLDER.")
        self.policy = policy or load_policy(pretrained)

    methods = {
        "__init__": begin,
        "loglikelihood": lambda self, requests, **_: loglikelihood(self.policy, [r.args for r in requests]),
        "loglikelihood_rolling": lambda self, requests, **_: loglikelihood_rolling(
            self.policy, [r.args[0] for r in requests]
        ),
        "generate_until": lambda self, requests, **_: generate_until(self.policy, [r.args for r in requests]),
    }
    made = type("RatherLM", (api.LM,), methods)
    return registry.register_model("rather")(made)
