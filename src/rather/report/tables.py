"""Tables of the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup


def table(head: Sequence[str], rows: Sequence[Sequence[Any]], numbers: Sequence[int] = ()) -> Markup:
    """numbers: columns that are set to the right"""
    right = [Markup(' class="n"') if at in numbers else "" for at in range(len(head))]
    top = Markup("").join(Markup("<th{}>{}</th>").format(*cell) for cell in zip(right, head, strict=True))
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(
            Markup("").join(Markup("<td{}>{}</td>").format(*cell) for cell in zip(right, row, strict=True))
        )
        for row in rows
    )
    return Markup('<div class="wide"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>').format(
        top, body
    )
