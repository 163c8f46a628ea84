"""What is read from the user: confirmations and passwords, on a terminal or from standard input."""

import sys
from collections.abc import Sequence

import click

from dbmod import errors, logins
from dbmod.building import Account
from dbmod.cli import output


def confirm(action: str, name: str, *, yes: bool) -> None:
    """Have an action that loses something confirmed by its name.

    action  as in "Deleting the instance 'db-1' and its data"
    Raises  BadInput without a terminal and without --yes, Refused for another answer; nothing was done then
    """
    if yes:
        return
    if not output.is_terminal(sys.stdin):
        raise errors.BadInput(f"{action} has to be confirmed.", next_step="add --yes")
    answer = click.prompt(f"{action}. Type '{name}' to go on", default="", show_default=False, err=True)
    if answer != name:
        raise errors.Refused("Not confirmed: nothing was done.")


def goes_on(question: str) -> bool:
    """Ask on the terminal whether something goes on; no answer means no."""
    try:
        return bool(click.confirm(question, default=False, err=True))
    except click.Abort:
        output.note("")  # what follows begins on a line of its own
        return False


def accounts(users: tuple[str, ...], *, may_ask: bool) -> tuple[Account, ...]:
    """Read `name:password` or `name` alone, whose password is asked for, or read as a line of standard input.

    may_ask  False: a password that would have to be typed is refused
    """
    return tuple(_account(user, may_ask=may_ask) for user in users)


def login(*, become: bool, vault_ids: Sequence[str]) -> logins.Login:
    """Read what a run needs to log in with: typed on a terminal, or a line of standard input each.

    become     the password of sudo is wanted
    vault_ids  as given: LABEL@SOURCE; a source that is `prompt` is asked for
    """
    vaults = []
    become_password = _typed("Password of sudo") if become else ""
    for text in vault_ids:
        label, source = logins.read_vault_id(text)
        if source == logins.PROMPT:
            vaults.append(logins.Vault(label=label, password=_typed(f"Password of the vault {label or 'default'}")))
        else:
            vaults.append(logins.Vault(label=label, source=source))
    return logins.Login(become_password=become_password, vaults=tuple(vaults))


def _typed(what: str) -> str:
    secret = str(click.prompt(what, hide_input=True, err=True)) if output.is_terminal(sys.stdin) else _line()
    if not secret:
        raise errors.BadInput(
            f"{what}: nothing was given.", next_step="type it, or give it as a line of standard input"
        )
    output.hide(secret)
    return secret


def _line() -> str:
    """Read a line of standard input, "" where there is none to be read."""
    try:
        return sys.stdin.readline().rstrip("\r\n") if sys.stdin else ""
    except OSError:
        return ""


def _account(user: str, *, may_ask: bool) -> Account:
    name, colon, password = user.partition(":")
    if not name:
        raise errors.BadInput("--users needs a name.", next_step="--users name or --users name:password")
    password = password if colon else _password(name, may_ask=may_ask)
    if not password:
        raise errors.BadInput(
            f"The user '{name}' has no password.", next_step="give it after a colon, or on standard input"
        )
    output.hide(password)
    return Account(name=name, password=password)


def _password(name: str, *, may_ask: bool) -> str:
    if not output.is_terminal(sys.stdin):
        return _line()
    if not may_ask:
        raise errors.BadInput(
            f"The password of '{name}' would have to be asked for.",
            next_step="leave out --no-wait, or give it by standard input",
        )
    return str(click.prompt(f"Password of {name}", hide_input=True, confirmation_prompt=True, err=True))
