"""The rules about names."""

import re
import unicodedata

PLAIN = re.compile(r"[A-Za-z0-9._-]{1,255}\Z")
IDENTIFIER = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
TYPE = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
NUMBER = re.compile(r"([0-9]+)")


def is_valid_name(name: str) -> bool:
    """Tell whether *name* may name a module, instance or cluster.

    name    1 to 255 characters, at least one letter or digit, no control character, no "/", not "." or ".."
    Source  names become file names in module-retrieve; Salt CVE-2020-11652 was such a join
    """
    return is_valid_text(name) and "/" not in name and name not in (".", "..")


def is_valid_text(text: str) -> bool:
    """Tell whether *text* may be a description: the rule of names without the one about files."""
    return (
        1 <= len(text) <= 255
        and any(character.isalnum() for character in text)
        and not any(unicodedata.category(character) in ("Cc", "Cs") for character in text)
    )


def is_plain(name: str) -> bool:
    """Tell whether *name* can be an inventory host: ASCII letters, digits, dot, underscore, hyphen, and no option."""
    return bool(PLAIN.match(name)) and not name.startswith(("-", "."))


def is_identifier(text: str) -> bool:
    """Tell whether *text* is an id as dbmod makes them: a lower-case UUID."""
    return bool(IDENTIFIER.match(text))


def is_valid_type(name: str) -> bool:
    """Tell whether *name* can name a module type: it becomes a file name in library/."""
    return bool(TYPE.match(name))


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Give what names are sorted by: numbers in them as people count, db-2 before db-10."""
    parts = NUMBER.split(name)  # text and numbers in turn, text first
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name
