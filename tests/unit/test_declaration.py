"""The file that declares modules: its form, where contents may lie, where they come from."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from dbmod import declaration, errors, vault_files
from dbmod.declaration import Declaration
from dbmod.records import Module, Source
from tests import builders

SECRET = "message=4f1c-secret"
LIMIT_BYTES = 1000
Read = Callable[..., Declaration]


def git(directory: Path, *words: str) -> str:
    told = subprocess.run(
        ["git", "-c", "user.name=ada", "-c", "user.email=ada@example.org", *words],
        cwd=directory,
        check=True,
        capture_output=True,
        text=True,
    )
    return told.stdout.strip()


def closed(data: bytes, called: str) -> bytes:
    raise AssertionError("nothing here is encrypted")


@pytest.fixture
def team(tmp_path: Path) -> Path:
    """A directory of a team that is no git checkout, with one file of contents."""
    directory = tmp_path / "team"
    directory.mkdir()
    (directory / "ping.dat").write_bytes(builders.contents(1))
    return directory


@pytest.fixture
def read(team: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Write modules.yml and read it from the team's directory, as a person does."""
    monkeypatch.chdir(team)

    def write_and_read(text: str, *, name: str = "modules.yml", **more: str) -> Declaration:
        (team / name).write_text(text)
        return declaration.read(Path(name), limit_bytes=LIMIT_BYTES, open_vault=closed, **more)

    return write_and_read


def one(contents: str, more: str = "") -> str:
    return f"modules:\n  - name: mymod\n    type: ping\n    contents: {contents}\n{more}"


def refusal(read: Read, text: str) -> str:
    with pytest.raises(errors.BadInput) as caught:
        read(text)
    said = "\n".join(caught.value.lines())
    assert SECRET not in said
    return said


# The form


def test_every_field_of_module_create_can_be_declared(read: Read) -> None:
    options = ["auto_apply", "all_tenants", "hidden", "live_update", "priority_apply", "full_access"]
    more = "".join(f"    {option}: true\n" for option in options)
    more += "    description: what\n    datastore: redis\n    datastore_version: '7.0'\n    apply_order: 3\n"
    [declared] = read(one("ping.dat", more)).modules
    assert all(getattr(declared.entry, option) is True for option in options)
    entry = declared.entry
    assert (entry.description, entry.datastore, entry.datastore_version, entry.apply_order) == (
        "what",
        "redis",
        "7.0",
        3,
    )
    assert (declared.contents, declared.sha256) == (builders.contents(1), builders.sha256(1))


def test_a_file_may_declare_no_modules(read: Read) -> None:
    assert read("modules: []\n").modules == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("modules: []\nmodule: []\n", "Object contains unknown field `module`"),
        ("", "Expected `object`, got `null`"),
        ("[]", "Expected `object`, got `array`"),
        ("modules:\n", "Expected `array`, got `null` - at `$.modules`"),
        ("modules: [{name: a, type: ping}]", "Object missing required field `contents` - at `$.modules[0]`"),
        (one("ping.dat", "    secret: x\n"), "Object contains unknown field `secret` - at `$.modules[0]`"),
        (one("ping.dat", "    live_update: 'yes'\n"), "Expected `bool`, got `str` - at `$.modules[0].live_update`"),
        (one("ping.dat", "    datastore_version: 7.0\n"), "a version wants quotes"),
        (one("ping.dat", "    contents: x\n"), "line 5, column 5: the key 'contents' is twice here"),
        ("modules: &a []\nname: *a\n", "line 2, column 7: aliases are not allowed"),
        ("[" * 100, "line 1, column 21: nested deeper than 20"),
        ("modules: [{name: a/b, type: ping, contents: ping.dat}]", "The name 'a/b' is not valid."),
        ("name: '\\'\nmodules: []\n", "the name of this set of modules is not valid"),
    ],
)
def test_another_form_is_refused_with_its_place(read: Read, text: str, said: str) -> None:
    assert said in refusal(read, text)


@pytest.mark.parametrize("place", ["", "none.yml", "fifo", "x" * 300])
def test_what_is_no_file_is_refused(team: Path, place: str) -> None:
    os.mkfifo(team / "fifo")
    with pytest.raises(errors.BadInput):
        declaration.read(team / place, limit_bytes=LIMIT_BYTES, open_vault=closed)


# Where contents may lie


def test_contents_may_lie_below_and_behind_links_that_stay_there(read: Read, team: Path) -> None:
    (team / "deep").mkdir()
    (team / "deep" / "link").symlink_to("../ping.dat")
    assert read(one("./deep/link")).modules[0].contents == builders.contents(1)


@pytest.mark.parametrize(
    "path", ["../outside", "/etc/hostname", "deep/../../outside", "link", "directory/outside", "''", '"a\\0b"']
)
def test_contents_elsewhere_are_refused(read: Read, team: Path, path: str) -> None:
    (team.parent / "outside").write_text(SECRET)
    (team / "link").symlink_to("../outside")
    (team / "directory").symlink_to("..")
    assert refusal(read, one(path)).startswith(f"The contents file of module 'mymod' does not lie below {team}.")


def test_contents_in_a_loop_of_links_are_refused(read: Read, team: Path) -> None:
    (team / "loop").symlink_to("loop")
    # Python 3.13 finds the loop only where the file is read.
    reason = rf"The contents file of module 'mymod' (does not lie below {team}|cannot be read: Too many levels)"
    assert re.match(reason, refusal(read, one("loop")))


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("none", "cannot be read: No such file or directory."),
        (".", "is not a regular file."),
        ("fifo", "is not a regular file."),
        ("empty", "must contain some data"),
        ("huge", "is too large: the limit is 1000 bytes."),
        (SECRET, "cannot be read: No such file or directory."),
        (f'"{SECRET}\\n"', "cannot be read: No such file or directory."),
    ],
)
def test_contents_that_cannot_be_read_are_refused_by_the_modules_name(
    read: Read, team: Path, path: str, said: str
) -> None:
    os.mkfifo(team / "fifo")
    (team / "empty").touch()
    with (team / "huge").open("wb") as file:
        file.truncate(1 << 40)
    assert refusal(read, one(path)).startswith(f"The contents file of module 'mymod' {said}")


def test_contents_of_all_modules_together_have_a_limit(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declaration, "TOTAL_LIMIT_BYTES", 30)
    assert "have more than 30 bytes" in refusal(read, one("ping.dat", one("ping.dat").removeprefix("modules:\n")))


def test_contents_that_are_encrypted_are_opened_and_only_those(team: Path) -> None:
    (team / "closed").write_bytes(vault_files.BEGINNING + b"1.1;AES256\n00\n")
    (team / "modules.yml").write_text(one("closed", one("ping.dat").removeprefix("modules:\n")))
    found = declaration.read(
        team / "modules.yml", limit_bytes=LIMIT_BYTES, open_vault=lambda data, called: called.encode() + data[:2]
    )
    assert [two.contents for two in found.modules] == [
        b"The contents file of module 'mymod'$A",
        builders.contents(1),
    ]


# Where they come from


def test_a_clean_checkout_gives_path_and_commit(read: Read, team: Path) -> None:
    (team / "modules.yml").write_text(one("ping.dat"))
    git(team.parent, "init", "-q")
    git(team.parent, "add", "team")
    git(team.parent, "commit", "-q", "-m", "first")
    head = git(team.parent, "rev-parse", "HEAD")
    clean = Source(declared_in="team/modules.yml", revision=head, is_dirty=False)
    assert read(one("ping.dat")).source == clean
    assert read(one("ping.dat"), revision_told="told").source == clean
    (team / "ping.dat").write_text("message=other")
    assert read(one("ping.dat")).source == msgspec.structs.replace(clean, is_dirty=True)


@pytest.mark.parametrize("ignored", [False, True])
def test_contents_that_are_not_in_the_commit_make_it_dirty_ignored_or_not(
    read: Read, team: Path, ignored: bool
) -> None:
    (team / "modules.yml").write_text(one("new.dat"))
    (team / ".gitignore").write_text("new.dat\n" if ignored else "")
    git(team, "init", "-q")
    git(team, "add", ".")
    git(team, "commit", "-q", "-m", "first")
    (team / "new.dat").write_text("message=new")
    assert read(one("new.dat")).source.is_dirty


def test_without_git_the_revision_is_what_was_told(read: Read) -> None:
    assert read(one("ping.dat")).source == Source(declared_in="modules.yml", revision="", is_dirty=False)
    assert read(one("ping.dat"), revision_told="4f1c").source.revision == "4f1c"
    with pytest.raises(errors.BadInput, match="revision that was told"):
        read(one("ping.dat"), revision_told="\n")


@pytest.mark.parametrize("what", ["no commit", "no git", "damaged"])
def test_a_checkout_that_tells_nothing_has_no_revision(
    read: Read, team: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(team, "init", "-q")
    if what == "no git":
        monkeypatch.setenv("PATH", str(team))
    if what == "damaged":
        (team / ".git" / "HEAD").write_text("damaged")
    assert read(one("ping.dat")).source == Source(declared_in="modules.yml", revision="", is_dirty=False)


def test_a_program_that_the_checkout_names_is_not_run(read: Read, team: Path) -> None:
    git(team, "init", "-q")
    git(team, "config", "core.fsmonitor", f"touch {team}/ran; false")
    git(team, "commit", "-q", "--allow-empty", "-m", "first")
    git(team, "status")
    (team / "ran").unlink()  # so git would run it
    assert read(one("ping.dat")).source.is_dirty
    assert not (team / "ran").exists()


def test_a_set_may_have_a_name_of_its_own(read: Read) -> None:
    assert read("name: payments\n" + one("ping.dat")).source.declared_in == "payments"


def test_a_ledger_from_before_there_were_sources_is_read() -> None:
    document = msgspec.to_builtins(builders.module())
    del document["declared_in"], document["versions"][0]["source"]
    module = msgspec.convert(document, Module)
    assert (module.declared_in, module.current.source) == ("", None)
