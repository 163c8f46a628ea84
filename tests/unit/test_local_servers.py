"""Finding a local server by its program and directory."""

import shutil
import subprocess
import time
from pathlib import Path

from dbmod import ids, local_servers


def test_a_server_is_found_through_a_link_and_no_other_process_is(tmp_path: Path) -> None:
    identifier = ids.new_id()
    real, link = tmp_path / "real" / identifier, tmp_path / "link"
    (real / "data").mkdir(parents=True)
    link.symlink_to(real.parent)
    program = tmp_path / "a-server"
    server = local_servers.Server(
        title="A server", programs=(program.name,), arguments=(), package="", start_seconds=1, stop_seconds=1
    )
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([program, "60"], cwd=real / "data") as child, subprocess.Popen(["sleep", "60"]) as other:
        time.sleep(0.1)  # until both have become their programs
        try:
            for directory in (real, link / identifier):
                place = local_servers.Place(directory=directory, uid=None, address="127.0.0.1", port=1)
                assert local_servers.processes(place, server) == [child.pid]
        finally:
            child.kill()
            other.kill()
