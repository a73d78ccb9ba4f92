"""The two models, and the work a training step cannot do without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rather.batches.trees import Tree


@dataclass(frozen=True)
class Size:
    name: str
    model_type: str  # of transformers
    vocab: int
    hidden: int
    layers: int
    heads: int
    mlp: int

    @property
    def body_flops(self) -> int:
        """Forward FLOPs of one token outside attention scores, embedding and head."""
        mlp_matrices = 3 if self.model_type == "llama" else 2  # a gated MLP has three
        return 2 * self.layers * (4 * self.hidden**2 + mlp_matrices * self.hidden * self.mlp)

    @property
    def head_flops(self) -> int:
        """Forward FLOPs of one position of the language-model head."""
        return 2 * self.hidden * self.vocab


SIZES = {
    size.name: size
    for size in (
        Size("mini", "llama", vocab=4096, hidden=256, layers=6, heads=8, mlp=1024),
        Size("gpt2", "gpt2", vocab=50257, hidden=768, layers=12, heads=12, mlp=3072),
    )
}


def sft_flops(size: Size, tokens: int, response_tokens: int) -> float:
    """Forward and backward (twice a forward) over every token, the head where a response token is predicted."""
    return 3 * (tokens * size.body_flops + response_tokens * size.head_flops)


def ranking_flops(size: Size, tree: Tree) -> float:
    """Every token of the tree once: the prompt is shared by the K responses."""
    return 3 * tree.size * size.body_flops


def dpo_flops(size: Size, tree: Tree, known: bool) -> float:
    """Forward and backward of the policy and a forward of the reference, the prompt once in each.

    known: what the reference says was computed before, so its forward is not part of the step
    """
    response_tokens = sum(len(response) for response in tree.responses)
    return (3 if known else 4) * (tree.size * size.body_flops + response_tokens * size.head_flops)


def group_flops(size: Size, prompt: int, responses: Sequence[float], drawn: bool) -> float:
    """GRPO: forward and backward of the policy and a forward of the reference, as in DPO.

    responses: their lengths
    drawn: by the policy, in this step: the prompt once for all of them, and no forward of their last tokens
    """
    tokens = sum(responses)
    learned = 4 * ((prompt + tokens) * size.body_flops + tokens * size.head_flops)
    if not drawn:
        return learned
    return learned + (prompt + tokens - len(responses)) * size.body_flops + tokens * size.head_flops


def needed_flops(task: str, size: Size, trees: Sequence[Tree]) -> float:
    """The least work one training step over these trees needs; attention scores are left out on both sides."""
    if task == "sft":
        return sum(sft_flops(size, tree.size, len(tree.responses[0])) for tree in trees)
    if task in ("grpo", "grpo-update"):
        lengths = [[len(response) for response in tree.responses] for tree in trees]
        return sum(
            group_flops(size, len(tree.prompt), of_tree, task == "grpo")
            for tree, of_tree in zip(trees, lengths, strict=True)
        )
    if task in ("dpo", "dpo-known"):
        return sum(dpo_flops(size, tree, task == "dpo-known") for tree in trees)
    return sum(ranking_flops(size, tree) for tree in trees)
