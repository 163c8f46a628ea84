"""Making ids."""

import os


def new_id() -> str:
    """Make a random UUID; the module `uuid` costs 4 ms of every start."""
    text = (int.from_bytes(os.urandom(16)) & ~(0xF << 76 | 0x3 << 62) | (0x4 << 76 | 0x2 << 62)).to_bytes(16).hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
