"""The sheet a lab is written on: flags that refuse nonsense in words, and a plot. No idea of RLHF lives here."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

Curves = dict[str, Sequence[tuple[float, float]]]  # name -> points
COLOURS = ("#0b5fa5", "#c2410c", "#15803d", "#7e22ce", "#475569")
MARKS = "abcdefgh"


def flags(about: str) -> argparse.ArgumentParser:
    """A parser with the lab's own words, and the flag that all labs share."""
    parser = argparse.ArgumentParser(description=about, allow_abbrev=False)
    parser.add_argument(
        "--plot", nargs="?", const="-", type=_figure, metavar="FILE.svg", help="draw in the terminal, or write an SVG"
    )
    return parser


def number(low: float, high: float) -> Callable[[str], float]:
    """The type of a flag: a number from low to high."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:  # also where it is NaN
            raise argparse.ArgumentTypeError(f"expected a number from {low:g} to {high:g}, found {text!r}")
        return value

    return read


def whole(low: int, high: int) -> Callable[[str], int]:
    """The type of a flag: a whole number from low to high."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"expected a whole number from {low} to {high}, found {text[:40]!r}")
        return value

    return read


def run(main: Callable[[], None]) -> None:
    """A lab as a command: interrupted, or piped into a reader that has seen enough, it ends without a traceback."""
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        raise SystemExit("stopped") from None


def _figure(text: str) -> str:
    if text != "-" and not (text.endswith(".svg") and Path(text).parent.is_dir()):
        raise argparse.ArgumentTypeError(f"expected FILE.svg in a folder that exists, found {text!r}")
    return text


def plot(where: str | None, title: str, x_name: str, y_name: str, curves: Curves) -> None:
    """where: what --plot gave: None for no plot, '-' for the terminal, or a file."""
    if where is None:
        return
    if where == "-":
        print("\n".join(_in_letters(title, x_name, y_name, curves)))
        return
    part = f"{where}.part"
    try:
        Path(part).write_text(_svg(title, x_name, y_name, curves), encoding="utf-8")
        os.replace(part, where)  # whole or not at all
    except OSError as error:
        raise SystemExit(f"{where} cannot be written: {error.strerror}. Try --plot alone: it draws here.") from None
    print(f"\nplot written to {where}")


def _bounds(curves: Curves) -> tuple[float, float, float, float]:
    xs, ys = zip(*(point for points in curves.values() for point in points), strict=True)
    left, right, low, high = min(xs), max(xs), min(ys), max(ys)
    return left, right if right > left else left + 1, low, high if high > low else low + 1


def _in_letters(title: str, x_name: str, y_name: str, curves: Curves, width: int = 64, height: int = 16) -> list[str]:
    left, right, low, high = _bounds(curves)
    grid = [[" "] * width for _ in range(height)]
    for mark, points in zip(MARKS, curves.values(), strict=False):
        for x, y in points:
            row = round((high - y) / (high - low) * (height - 1))
            grid[row][round((x - left) / (right - left) * (width - 1))] = mark
    names = ", ".join(f"{mark} {name}" for mark, name in zip(MARKS, curves, strict=False))
    lines = ["", f"{title}   ({y_name}; {names})"]
    for row, cells in enumerate(grid):
        edge = f"{high:.4g}" if row == 0 else f"{low:.4g}" if row == height - 1 else ""
        lines.append(f"{edge:>9} |{''.join(cells).rstrip()}")
    lines.append(" " * 10 + "+" + "-" * width)
    lines.append(f"{'':>11}{left:<8.4g}{x_name:^{width - 16}}{right:>8.4g}")
    return lines


def _svg(title: str, x_name: str, y_name: str, curves: Curves) -> str:
    left, right, low, high = _bounds(curves)

    def place(x: float, y: float) -> str:
        return f"{60 + (x - left) / (right - left) * 520:.1f},{330 - (y - low) / (high - low) * 280:.1f}"

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 400" font-family="sans-serif" font-size="13">',
        f'<rect width="640" height="400" fill="white"/><text x="60" y="28" font-size="16">{escape(title)}</text>',
        '<path d="M60 50 V330 H580" fill="none" stroke="#94a3b8"/>',
        f'<text x="320" y="366" text-anchor="middle">{escape(x_name)}</text>',
        f'<text x="11" y="190" text-anchor="middle" transform="rotate(-90 11 190)">{escape(y_name)}</text>',
    ]
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, y = left + share * (right - left), low + share * (high - low)
        parts.append(f'<text x="{60 + 520 * share:.0f}" y="348" text-anchor="middle">{x:.3g}</text>')
        parts.append(f'<text x="55" y="{334 - 280 * share:.0f}" text-anchor="end">{y:.3g}</text>')
    for row, (name, points) in enumerate(curves.items()):
        colour = COLOURS[row % len(COLOURS)]
        line = " ".join(place(x, y) for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{70 + 130 * row}" y="388" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])
