"""Changes at random: of bytes, of JSON, and values that nobody expects."""

import json
import struct
from collections.abc import Callable
from random import Random
from typing import Any

__all__ = ["mutate_bytes", "mutate_json", "odd_text", "odd_value", "with_header"]

EXTREME = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
TEXTS = (
    "", "a", "0", "auto", "none", "nan", "inf", "-inf", "-1", "1e400", "\n", "\x1b[31mred", "\x00",
    "é", "\ud800", "日本", "a\nb", "'", '"', "{", "[", "/", ".", "..", "/dev/null", "/dev/zero",
    "~", "~nosuchuser/x", "a" * 300, "a/" * 2000 + "a", "{}", "[1", '{"name": "em"}',
    "../../etc/passwd",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, 2, 3, 17, -1, 1000, 10**6, 10**9, 10**18, 10**30, 2**31, 2**63, 0.5,
    -0.0, 1e-320, 1e308, float("nan"), float("inf"), float("-inf"), [], {}, [[]], [1], [1, 2, 3],
    ["a", "a"], {"a": 1}, {"self": 1}, {"name": "em"}, {"name": "dynamic", "iterations": 10**9},
    [0] * 1000, "a" * 10**5,
)  # fmt: skip
RAW = ('{"a": ' * 3000, "[" * 10**5, "9" * 5000, "1e400", "-", "\\u0000", "\ufeff", ",", "\x00")


def odd_text(draw: Random) -> str:
    """A text for the command line."""
    if draw.random() < 0.5:
        return draw.choice(TEXTS)
    value = odd_value(draw)
    text = value if isinstance(value, str) else json.dumps(value)
    return text[:2000]


def odd_value(draw: Random) -> Any:
    """A JSON value."""
    return draw.choice(TEXTS) if draw.random() < 0.25 else draw.choice(VALUES)


def mutate_bytes(draw: Random, content: bytes) -> bytes:
    """The bytes with one to three changes."""
    data = bytearray(content)
    for _ in range(draw.randint(1, 3)):
        draw.choice(CHANGES)(draw, data)
    return bytes(data)


def flip(draw: Random, data: bytearray) -> None:
    if data:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def replace(draw: Random, data: bytearray) -> None:
    """Put a number that is an edge of some type near the beginning, where headers are."""
    if data:
        width, order = draw.choice("BHIQ"), draw.choice("<>")
        number = draw.choice(EXTREME) % 256 ** struct.calcsize(width)
        place = draw.randrange(min(len(data), draw.choice((32, 256, len(data)))))
        packed = struct.pack(order + width, number)
        data[place : place + len(packed)] = packed


def cut(draw: Random, data: bytearray) -> None:
    del data[draw.randrange(len(data) + 1) :]


def delete(draw: Random, data: bytearray) -> None:
    place = draw.randrange(len(data) + 1)
    del data[place : place + draw.randint(1, 40)]


def insert(draw: Random, data: bytearray) -> None:
    place = draw.randrange(len(data) + 1)
    data[place:place] = draw.randbytes(draw.randint(1, 40))


def repeat(draw: Random, data: bytearray) -> None:
    place = draw.randrange(len(data) + 1)
    data[place:place] = data[place : place + draw.randint(1, 200)] * draw.randint(1, 20)


CHANGES: tuple[Callable[[Random, bytearray], None], ...] = (
    flip, flip, replace, replace, cut, delete, insert, repeat,
)  # fmt: skip


def mutate_json(draw: Random, text: str) -> bytes:
    """A JSON text with a value, a key or some letters changed."""
    kind = draw.random()
    if kind < 0.15:
        return mutate_bytes(draw, text.encode())
    if kind < 0.25:
        place = draw.randrange(len(text) + 1)
        return (text[:place] + draw.choice(RAW) + text[place:]).encode(errors="surrogatepass")
    value = json.loads(text)
    for _ in range(draw.choice((1, 1, 1, 2))):
        value = changed(draw, value)
    return json.dumps(value).encode()


def changed(draw: Random, value: Any) -> Any:
    """The value with one change somewhere in it."""
    if isinstance(value, dict) and value and draw.random() < 0.9:
        key = draw.choice(list(value))
        kind = draw.random()
        if kind < 0.1:
            return {k: v for k, v in value.items() if k != key}
        if kind < 0.2:
            return value | {draw.choice([*TEXTS, "self", "routing", "metadata"]): odd_value(draw)}
        return value | {key: changed(draw, value[key])}
    if isinstance(value, list) and value and draw.random() < 0.8:
        place = draw.randrange(len(value))
        return [*value[:place], changed(draw, value[place]), *value[place + 1 :]]
    if isinstance(value, int | float) and not isinstance(value, bool) and draw.random() < 0.3:
        return value * draw.choice((2, 10, 1000, -1)) + draw.choice((0, 1, 0.5))
    return odd_value(draw)


def with_header(draw: Random, content: bytes) -> bytes:
    """A safetensors file whose header is changed, and its length made to fit."""
    size = int.from_bytes(content[:8], "little")
    header = mutate_json(draw, content[8 : 8 + size].decode())
    return len(header).to_bytes(8, "little") + header + content[8 + size :]
