"""Contents in the table dbmod.contents: the same encrypted bytes as in files, bound to owner and number.

They are written on a connection of their own, inside and outside of transactions, durable on return.
"""

import contextlib
from collections.abc import Iterator

from psycopg import errors as sql

from dbmod import errors, vault
from dbmod.config import Settings
from dbmod.store import contents, lock
from dbmod.store.interface import Rotation, Stored
from dbmod.store.postgresql import connection as door
from dbmod.store.postgresql import schema, waiting
from dbmod.store.postgresql.connection import Connection
from dbmod.vault import Key

STATE = "contents that were being written may be there or not: to write them again does no harm"
WRITING, ROTATING = "ROW EXCLUSIVE", "SHARE ROW EXCLUSIVE"  # writers beside each other; a rotation beside readers only


def write(connection: Connection, settings: Settings, owner: str, number: int, data: bytes) -> None:
    """Keep contents. Raises LedgerUnwritable; LedgerBusy while the key rotates; LedgerError without the key."""
    contents.check_owner(owner)
    with _locked(connection, settings, WRITING, what=f"contents of {owner}"):
        keys = _keys(settings)
        _refuse_unknown(connection, keys)
        encrypted = b"".join(vault.encrypt(keys[0], data, bound=contents.bound(owner, number)))
        connection.execute(
            "INSERT INTO dbmod.contents (owner, number, data) VALUES (%s, %s, %b) "
            "ON CONFLICT (owner, number) DO UPDATE SET data = excluded.data",
            (owner, number, encrypted),
        )


def read(connection: Connection, settings: Settings, owner: str, number: int) -> bytes:
    """Decrypt contents. Raises NotFound; LedgerDamaged; LedgerError where the key is missing."""
    contents.check_owner(owner)
    found = None
    with door.asked(), contextlib.suppress(sql.UndefinedTable):
        query = "SELECT data FROM dbmod.contents WHERE owner = %s AND number = %s"
        found = connection.execute(query, (owner, number), binary=True).fetchone()
    if found is None:
        raise errors.NotFound(f"there are no contents {number} of {owner}")
    keys = vault.keys(settings)
    if vault.key_id_of(found[0]) not in {key.id for key in keys}:
        vault.forget()
        keys = vault.keys(settings)
    what = f"the contents {number} of {owner}"
    return vault.decrypt(keys, found[0], bound=contents.bound(owner, number), what=what)


def delete(connection: Connection, settings: Settings, owner: str, number: int | None) -> None:
    contents.check_owner(owner)
    with _locked(connection, settings, WRITING, what=f"contents of {owner}"):
        query = "DELETE FROM dbmod.contents WHERE owner = %s AND (%s::integer IS NULL OR number = %s)"
        connection.execute(query, (owner, number, number))


def stored(connection: Connection) -> list[Stored]:
    with door.asked():
        try:
            found = connection.execute("SELECT owner, number, key_id FROM dbmod.contents ORDER BY owner, number")
        except sql.UndefinedTable:
            return []
        return [Stored(owner=owner, number=number, key_id=key_id) for owner, number, key_id in found]


def rotate(connection: Connection, settings: Settings) -> Rotation:
    """Encrypt all contents anew in one transaction; they can be read all the while."""
    with _locked(connection, settings, ROTATING, what="key-rotate"):
        keys = _keys(settings)
        _refuse_unknown(connection, keys)
        was_interrupted = vault.is_in_file(settings) and len(keys) > 1
        if vault.is_in_file(settings) and not was_interrupted:
            keys = [vault.new_key(), *keys]
            contents.write_keys(settings, keys)
        old = connection.execute(
            "SELECT owner, number FROM dbmod.contents WHERE key_id <> %s", (keys[0].id,)
        ).fetchall()
        for owner, number in old:
            _encrypt_anew(connection, keys, owner, number)
    if vault.is_in_file(settings):
        contents.write_keys(settings, keys[:1])
    return Rotation(key_id=keys[0].id, files=len(old), was_interrupted=was_interrupted)


def _encrypt_anew(connection: Connection, keys: list[Key], owner: str, number: int) -> None:
    bound = contents.bound(owner, number)
    where = "WHERE owner = %s AND number = %s"
    for (data,) in connection.execute(f"SELECT data FROM dbmod.contents {where}", (owner, number), binary=True):
        plain = vault.decrypt(keys, data, bound=bound, what=f"the contents {number} of {owner}")
        encrypted = b"".join(vault.encrypt(keys[0], plain, bound=bound))
        connection.execute(f"UPDATE dbmod.contents SET data = %b {where}", (encrypted, owner, number))


@contextlib.contextmanager
def _locked(connection: Connection, settings: Settings, mode: str, *, what: str) -> Iterator[None]:
    """Hold the table's lock in a transaction of its own."""
    wait = settings.lock_wait_seconds
    with door.asked(state=STATE):
        if not schema.is_made(connection):
            schema.make(connection)
        with connection.transaction():
            try:
                waiting.take_lock(connection, "contents", mode, note=waiting.note(what), wait_seconds=wait)
            except sql.LockNotAvailable:
                raise lock.busy(None, wait) from None
            vault.forget()
            yield


def _keys(settings: Settings) -> list[Key]:
    """Give the keys. One is never made here: who shares this ledger has to have the same one."""
    keys = vault.keys(settings)
    if not keys:
        raise errors.LedgerError(
            "there is no key for the contents of this ledger",
            details={"looked for": f"DBMOD_KEY, key_command, {vault.key_file(settings)}"},
            next_step="give the one that all have who share this ledger; the first of them makes it: "
            "docs/ledger-for-a-team.md",
        )
    return keys


def _refuse_unknown(connection: Connection, keys: list[Key]) -> None:
    """Refuse to write under a key that others do not have, and to rotate what cannot be decrypted."""
    query = "SELECT owner, number, key_id FROM dbmod.contents WHERE key_id <> ALL(%s) LIMIT 1"
    found = connection.execute(query, ([key.id for key in keys],)).fetchone()
    if found:
        raise vault.missing(f"the contents {found[1]} of {found[0]}", found[2], keys)
