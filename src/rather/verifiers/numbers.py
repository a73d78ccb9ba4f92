"""Whether a response ends in the right number: boxed, after "####", after "the answer is", or simply the last one."""

from __future__ import annotations

import re
from collections import deque
from decimal import Decimal, DecimalException, localcontext

from rather.errors import BadRecord
from rather.verifiers.verdicts import Verdict, right_or_wrong, shown

LONGEST = 60  # characters of a number: nobody's answer has more, and a decimal of a million digits takes minutes
DIGITS = r"(?:\d{1,3}(?:[,\u202f\u00a0]\d{3})+|\d+)(?:\.\d+)?|\.\d+"
# A sign counts where a number begins; the minus in "10-3" is an operation.
NUMBER = re.compile(
    rf"(?P<sign>(?<![\w.)])[-+\u2212])?(?P<currency>[$\u20ac\u00a3]\s?)?"
    rf"(?:\\[dt]?frac\s?\{{\s*(?P<above>[-+]?\d+(?:\.\d+)?)\s*\}}\s?\{{\s*(?P<below>[-+]?\d+(?:\.\d+)?)\s*\}}"
    rf"|(?P<number>{DIGITS})(?:[eE](?P<power>[-+]?\d{{1,3}})(?![\w.])|(?P<slash>\s?/\s?)(?P<over>\d+(?:\.\d+)?))?)"
    r"(?P<unit>\s?\\?%|\s?\\?(?:text|mathrm)\{[^{}]*\}|\s?\u00b0[CF]?|\s?[A-Za-z\u00b5]+(?:/[A-Za-z]+)?(?:\^?[23\u00b2\u00b3])?)?"
)
SAID = re.compile(r"(?:answer|result|total|solution)\s*(?:is|are|:|=|was)\s*:?\s*", re.I)
# unit -> (what it measures, how many of the first unit of its kind)
UNITS: dict[str, tuple[str, str]] = {}
for _kind, _units in {
    "length": "m 1 km 1000 cm 0.01 mm 0.001 meter 1 meters 1 metre 1 metres 1 kilometers 1000 kilometres 1000 "
    "inch 0.0254 inches 0.0254 in 0.0254 ft 0.3048 foot 0.3048 feet 0.3048 yard 0.9144 mile 1609.344 miles 1609.344",
    "mass": "kg 1 g 0.001 mg 0.000001 grams 0.001 gram 0.001 kilograms 1 t 1000 tonnes 1000 lb 0.45359237 "
    "pounds 0.45359237 oz 0.028349523125 ounces 0.028349523125",
    "time": "s 1 sec 1 second 1 seconds 1 ms 0.001 min 60 minute 60 minutes 60 h 3600 hour 3600 hours 3600 day 86400 "
    "days 86400 week 604800 weeks 604800",
    "volume": "l 1 L 1 liter 1 liters 1 litre 1 litres 1 ml 0.001 mL 0.001",
    "share": "% 0.01 percent 0.01",
    "money": "$ 1 dollars 1 dollar 1 cents 0.01 cent 0.01",
}.items():
    _words = _units.split()
    UNITS.update({unit: (_kind, factor) for unit, factor in zip(_words[::2], _words[1::2], strict=True)})


def number(response: str, answer: str | int | float, tolerance: float = 1e-6) -> Verdict:
    """1 where the last number of the response is the answer's, within `tolerance` of it (relative; absolute near 0).

    answer: a number, or a text that ends in one ("... #### 42" of GSM8K, "5 km"). Where it has a unit that is known
    (length, mass, time, volume, share, money), the response may leave the unit out or use another of the same kind.
    """
    wanted = _number_in(str(answer))
    if wanted is None:
        raise BadRecord(
            f"the answer {shown(str(answer))} has no number in it", "Expected a number, alone or at the end."
        )
    found = _number_in(response)
    if found is None:
        return Verdict(0.0, "there is no number in it" if "\\boxed" not in response else "the box holds no one number")
    (value, unit, words), (target, target_unit, _) = found, wanted
    if target_unit in UNITS and unit in UNITS and unit != target_unit:
        kind, factor = UNITS[unit]
        target_kind, target_factor = UNITS[target_unit]
        if kind != target_kind:
            return Verdict(0.0, f"{shown(words)} is {_a(kind)}, and {_a(target_kind)} was asked for")
        with localcontext() as context:
            context.prec = 50
            value = value * Decimal(factor) / Decimal(target_factor)
    with localcontext() as context:
        context.prec = 50
        near = abs(value - target) <= Decimal(tolerance) * max(Decimal(1), abs(target))
    return right_or_wrong(
        near, f"the number is {shown(words)}, the answer {answer if len(str(answer)) < 40 else target}"
    )


def _number_in(text: str) -> tuple[Decimal, str, str] | None:
    """(value, unit, words) of the number that a text gives as its answer."""
    boxed = _last_box(text)
    if boxed is not None:
        inside = [found for found in map(_read, NUMBER.finditer(boxed)) if found]
        return inside[0] if len(inside) == 1 else None  # "42 or 43" is no answer
    _, marker, after = text.rpartition("####")
    if marker and (found := NUMBER.search(after)):
        return _read(found)
    for said in reversed(list(SAID.finditer(text))):
        found = NUMBER.match(text, said.end())
        if found and (read := _read(found)):
            return read
    found = next(iter(deque(NUMBER.finditer(text), maxlen=1)), None)
    return _read(found) if found else None


def _last_box(text: str) -> str | None:
    start = text.rfind("\\boxed")
    if start < 0:
        return None
    opening = text.find("{", start)
    if opening < 0:
        return ""
    depth = 0
    for place in range(opening, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[opening + 1 : place]
    return ""


def _read(found: re.Match[str]) -> tuple[Decimal, str, str] | None:
    if len(found[0]) > LONGEST:
        return None
    try:
        with localcontext() as context:
            context.prec = 50
            if found["above"] is not None:
                value = Decimal(found["above"]) / Decimal(found["below"])
            else:
                value = Decimal(re.sub(r"[,\u202f\u00a0]", "", found["number"]))
                if found["power"]:
                    value = value.scaleb(int(found["power"]))
                if found["over"]:
                    value /= Decimal(found["over"])
    except (DecimalException, ValueError):  # divided by zero
        return None
    unit = re.sub(r"\\(?:text|mathrm)?|[{}\s]", "", found["unit"] or "")
    if found["currency"]:
        unit = found["currency"].strip()
    return -value if found["sign"] in ("-", "\u2212") else value, unit, found[0].strip()


def _a(kind: str) -> str:
    return {"money": "money", "share": "a share"}.get(kind, f"a {kind}")
