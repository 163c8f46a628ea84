"""What goes over and what is written: any bytes whole, files private at once, exceptions without their text."""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dbmod import transport
from tests import hosts

Figure = Callable[[str, str], None]
V1, V2 = b"message=Module.V1\n", b"message=Module.V2\n"
MIB = 1 << 20


PAYLOADS = {
    "one byte": b"\0",
    "all byte values": bytes(range(256)),
    "crlf": b"a=1\r\nb=2\r\n",
    "no final newline": b"a=1",
    "utf-8": "a=é\U0001f600".encode(),
    "utf-16": "a=é".encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbfa=1",
    "invalid utf-8": b"\xc3\x28\xa0\xa1",
    "vault": b"$ANSIBLE_VAULT;1.1;AES256\n3030\n",
    "template": b"{{ lookup('pipe', 'touch CANARY') }}{% raw %}{# #}",
    "yaml tags": b"!!python/object/apply:os.system ['touch CANARY']",
    "frame": b"123\ndbmod-finished run-1\n",
    "64 KiB - 1": b"x" * 65535,
    "64 KiB": b"x" * 65536,
    "64 KiB + 1": b"x" * 65537,
    "8 MiB": os.urandom(8 * MIB),
    "64 MiB": os.urandom(MIB) * 64,
}


@pytest.fixture
def host(tmp_path: Path) -> hosts.Host:
    return hosts.Host(tmp_path)


def test_bytes_arrive_as_they_are(host: hosts.Host, figure: Figure) -> None:
    for name, payload in PAYLOADS.items():
        sent = hosts.send_as(host, hosts.ACCEPT, payload)
        assert (sent.result.status, sent.result.message) == ("OK", "taken"), name
        on_host = (host.folder("mine") / "contents.dat").read_bytes()
        assert hashlib.sha256(on_host).digest() == hashlib.sha256(payload).digest(), name
        back = host.send(host.request("retrieve", hosts.module("mine", b"")), sources={"mine": hosts.ACCEPT})
        assert back.result.contents == payload, name
    assert not list(Path().glob("CANARY")) and not list(host.home.parent.rglob("CANARY"))
    figure("R10", f"host: sha256 equal for {len(PAYLOADS)} of {len(PAYLOADS)} payloads, 1 B to 64 MiB")


def test_several_modules_arrive_in_order_and_one_failure_stops_none(host: hosts.Host) -> None:
    payloads = [V1, b"nothing\n", os.urandom(100_000), V2]
    ids = [f"m{number}" for number in range(4)]
    types = ["ping", "ping", "mine", "ping"]
    modules = [hosts.module(*what) for what in zip(types, payloads, ids, strict=True)]
    sent = host.send(host.request("apply", *modules), payloads, sources={**host.sources, "mine": hosts.ACCEPT})
    assert [(result.module, result.status) for result in sent.answer.results] == [
        *(("m0", "OK"), ("m1", "ERROR"), ("m2", "OK"), ("m3", "OK")),
    ]
    assert sent.answer.finished
    every = host.send(host.request("query"), sources={**host.sources, "mine": hosts.ACCEPT})
    assert sorted(result.module for result in every.answer.results) == ids


def test_controller_needs_little_memory_for_large_contents(host: hosts.Host, figure: Figure) -> None:
    code = (
        "import re; from dbmod import transport; from tests import hosts;"
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]);"
        "base = peak(); data = b'x' * (64 << 20);"
        "request = transport.Request(run='r', serial=1, verb='apply', home='/h', instance='i',"
        " modules=(hosts.module('ping', data),)); frame = transport.frame(request, {}, [data]);"
        "print(peak() - base, len(frame) - len(data) < 1 << 20)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    grown_kib, is_raw = ended.stdout.split()
    assert is_raw == "True"
    assert int(grown_kib) <= 3 * 64 * 1024
    figure("R10", f"controller grows by {int(grown_kib) // 1024} MiB for a frame of 64 MiB (at most 192)")


def test_a_flipped_byte_is_refused_before_anything_is_written(host: hosts.Host) -> None:
    sent = host.send(host.request("apply", hosts.module("ping", V1)), [V2])
    assert sent.result.status == "ERROR"
    assert "sha256 differs" in sent.result.message
    assert not (host.folder("ping") / "contents.dat").exists()


def test_a_request_cut_short_starts_nothing(host: hosts.Host) -> None:
    frame = transport.frame(host.request("apply", hosts.module("ping", V1)), host.sources, [V1])
    for length in (0, 1, 5, 500, len(frame) // 2, len(frame) - len(V1), len(frame) - 1):
        command = ["/bin/sh", "-c", transport.command(host.python)]
        ended = subprocess.run(command, input=frame[:length], capture_output=True, check=False)
        answer = transport.read_answer(ended.stdout, "run-1")
        assert (answer.started, answer.results) == (False, ()), length
        assert not host.home.exists(), length


def test_every_file_is_private_from_its_first_instant(host: hosts.Host, tmp_path: Path, figure: Figure) -> None:
    frame = transport.frame(host.request("apply", hosts.module("ping", V1)), host.sources, [V1])
    trace = tmp_path / "trace"
    calls = "trace=open,openat,creat,mkdir,mkdirat,chmod,fchmod,fchmodat,rename,renameat,renameat2,link,linkat"
    command = ["strace", "-f", "-o", str(trace), "-e", calls, "/bin/sh", "-c", transport.command(host.python)]
    subprocess.run(command, input=frame, capture_output=True, check=True, env=host.environment(), umask=0)
    lines = trace.read_text().splitlines()
    created = [line for line in lines if "O_CREAT" in line and "/dev/null" not in line]
    folders = [line for line in lines if "mkdir" in line]
    assert len(created) == 3 and len(folders) == 6
    assert all(line.rpartition(" = ")[0].rstrip().endswith("0600)") and "O_EXCL" in line for line in created)
    assert all(line.rpartition(" = ")[0].rstrip().endswith("0700)") for line in folders)
    assert [line for line in lines if "chmod" in line] == []
    names = re.findall(r'rename\w*\([^"]*"([^"]*)"[^"]*"([^"]*)"', "\n".join(lines))
    assert names == [(".contents.dat.new", "contents.dat"), (".result.json.new", "result.json"), (".kit.new", "kit")]
    for path in [host.home, *host.home.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)
    figure("R17", "host: 3 of 3 files created 0600 and 6 of 6 folders 0700 under umask 0, by strace")


KINDS = ("ValueError", "RuntimeError", "KeyError", "SystemExit", "KeyboardInterrupt")


@pytest.mark.parametrize("verb", ["validate", "apply", "remove", "query"])
def test_a_failing_type_tells_its_kind_and_not_its_data(host: hosts.Host, verb: str, figure: Figure) -> None:
    good = hosts.ACCEPT + "\ndef query(host):\n    return ''\n"
    heads = {"validate": "(contents):", "apply": "(contents, host):", "remove": "(contents, host):", "query": "(host):"}
    for number, kind in enumerate(KINDS):
        inserted = f"\n    CANARY = 'CAN' + 'ARY'; print(CANARY); print(CANARY, file=sys.stderr); raise {kind}(CANARY)"
        bad = good.replace(f"def {verb}{heads[verb]}", f"def {verb}{heads[verb]}{inserted}")
        assert bad != good
        hosts.send_as(host, good, V1, serial=number)
        verbs = {"validate": "apply", "query": "query"}
        module = hosts.module("mine", V1)
        request = host.request(verbs.get(verb, verb), module, serial=number)  # type: ignore[arg-type]
        sent = host.send(request, [V1] if request.verb == "apply" else [], sources={"mine": bad})
        where = "apply" if verb == "validate" else verb
        said = f"{kind} in mine's {where}"
        assert said in (sent.result.message, sent.result.detail)
        assert b"CANARY" not in sent.output + sent.errors
        assert not [path for path in host.home.rglob("*") if path.is_file() and b"CANARY" in path.read_bytes()]
    figure("R18", f"host, {verb}: 0 hits in {len(KINDS)} exceptions with a canary as text")


def test_an_old_python_is_refused_with_the_reason(tmp_path: Path) -> None:
    code = transport.BOOTSTRAP.replace("sys.version_info<(3,6)", "sys.version_info<(9,9)")
    ended = subprocess.run([sys.executable, "-IS", "-c", code], input=b"", capture_output=True, check=False)
    answer = transport.read_answer(ended.stdout, "run-1")
    assert (ended.returncode, answer.started) == (1, False)
    assert answer.problem == "dbmod needs Python 3.6 or newer on the host"
