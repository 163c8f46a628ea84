"""How PostgreSQL makes databases and users."""

from __future__ import annotations

GROUP = "dbmod_users"
# A failing statement would be written to the server's log, with the password in it.
QUIET = "SET log_min_error_statement = panic; SET log_error_verbosity = terse;"


def statements(databases: list[str], users: list[dict[str, str]]) -> str:
    """Write what psql reads: the users are one group, which owns every one of these databases.

    A password travels as hexadecimal digits and the server itself quotes it, so no character of it can end the literal.
    Names are letters, digits, `_`, `.` and `-`, as dbmod/datastores.py has checked.
    """
    lines = ["\\set VERBOSITY sqlstate", "SET client_min_messages = error;", QUIET, _role(GROUP)]
    for user in users:
        password = f"convert_from(decode('{user['password'].encode().hex()}', 'hex'), 'UTF8')"
        lines += [
            _role(user["name"], f"format('LOGIN PASSWORD %L', {password})"),
            f'GRANT {GROUP} TO "{user["name"]}";',
        ]
    for name in databases:
        missing = f"NOT EXISTS (SELECT FROM pg_database WHERE datname = '{name}')"
        lines += [
            f"SELECT format('CREATE DATABASE %I OWNER {GROUP}', '{name}') WHERE {missing} \\gexec",
            f'\\connect "{name}"',
            *(line for user in users for line in _shares(user["name"])),
        ]
    return "\n".join([*lines, ""])


def _role(name: str, options: str = "''") -> str:
    """Write a role's creation where it is missing; options is an expression that gives what follows its name."""
    return (
        f"DO $do$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}')"
        f" THEN EXECUTE format('CREATE ROLE %I ', '{name}') || {options}; END IF; END $do$;"
    )


def _shares(user: str) -> list[str]:
    """Let the others of the group work with what this user will make."""
    return [
        f'ALTER DEFAULT PRIVILEGES FOR ROLE "{user}" GRANT ALL ON {things} TO {GROUP};'
        for things in ("SCHEMAS", "TABLES", "SEQUENCES", "ROUTINES", "TYPES")
    ]
