"""The words that people read to each other: pairing codes and fingerprints.

A code is `N-word-word`: a digit that tells two offers on one network apart, which is no secret, and two
words that are. A fingerprint is four words. Rule of the list: 256 English nouns, one per byte, easy to
say; no two begin with the same four letters or differ in one letter only, so that a slip of the tongue
or the finger names no other word. The order of the list is part of the protocol. Implements DESIGN §7.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches

from fleetsync.errors import UserError

Entropy = Callable[[int], bytes]
"""A source of random bytes with the shape of `os.urandom`."""

_LIST = """
acorn actor album almond amber anchor anvil apple apron arrow aspen atlas attic autumn badge bagel bamboo
banjo barrel basket beacon beaver bishop blanket blossom bottle boulder bracelet branch breeze bridge
bronze bucket buffalo butter cabin cactus camera candle canoe canyon captain carpet castle chalk cherry
chimney chisel cinema circus clover cobra coconut coffee comet compass copper coral cotton cradle crayon
cricket crystal cupboard curtain dagger daisy dancer dawn desert diamond dolphin dragon drawer drummer
eagle echo elbow elephant emerald engine envelope estuary fabric falcon farmer feather ferry fiddle
finger flamingo flute forest fossil freckle furnace galaxy garden garlic gazelle geyser giant giraffe
glacier goblet gondola gorilla granite guitar hammer harbor harvest hazel hedge helmet hermit hickory
honey horizon hotel husky iceberg igloo indigo inlet island ivory jacket jaguar jasmine jelly jigsaw
jungle juniper kayak kettle kitten kiwi koala ladder lagoon lantern lava lemon leopard lettuce library
lilac lizard lobster lotus lumber magnet mango maple marble meadow melon mermaid meteor midnight mirror
monkey mosaic mountain muffin museum mustard napkin nectar needle nickel noodle nugget oasis ocean
octopus olive onion opera orbit orchid otter oven oyster palace panda paper parrot peacock pebble pelican
pencil piano pigeon pillow pirate planet plaza poem pony poppy prairie prince pumpkin puzzle pyramid
quartz quilt rabbit radar raven ribbon river robot rocket saddle sailor salmon sandal satchel scarf
shadow shepherd silver sparrow spider sugar sunset table temple thunder tiger tomato trumpet tulip tunnel
turtle umbrella unicorn valley vanilla velvet violin volcano voyage waffle walnut walrus window winter
yacht yogurt zebra zeppelin zipper
"""
WORDS = tuple(_LIST.split())

FINGERPRINT_WORDS = 4
_CODE = re.compile(r"([1-9])-([a-z]+)-([a-z]+)")


def new_code(entropy: Entropy) -> str:
    """A fresh code; 16 of its bits are secret, which is enough for a single guess."""
    digit, first, second = entropy(3)
    return f"{1 + digit % 9}-{WORDS[first]}-{WORDS[second]}"


def parse_code(text: str) -> str:
    """The code as its offerer printed it, whatever case and spacing it was typed in.

    Raises `UserError` for what cannot be a code, so that a slip costs no attempt.
    """
    plain = re.sub(r"[\s-]+", "-", text.strip().lower())
    match = _CODE.fullmatch(plain) if len(plain) <= 40 else None
    if match is None:
        raise UserError(
            f"{text[:40]!r} is not a pairing code", next_step="type it as printed, like 7-orbit-falcon"
        )
    for word in match.groups()[1:]:
        _require_word(word)
    return plain


def _require_word(word: str) -> None:
    if word in WORDS:
        return
    near = get_close_matches(word, WORDS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "type it as the other screen shows it"
    raise UserError(f"{word!r} is not a word of a pairing code", next_step=hint)


def fingerprint(digest: bytes) -> tuple[str, ...]:
    """Four words for the first four bytes of a digest that both devices share."""
    return tuple(WORDS[byte] for byte in digest[:FINGERPRINT_WORDS])
