"""What ssh and sudo say, and what the user reads."""

import pytest

from dbmod import ssh_trouble

SSH = "Failed to connect to the host via ssh: "
CASES = [
    (SSH + "ssh: connect to host 10.0.0.9 port 22: Connection refused", "the connection was refused"),
    (SSH + "ssh: connect to host 10.0.0.9 port 22: No route to host", "there is no route to the host"),
    (SSH + "ssh: connect to host 10.0.0.9 port 22: Connection timed out", "no answer in time"),
    (SSH + "Connection timed out during banner exchange", "no answer in time"),
    (SSH + "ssh: Could not resolve hostname db-7: Name or service not known", "its name does not resolve"),
    (SSH + "@@@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @@@", "the host key is not the one that is known"),
    (SSH + "No ED25519 host key is known for db-7 and you have requested strict", "the host key is not known"),
    (SSH + "Host key verification failed.", "the host key is not known"),
    (SSH + "debian@10.0.0.9: Permission denied (publickey).", "the login was refused"),
    ("Missing sudo password", "sudo asks for a password"),
    ("sudo: a password is required", "sudo asks for a password"),
    ("Incorrect sudo password", "the password for sudo is wrong"),
    ("ada is not in the sudoers file.", "sudo does not allow it"),
    ("Timeout (12s) waiting for privilege escalation prompt: ", "sudo gave no answer"),
    ("/bin/sh: 1: /usr/bin/python3: not found", "there is no Python there"),
    (
        "Task failed: Error processing keyword 'become_pass': Error rendering template: no vault secrets found.",
        "something encrypted in its inventory cannot be opened",
    ),
]


@pytest.mark.parametrize(("said", "cause"), CASES)
def test_failures_have_a_cause_and_a_next_step(said: str, cause: str) -> None:
    told = ssh_trouble.explain(said, name="db-7")
    assert told.startswith(f"{cause}; next: ")
    assert len(told) < 255
    assert ssh_trouble.is_known(said)


def test_next_step_for_a_host_key_depends_on_whether_the_fleet_knows_the_host() -> None:
    said = "Host key verification failed."
    assert "dbmod update db-7 --accept-host-key" in ssh_trouble.explain(said, name="db-7")
    assert "adopt with --accept-host-key" in ssh_trouble.explain(said, name="db-7", is_first=True)


def test_what_is_not_known_is_shown_as_it_is() -> None:
    assert ssh_trouble.explain("the moon is full", name="db-7") == "the moon is full"
    assert not ssh_trouble.is_known("the moon is full")


@pytest.mark.parametrize(
    ("said", "is_cut"),
    [
        ("Timeout, server 10.0.0.3 not responding.", True),
        ("Connection to 10.0.0.3 closed by remote host.", True),
        ("client_loop: send disconnect: Broken pipe", True),
        ("Read from remote host 10.0.0.3: Connection reset by peer", True),
        ("Connection closed by 10.0.0.3 port 22", False),
        ("Connection timed out during banner exchange", False),
        ("ssh: connect to host 10.0.0.3 port 22: Connection refused", False),
        ("Timeout (12s) waiting for privilege escalation prompt: ", False),
    ],
)
def test_a_session_that_broke_is_told_from_one_that_never_was(said: str, is_cut: bool) -> None:
    assert ssh_trouble.was_cut(said) is is_cut
