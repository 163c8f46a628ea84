"""The administrator's password of an instance: made on the controller, kept encrypted, deleted with its owner.

Its owner is the instance, or the cluster whose members share it.
"""

import secrets

from dbmod import errors
from dbmod.records import Instance
from dbmod.store.interface import Store

NUMBER = 0  # of its contents: modules count theirs from 1
RANDOM_BYTES = 20


def owner(instance: Instance) -> str:
    """Give the id under which an instance's password is kept."""
    return instance.cluster_id or instance.id


def make(store: Store, owner_id: str) -> str:
    """Give the password of this owner, made at the first call. Members ask at once: the lock orders them."""
    with store.transaction(holder=f"password of {owner_id}"):
        try:
            return store.read_contents(owner_id, NUMBER).decode()
        except errors.NotFound:
            password = secrets.token_hex(RANDOM_BYTES)
            store.write_contents(owner_id, NUMBER, password.encode())
            return password


def read(store: Store, instance: Instance) -> str:
    """Give an instance's password.

    Raises Refused where dbmod knows none: it did not make the server, or did before it kept passwords
    """
    try:
        return store.read_contents(owner(instance), NUMBER).decode()
    except errors.NotFound as missing:
        raise errors.Refused(
            f"dbmod does not know the administrator's password of '{instance.name}'.",
            details={"why": "it keeps those of the servers it has built itself"},
            next_step=f"log in with the account you have on that host; dbmod show {instance.name}",
        ) from missing
