"""The beds by hand.

python -m tests.beds hosts [N]         SSH hosts; they stay until Ctrl-C
python -m tests.beds cloud [COMMAND…]  the cloud, as long as the command runs in it, or until Ctrl-C
python -m tests.beds build | sweep     what is built once; what a run that died has left
"""

import contextlib
import os
import shlex
import signal
import subprocess
import sys

from tests.beds import cache, slots
from tests.beds.bed import Bed


def show_hosts(bed: Bed, count: int) -> None:
    with bed.borrow_hosts() as lent:
        for host in lent.take(count):
            print(f"{host.name}  {shlex.join(host.ssh_command())}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


def show_cloud(bed: Bed) -> None:
    print(f"export OS_CLIENT_CONFIG_FILE={bed.cloud.config_file}  # clouds osbox-demo and osbox-admin", flush=True)
    print(f"key of debian: {bed.cloud.key_file}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


def run_in_cloud(bed: Bed, command: list[str]) -> int:
    """Run a command as the ordinary tenant of the cloud. Returns its exit code."""
    print("Starting an OpenStack on this machine …", flush=True)
    environment = os.environ | bed.cloud.environment
    try:
        return subprocess.run(command, env=environment, check=False).returncode
    except KeyboardInterrupt:
        return 130


def main(arguments: list[str]) -> None:
    match arguments:
        case ["build"]:
            print(cache.images(), cache.services(), sep="\n")
        case ["sweep"]:
            print(f"swept: {slots.sweep()}")
        case ["hosts", *count]:
            with contextlib.closing(Bed()) as bed:
                show_hosts(bed, int(count[0]) if count else 3)
        case ["cloud"]:
            with contextlib.closing(Bed()) as bed:
                show_cloud(bed)
        case ["cloud", *command]:
            with contextlib.closing(Bed()) as bed:
                code = run_in_cloud(bed, command)
            sys.exit(code)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main(sys.argv[1:])
