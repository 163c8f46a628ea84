# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Fill in `@memory_mib*0.7@` and the like in contents: fixed names and arithmetic, read here and never executed.

A comment line stays as it is, and `@@` stands for one `@`.
"""

import re
from fractions import Fraction
from typing import List, Mapping, Optional, Union

from . import dbmod_kit as kit

Value = Union[int, str, None]  # None: known to nobody here
Number = Union[Fraction, str]

TOKEN = re.compile(r"\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<name>[a-z][a-z_]*)|(?P<sign>[-+*/()]))")
LENGTH_LIMIT = 100  # characters of an expression; so the parser never goes deep
COMMENTS = ("#", ";")


def render(text: str, values: Mapping[str, Value]) -> str:
    """Give *text* with its expressions filled in; numbers are rounded down.

    values  the names there are
    Raises  Refused with the number of the line, never its text
    """
    return "\n".join(_line(line, number, values) for number, line in enumerate(text.split("\n"), 1))


def _line(line: str, number: int, values: Mapping[str, Value]) -> str:
    if "@" not in line or line.lstrip().startswith(COMMENTS):
        return line
    pieces = line.split("@")
    try:
        if len(pieces) % 2 == 0:
            raise kit.Refused("an '@' without its second; '@@' stands for one")
        for index in range(1, len(pieces), 2):
            pieces[index] = _evaluated(pieces[index], values) if pieces[index] else "@"
    except kit.Refused as refusal:
        raise kit.Refused("line %d: %s" % (number, refusal)) from None
    return "".join(pieces)


def _evaluated(expression: str, values: Mapping[str, Value]) -> str:
    if len(expression) > LENGTH_LIMIT:
        raise kit.Refused("an expression of more than %d characters" % LENGTH_LIMIT)
    tokens = _tokens(expression)
    result = _sum(tokens, values)
    if tokens:
        raise kit.Refused("an expression goes on where it should end")
    return result if isinstance(result, str) else str(result.numerator // result.denominator)


def _tokens(expression: str) -> List["re.Match[str]"]:
    """Cut an expression up; the next token is the last, so that it can be popped."""
    tokens, position = [], 0
    end = len(expression.rstrip())
    while position < end:
        token = TOKEN.match(expression, position)
        if token is None:
            raise kit.Refused("an expression holds more than names, numbers, + - * / ( )")
        tokens.append(token)
        position = token.end()
    return tokens[::-1]


def _sum(tokens: List["re.Match[str]"], values: Mapping[str, Value]) -> Number:
    result = _product(tokens, values)
    while _sign(tokens) in ("+", "-"):
        sign = tokens.pop().group("sign")
        other = _number(_product(tokens, values))
        result = _number(result) + (other if sign == "+" else -other)
    return result


def _product(tokens: List["re.Match[str]"], values: Mapping[str, Value]) -> Number:
    result = _factor(tokens, values)
    while _sign(tokens) in ("*", "/"):
        sign = tokens.pop().group("sign")
        other = _number(_factor(tokens, values))
        if sign == "/" and not other:
            raise kit.Refused("an expression divides by zero")
        result = _number(result) * other if sign == "*" else _number(result) / other
    return result


def _factor(tokens: List["re.Match[str]"], values: Mapping[str, Value]) -> Number:
    if not tokens:
        raise kit.Refused("an expression ends too early")
    token = tokens.pop()
    if token.group("number"):
        return Fraction(token.group("number"))
    if token.group("name"):
        return _value(token.group("name"), values)
    if token.group("sign") == "-":
        return -_number(_factor(tokens, values))
    if token.group("sign") != "(":
        raise kit.Refused("an expression has a sign where a value should be")
    result = _sum(tokens, values)
    if _sign(tokens) != ")":
        raise kit.Refused("an expression lacks a ')'")
    tokens.pop()
    return result


def _value(name: str, values: Mapping[str, Value]) -> Number:
    if name not in values:
        raise kit.Refused("an expression has a name that is none of %s" % ", ".join(sorted(values)))
    value = values[name]
    if not value:
        raise kit.Refused("%s is not known on this host" % name)
    return value if isinstance(value, str) else Fraction(value)


def _number(value: Number) -> Fraction:
    if isinstance(value, str):
        raise kit.Refused("an expression calculates with a text")
    return value


def _sign(tokens: List["re.Match[str]"]) -> Optional[str]:
    return tokens[-1].group("sign") if tokens else None
