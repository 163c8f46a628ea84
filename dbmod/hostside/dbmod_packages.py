# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Install a program from the distribution's package, with apt or dnf, and start no service that comes with it."""

import shutil
from typing import List, Optional, Sequence

from . import dbmod_kit as kit

FETCH_SECONDS = 120  # of each try, where the type has as much time left
APT = ["apt-get", "--quiet", "--yes", "--no-install-recommends", "--option=DPkg::Lock::Timeout=60"]
APT += ["--option=Dpkg::Options::=--force-confold"]
# needrestart would restart other services of the host, the database server among them.
SILENT = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1", "LC_ALL": "C", "PATH": kit.PATHS}


def found(programs: Sequence[str]) -> Optional[str]:
    """Give the path of the first of these programs that is there."""
    paths = (shutil.which(program, path=kit.PATHS) for program in programs)
    return next((path for path in paths if path), None)


def installed(programs: Sequence[str], host: kit.Host, *, apt: str, dnf: str) -> str:
    """Give the path of the first of these programs that is there, after its package was installed where none is.

    Raises  Refused where no repository of the host has it
    """
    path = found(programs)
    if path:
        return path
    if found(["apt-get"]):
        _install_with_apt(apt, host)
    elif found(["dnf"]):
        _run(["dnf", "--quiet", "--assumeyes", "install", dnf], host)
    path = found(programs)
    if not path:
        raise kit.Refused("%s is not installed, and no repository of this host has it" % programs[-1])
    return path


def _install_with_apt(package: str, host: kit.Host) -> None:
    """Fetch before anything changes, because only that may take long and be killed.

    The package's own service is masked, not only stopped: it would start with the package, and at the next boot.
    """
    fetch = [*APT, "--download-only", "install", package]
    if _run(fetch, host) != 0:  # the lists may be missing, or old
        _run([*APT, "update"], host)
        if _run(fetch, host) != 0:
            raise kit.Refused("%s is not installed, and apt cannot fetch it" % package)
    code = host.command(["systemctl", "--quiet", "mask", package + ".service"]).code
    code = code or host.command([*APT, "--no-download", "install", package], environment=SILENT).code
    if code != 0:
        raise kit.Refused("%s could not be installed (code %d)" % (package, code))


def _run(words: List[str], host: kit.Host) -> int:
    return host.command(words, environment=SILENT, limit_seconds=min(FETCH_SECONDS, host.patience_seconds())).code
