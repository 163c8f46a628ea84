"""How Redis makes users."""

from __future__ import annotations

import hashlib


def statements(databases: list[str], users: list[dict[str, str]]) -> str:
    """Write the commands for redis-cli: users who may do everything with the data and nothing with the server.

    Only the digest of a password travels: it is all that Redis keeps, too.
    """
    assert not databases, "refused by datastore.yml"
    lines = [
        f"ACL SETUSER {user['name']} reset on #{hashlib.sha256(user['password'].encode()).hexdigest()} ~* &* +@all -@admin"
        for user in users
    ]
    return "\n".join([*lines, "ACL SAVE", ""])
