"""How MariaDB and MySQL make databases and users."""

from __future__ import annotations


def statements(databases: list[str], users: list[dict[str, str]]) -> str:
    """Write the SQL: every user gets all rights on every one of these databases, from any address.

    A password travels as hexadecimal digits and the server itself quotes it, so no character of it can end the literal.
    """
    lines = [f"CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4;" for name in databases]
    for user in users:
        account = f"'{user['name']}'@'%'"
        lines += [
            f"SET @password = QUOTE(CONVERT(x'{user['password'].encode().hex()}' USING utf8mb4));",
            f'SET @statement = CONCAT("CREATE USER IF NOT EXISTS {account} IDENTIFIED BY ", @password);',
            "PREPARE made FROM @statement;",
            "EXECUTE made;",
            "DEALLOCATE PREPARE made;",
            *(f"GRANT ALL PRIVILEGES ON `{_pattern(name)}`.* TO {account};" for name in databases),
        ]
    return "\n".join([*lines, ""])


def _pattern(database: str) -> str:
    """In a grant `_` stands for any character: without the backslash `a_b` would also give `axb`."""
    return database.replace("_", "\\_")
