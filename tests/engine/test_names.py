"""Names: what steers, hides or mimics is told from what people are called."""

import unicodedata
from unittest.mock import patch

import pytest

from broadcast.engine import names
from broadcast.engine.names import hiding_in, is_servers_name

HIDING = [
    *("\x07", "\t", "\n", "\x7f", "\x85", "\u2028", "\u2029"),  # controls and separators
    *("\u061c", "\u200e", "\u200f", *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))),  # direction
    *("\xad", "\u034f", "\u115f", "\u17b4", "\u180e", "\u200b", "\u2060", "\u3164", "\ufeff", "\uffa0", "\ufff9"),
    *("\U0001bca0", "\U0001d173", "\U000e0001", "\U000e0041"),
]


@pytest.mark.parametrize("char", HIDING, ids=[f"{ord(char):04X}" for char in HIDING])
def test_what_hides_or_steers_is_found_wherever_it_stands(char):
    assert [hiding_in(name) for name in (f"{char}Ann", f"An{char}n", f"Ann{char}")] == [char] * 3


@pytest.mark.parametrize("name", ["\u200dAnn", "An\u200c\u200dn", "Ann\ufe0f\ufe0f", "\ufe0fAnn"])
def test_a_joiner_and_a_selector_of_nothing_hide(name):
    assert hiding_in(name) != ""


@pytest.mark.parametrize(
    "name",
    [
        *("Ann", " Ann O'Nym ", "Björk", "A\u030angstro\u0308m", "Ελένη", "Ольга", "יעל", "محمد", "山田太郎", "김민준"),
        *(
            "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627",
            "അവന\u0d4d\u200d",
            "ක\u0dca\u200dෂ",
            "辻\U000e0100",
            "ᠮᠣ\u180bᠩ",
        ),
        *("❤\ufe0f\u200d🔥", "👩🏽\u200d❤\ufe0f\u200d💋\u200d👨", "1\ufe0f\u20e3", "🇩🇪"),
    ],
)
def test_what_people_are_called_hides_nothing(name):
    assert hiding_in(name) == ""
    assert not is_servers_name(name)


ALIKE = [
    *("Server", "server", " SERVER ", "Ser\u200bver", "\uff33erver", "Ser\u00adver", "Ser\u034fver", "Ser ver"),
    *("S\u0301erver", "Ser\u20ddver", "Server\u3164", "\u0405\u0435\u0433\u0475\u0435\u0433", "S\u03b5rver"),
    *("5erver", "S3RV3R", "$erver", "Ser\u2228er", "Ser\u221aer", "SE\u13a1VE\u13a1"),
    *("\u13da\u13ac\u13d2\u13d9\u13ac\u13d2", "S\u20acrver", "Se\u027eve\u0280"),
    *("\ua4e2\ua4f0\ua4e3\ua4e6\ua4f0\ua4e3", "\U0001f1f8\U0001f1ea\U0001f1f7\U0001f1fb\U0001f1ea\U0001f1f7"),
    "\U0001f162\U0001f154\U0001f161\U0001f165\U0001f154\U0001f161",
    *("\ua7a8erver", "\ua7a9erver", "\u00a7erver", "\u01a7erver", "\u01a8erver", "S\u0247rver", "S\u0246RVER"),
    *(
        "\u2c7eerver",
        "\U00010420erver",
        "\U00016f3aERVER",
        "S\u03a3RV\u03a3R",
        "S\u2211RV\u2211R",
        "S\u0511rver",
        "S\u1971rver",
    ),
    *(
        "S\u1971rver",
        "Ser\\/er",
        "Ser\u05d8er",
        "Ser\u0667er",
        "S\u1d92rver",
        "\u1d8aerve\ua7a7",
        "SER\ua75eER",
        "revreS",
    ),
]


@pytest.mark.parametrize("name", ALIKE, ids=ascii)
def test_whatever_reads_like_the_sites_name(name):
    assert is_servers_name(name)


def test_every_letter_that_unicode_says_looks_like_one_of_the_name():
    mathematical = {"s": 0x1D600, "e": 0x1D5F2, "r": 0x1D5FF, "v": 0x1D603}  # sans-serif bold, as one of many
    assert unicodedata.name(chr(mathematical["s"])).endswith("BOLD SMALL S")
    assert is_servers_name("".join(chr(mathematical[letter]) for letter in "server"))


@pytest.mark.parametrize(
    "name",
    [
        *("Serverin", "Observer", "Ann", "", "53", "Server2", "Serve", "\u221a", "Sever", "Reserve", "Söze"),
        *("Server announcement", "Сервер", "Sepвep"),  # other words: the mark of a guest has to tell
    ],
)
def test_other_names(name):
    assert not is_servers_name(name)


def test_a_name_of_very_many_letters_is_soon_over():
    long = "\ufdfa" * 255  # each of which stands for eighteen
    with patch.object(names.unicodedata, "normalize", wraps=unicodedata.normalize) as normalize:
        assert not is_servers_name(long)
    assert normalize.call_count < 10
