"""The page of `dbmod report`: one file that holds its style, its script and its data, and may load nothing."""

import base64
import hashlib
from pathlib import Path

FOLDER = Path(__file__).parent


def fill(embedded: str) -> str:
    """Give the whole page.

    embedded  the data as report.embedded writes it; put in last, so that no text in it is taken for a place
    """
    style, script = ((FOLDER / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    before, after = (FOLDER / "page.html").read_text(encoding="utf-8").split("PAGE_DATA")
    places = {
        "STYLE_DIGEST": _digest(style),
        "SCRIPT_DIGEST": _digest(script),
        "PAGE_STYLE": style,
        "PAGE_SCRIPT": script,
    }
    for place, text in places.items():
        before, after = before.replace(place, text), after.replace(place, text)
    return before + embedded + after


def _digest(text: str) -> str:
    """Give what a Content-Security-Policy allows a text in the page by: nothing else runs or styles."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
