"""Names: what steers, hides or mimics, told from what people are called. One rule for all clients."""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache

from confusable_homoglyphs.utils import load

SERVER = "Server"

JOINERS = "\u200c\u200d"  # which Persian, Indic scripts and emoji are written with
SELECTORS = "\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef"  # of a letter's shape, as in Japanese names
IGNORABLE = (
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Default_Ignorable_Code_Point of Unicode 17 (DerivedCoreProperties.txt): shown as nothing."""
CONTROLS = "\x00-\x1f\x7f-\x9f\u2028\u2029\ufff9-\ufffb"
EMPTY = "\u2800\ufffc\U0001d159"  # symbols that show nothing

UNSEEN = re.compile(f"[{IGNORABLE}{EMPTY}]")
HIDING = re.compile(
    f"(?:(?![{JOINERS}{SELECTORS}])[{IGNORABLE}])|[{CONTROLS}]"
    f"|(?:(?<=[{JOINERS}])|^)[{JOINERS}{SELECTORS}]|(?<=[{SELECTORS}])[{SELECTORS}]"
)

LATIN = re.compile(
    r"LATIN (?:SMALL LETTER|CAPITAL LETTER|LETTER SMALL CAPITAL)"
    r"(?: (?:REVERSED|TURNED|INVERTED|OPEN|INSULAR|BLACKLETTER))* ([A-Z])(?: WITH .*)?"
)
"""The name of a character that is a Latin letter with something done to it."""

ALSO_ALIKE = {
    ord(char): letter
    for letter, chars in {
        "s": "5$§\u01a7\u01a8\u01bc\u01bd\u057f\u0575\u1506\u1511\u2d1d\u4e02\U00010496",
        "e": "3\u03b5\u03c3\u039e\u03be\u042d\u044d\u0259\u025c\u0437\u0454\u0511\u1971\u20ac\u2208\u2211\u2261",
        "r": "\xae\u044f\u13b1\ua75a\ua75b\U00010313",
        "v": "\u03c5\u04af\u13d9\u221a",
    }.items()
    for char in chars
} | {first + ord(letter) - ord("a"): letter for first in (0x1F150, 0x1F170, 0x1F1E6) for letter in "serv"}
"""What looks like a letter of the site's name though neither table nor name says so: digits, symbols, badges."""


def is_blank(text: str) -> bool:
    """True if a reader would see nothing: white space, controls, marks without a letter, and what joins or fills."""
    return not any(is_seen(char) for char in text)


def is_seen(char: str) -> bool:
    category = unicodedata.category(char)
    return category[0] not in "CZ" and category != "Mn" and not UNSEEN.match(char)


def hiding_in(name: str) -> str:
    """The first character of a name that hides or steers text; empty if there is none.

    A joiner or a selector does not where it follows what it belongs to.
    """
    found = HIDING.search(name)
    return found.group() if found else ""


@lru_cache(maxsize=1024)
def is_servers_name(name: str) -> bool:
    """True if people would read ``name`` as the name under which the site itself speaks: alike, or nearly so.

    It is over after as many letters as that name has: a name of the greatest length costs no more than another.
    """
    seen = ""
    for char in name.replace("\\/", "v"):
        for part in unicodedata.normalize("NFKD", char):
            seen += "".join(letter for letter in prototype(part) if letter.isalnum() and not UNSEEN.match(letter))
        if len(seen) > len(SERVER):
            return False
    return SERVER.casefold() in (seen, seen[::-1])


@lru_cache(maxsize=4096)
def prototype(char: str) -> str:
    """The ASCII letters that a character looks like, in small ones; the character itself if there are none."""
    if char.isascii():
        return char.translate(ALSO_ALIKE).lower()
    for form in (char, char.casefold()):
        for found in (form.translate(ALSO_ALIKE), base_letter(form), confusables().get(form, "")):
            if found and found.isascii():
                return found.lower()
    return char.casefold()


def base_letter(char: str) -> str:
    found = LATIN.fullmatch(unicodedata.name(char, "")) if len(char) == 1 else None
    return found[1] if found else ""


@cache
def confusables() -> dict[str, str]:
    """Characters that Unicode (UTS #39) gives a skeleton of ASCII, marks apart, with that skeleton."""
    found: dict[str, str] = {}
    for written, alike in load("confusables.json").items():
        char = bare(written)
        skeletons = [text for text in (bare(one["c"]) for one in alike) if text and text.isascii()]
        if skeletons and not char.isascii():
            found[char] = skeletons[0]
    return found


def bare(text: str) -> str:
    """Text without its marks, and without those of direction that the table puts around it."""
    return "".join(char for char in unicodedata.normalize("NFD", text) if unicodedata.category(char)[0] not in "MC")
