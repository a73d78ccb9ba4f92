"""What became of the rows that were encoded."""

from __future__ import annotations

from dataclasses import dataclass, field

from rather.batches.trees import Tree
from rather.errors import BadRecord


@dataclass(frozen=True)
class EncodingReport:
    """What became of the rows. Everything that names rows holds all their ids, in order.

    Each row is a tree or stands in exactly one of long_prompt, long_total, untrained, untold.
    """

    rows: int = 0
    responses: int = 0  # of the trees
    tokens: int = 0  # of the trees, prompts once
    trained_tokens: int = 0
    longest: int = 0  # tokens on the longest path of any tree
    kept: tuple[int, ...] = field(default=(), repr=False)  # the row of each tree, counted from 0
    long_prompt: tuple[str, ...] = ()  # dropped: the prompt alone is over max_prompt
    long_total: tuple[str, ...] = ()  # dropped: prompt and longest response are over max_length
    untrained: tuple[str, ...] = ()  # dropped: a response has no token but EOS, 0 % would be trained
    untold: tuple[str, ...] = ()  # dropped: the prompt has no token but BOS, 100 % would be trained
    unfinished: tuple[str, ...] = ()  # kept: a response was cut off before it ended
    spelt: tuple[str, ...] = ()  # kept: a message spells a control token, which was encoded as text
    shortened: tuple[str, ...] = ()  # kept: the template left out part of a response

    @property
    def trained_share(self) -> float:
        """Share of the trees' tokens that are trained."""
        return self.trained_tokens / self.tokens if self.tokens else float("nan")


@dataclass
class Tally:
    """The report while it is being counted."""

    rows: int = 0
    kept: list[int] = field(default_factory=list)
    long_prompt: list[str] = field(default_factory=list)
    long_total: list[str] = field(default_factory=list)
    untrained: list[str] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    spelt: list[str] = field(default_factory=list)
    shortened: list[str] = field(default_factory=list)

    def report(self, trees: list[Tree]) -> EncodingReport:
        named = {name: tuple(value) for name, value in vars(self).items() if name != "rows"}
        return EncodingReport(
            rows=self.rows,
            responses=sum(len(tree.responses) for tree in trees),
            tokens=sum(tree.size for tree in trees),
            trained_tokens=sum(tree.size - len(tree.prompt) for tree in trees),
            longest=max((tree.longest for tree in trees), default=0),
            **named,
        )


def refuse_pointless(report: EncodingReport) -> None:
    """Stop if nothing or everything would be trained in a row: that is a mistake somewhere, not a row to skip."""
    for keys, found in (
        (report.untrained, "have a response without a single token: 0 % would be trained"),
        (report.untold, "have a prompt without a single token: 100 % would be trained"),
    ):
        if keys:
            some = ", ".join(keys[:5]) + (", ..." if len(keys) > 5 else "")
            raise BadRecord(
                f"{len(keys)} of {report.rows} rows {found} ({some}).",
                "Expected words on both sides; a template or tokenizer may have taken them away.",
                "Look at them with:  rather preview FILE --model MODEL",
            )
