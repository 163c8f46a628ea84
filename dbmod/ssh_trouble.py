"""Why a host was not reached: from what ssh and sudo say to a cause and a next step. Pure.

The one place that knows their wording; what it does not know is shown as it is.
"""

import re

CHECK_KEY = "after you made sure that it is the right host: dbmod update {name} --accept-host-key"
FIRST_KEY = "put it into your known_hosts, as `ssh` to the host does, or adopt with --accept-host-key"
SEALED = r"undecryptable variable|no vault secrets"
# The first that matches counts: ssh says several things about one failure.
CAUSES: tuple[tuple[str, str, str], ...] = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|Host key for .* has changed|Offending .* key",
        "the host key is not the one that is known",
        CHECK_KEY,
    ),
    (
        r"Host key verification failed|No .* host key is known for|authenticity of host",
        "the host key is not known",
        CHECK_KEY,
    ),
    (r"Could not resolve hostname|Name or service not known", "its name does not resolve", "check its address"),
    (r"Connection refused", "the connection was refused", "is ssh running there, on this port?"),
    (
        r"No route to host|Network is unreachable",
        "there is no route to the host",
        "is it up, and does a firewall stand between?",
    ),
    (
        r"Connection timed out|Operation timed out|timed out during banner|Timeout, server .* not responding",
        "no answer in time",
        "is it up, and does a firewall stand between?",
    ),
    (
        r"Permission denied|Too many authentication failures|no mutual signature",
        "the login was refused",
        "check the user and the key that the inventory names, and ssh's agent",
    ),
    (
        r"Missing sudo password|a (?:terminal|password) is required",
        "sudo asks for a password",
        "give it with -K, or let become_password_file name a file",
    ),
    (
        r"Incorrect sudo password|Sorry, try again|incorrect password attempt",
        "the password for sudo is wrong",
        "give the right one with -K",
    ),
    (
        r"is not (?:in the sudoers file|allowed to)|may not run sudo|not allowed to execute",
        "sudo does not allow it",
        "allow it in sudoers, or connect as root",
    ),
    (
        r"waiting for privilege escalation prompt|privilege output closed|Premature end of stream",
        "sudo gave no answer",
        "try it by hand: ssh to the host, then sudo true",
    ),
    (r"sudo: (?:command )?not found|sudo: not found", "there is no sudo", "install it, or connect as root"),
    (
        r"python\S*: (?:command )?not found|python\S*: No such file|bad interpreter",
        "there is no Python there",
        "install python3, or set ansible_python_interpreter",
    ),
    (
        SEALED,
        "something encrypted in its inventory cannot be opened",
        "give the vault's password with --vault-id, or let vault_ids name its file",
    ),
    (
        r"Connection (?:closed|reset|to .* closed)|(?:from|to) remote host|Broken pipe|kex_exchange_identification",
        "the connection was cut",
        "try again; the host's own log of ssh says more",
    ),
)
# Only of sessions: before the login ssh says "closed by ADDRESS port 22", "timed out during banner exchange" …
CUT = re.compile(
    r"Timeout, server .* not responding|Connection to .* closed by remote host|client_loop: |Read from remote host"
)
PATTERNS = tuple((re.compile(pattern, re.IGNORECASE), cause, following) for pattern, cause, following in CAUSES)


def explain(said: str, *, name: str, is_first: bool = False) -> str:
    """Give the cause and what to do next in one line, or what was said where its wording is not known.

    said      the text of Ansible's error, or the end of what came from the host
    name      of the instance
    is_first  the fleet has no key of this host yet
    """
    for pattern, cause, known_following in PATTERNS:
        if pattern.search(said):
            following = FIRST_KEY if is_first and known_following is CHECK_KEY else known_following
            return f"{cause}; next: {following.replace('{name}', name)}"
    return said


def explain_cut(said: str, *, name: str) -> str:
    """Give why no answer came although it had started, in one line; what was said where its wording is not known."""
    for pattern, cause, _ in PATTERNS:
        if pattern.search(said):
            return f"it started there, and no answer came: {cause}; next: dbmod reconcile {name}"
    return said


def was_cut(said: str) -> bool:
    """Tell whether a connection broke after the login: then what was sent may have arrived."""
    return CUT.search(said) is not None


def is_sealed(said: str) -> bool:
    """Tell whether Ansible could not open what is encrypted in an inventory: then nothing began on the host."""
    return re.search(SEALED, said, re.IGNORECASE) is not None


def is_known(said: str) -> bool:
    """Tell whether a text is one of ssh's or sudo's failures: then it holds nothing of ours."""
    return any(pattern.search(said) for pattern, _, _ in PATTERNS)
