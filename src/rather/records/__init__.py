"""Records: what people hand in, as typed values and as files. Starts without torch.

`Prompt`, `Demonstration`, `Ranking`, `Comparison`, `Rating`, `Text`, made of `Message`s and `Response`s.
"""

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
    Text,
    dense_ranks,
    ranks_from_scores,
)

__all__ = [
    "Comparison",
    "Demonstration",
    "Message",
    "Prompt",
    "PromptText",
    "Ranking",
    "Rating",
    "Record",
    "Response",
    "Text",
    "dense_ranks",
    "ranks_from_scores",
]
