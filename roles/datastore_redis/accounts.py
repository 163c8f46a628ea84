"""How Redis makes users."""

from __future__ import annotations

import hashlib


def statements(databases: list[str], users: list[dict[str, str]]) -> str:
    """Write the commands for redis-cli: users who may do everything with the data and nothing with the server.

    Only the digest of a password travels: it is all that Redis keeps, too.
    """
    del databases  # datastore.yml says that there are none to make
    lines = [f"ACL SETUSER {user['name']} reset on #{_digest(user['password'])} ~* &* +@all -@admin" for user in users]
    return "\n".join([*lines, "ACL SAVE", ""])


def _digest(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()
