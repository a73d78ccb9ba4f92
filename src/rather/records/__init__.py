"""Records: what people hand in, as typed values and as files. Starts without torch.

`Prompt`, `Demonstration`, `Samples`, `Ranking`, `Comparison`, `Rating`, `Text`, made of `Message`s and `Response`s.
`read` takes the shapes people already have, `write` and `convert` give them back; `docs/data.md` shows each.
"""

from rather.records.lines import Problems
from rather.records.pairs import Gathered, as_rankings, gather, pairs_of
from rather.records.reading import Reader, read
from rather.records.types import (
    Comparison,
    Demonstration,
    Message,
    Prompt,
    PromptText,
    Ranking,
    Rating,
    Record,
    Response,
    Samples,
    Text,
    dense_ranks,
    ranks_from_scores,
    spoken,
)
from rather.records.writing import convert, write

__all__ = [
    "Comparison",
    "Demonstration",
    "Gathered",
    "Message",
    "Problems",
    "Prompt",
    "PromptText",
    "Ranking",
    "Rating",
    "Reader",
    "Record",
    "Response",
    "Samples",
    "Text",
    "as_rankings",
    "convert",
    "dense_ranks",
    "gather",
    "pairs_of",
    "ranks_from_scores",
    "read",
    "spoken",
    "write",
]
