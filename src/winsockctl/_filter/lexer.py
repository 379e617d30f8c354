"""From the text of an expression to its tokens."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from winsockctl._filter.errors import FilterSyntaxError
from winsockctl._filter.names import CONSTANTS, KEYWORDS


class Kind(Enum):
    """What a token is."""

    NUMBER = auto()
    IPV4 = auto()
    """Two to four decimal numbers with dots between."""
    IPV6 = auto()
    NAME = auto()
    """A word without a meaning of its own, any word behind a backslash, or a link-layer address."""
    KEYWORD = auto()
    SYMBOL = auto()
    END = auto()


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the expression."""

    kind: Kind
    text: str
    """As written, but ``!`` is ``not``, ``&&`` is ``and``, ``||`` is ``or``, ``==`` is ``=``."""
    position: int
    value: int = 0
    """Of a number."""

    def is_(self, *texts: str) -> bool:
        """Whether this is one of these keywords or symbols."""
        return self.kind in (Kind.KEYWORD, Kind.SYMBOL) and self.text in texts


_SPACE: Final = re.compile(r"[ \t\r\n]*")
# A word may have hyphens inside: "tcp-syn" and "80-90" are one token, "80 -90" is three.
_WORD: Final = re.compile(r"[A-Za-z0-9](?:[-_.A-Za-z0-9]*[.A-Za-z0-9])?")
_COLONS: Final = re.compile(r"[0-9A-Fa-f]*(?::[0-9A-Fa-f]*){2,}(?:\.[0-9]+)*")
_LINK_LAYER_ADDRESS: Final = re.compile(r"[0-9A-Fa-f]{1,2}(?::[0-9A-Fa-f]{1,2}){5}")
_ESCAPED: Final = re.compile(r"\\([^ !()\n\t]+)")
_SYMBOL: Final = re.compile(r"&&|\|\||[<>!=]=|<<|>>|[-+*/%:\[\]!<>()&|^=]")
_NUMBER: Final = re.compile(r"0[xX][0-9A-Fa-f]+|[0-9]+")
_IPV4: Final = re.compile(r"[0-9]+(?:\.[0-9]+){1,3}")
_WORDS_OF_SYMBOLS: Final = {"!": "not", "&&": "and", "||": "or"}


def tokenize(expression: str) -> list[Token]:
    """Return the tokens, the last of them of kind ``END``.

    Raises:
        FilterSyntaxError: for a character that begins no token, or a malformed number or address.
    """
    tokens = []
    end = len(expression.rstrip(" \t\r\n"))
    position = 0
    while (position := _end(_SPACE.match(expression, position), position)) < end:
        token, position = _next(expression, position)
        tokens.append(token)
    return [*tokens, Token(Kind.END, "", end)]


def _end(match: re.Match[str] | None, default: int) -> int:
    return match.end() if match else default


def _next(expression: str, position: int) -> tuple[Token, int]:
    word = _WORD.match(expression, position)
    colons = _COLONS.match(expression, position)
    if colons and colons.end() > _end(word, position):
        return _ipv6(expression, colons), colons.end()
    if word:
        return _word(expression, word), word.end()
    if escaped := _ESCAPED.match(expression, position):
        return Token(Kind.NAME, escaped[1], position), escaped.end()
    if symbol := _SYMBOL.match(expression, position):
        text = symbol[0]
        if text in _WORDS_OF_SYMBOLS:
            return Token(Kind.KEYWORD, _WORDS_OF_SYMBOLS[text], position), symbol.end()
        return Token(Kind.SYMBOL, "=" if text == "==" else text, position), symbol.end()
    reason = f"{expression[position]!r} begins no word, number or operator of the language"
    raise FilterSyntaxError(expression, position, reason)


def _word(expression: str, match: re.Match[str]) -> Token:
    text, position = match[0], match.start()
    if text in KEYWORDS:
        return Token(Kind.KEYWORD, text, position)
    if text in CONSTANTS:
        return Token(Kind.NUMBER, text, position, CONSTANTS[text])
    if _NUMBER.fullmatch(text):
        return Token(Kind.NUMBER, text, position, _number(expression, text, position))
    return Token(Kind.IPV4 if _IPV4.fullmatch(text) else Kind.NAME, text, position)


def _number(expression: str, text: str, position: int) -> int:
    base = 10
    if text.startswith("0") and len(text) > 1:
        base = 16 if text[1] in "xX" else 8
    try:
        value = int(text, base)
    except ValueError:
        if base == 8:
            reason = f"'{text}' begins with 0, so it is octal and has digits from 0 to 7 only"
            raise FilterSyntaxError(expression, position, reason) from None
        value = -1  # more digits than Python converts
    if not 0 <= value <= 0xFFFFFFFF:
        raise FilterSyntaxError(expression, position, f"'{text}' does not fit into 32 bits")
    return value


def _ipv6(expression: str, match: re.Match[str]) -> Token:
    if _LINK_LAYER_ADDRESS.fullmatch(match[0]):
        return Token(Kind.NAME, match[0], match.start())
    try:
        ipaddress.IPv6Address(match[0])
    except ValueError as error:
        reason = f"expected an IPv6 address: {error}"
        raise FilterSyntaxError(expression, match.start(), reason) from None
    return Token(Kind.IPV6, match[0], match.start())
