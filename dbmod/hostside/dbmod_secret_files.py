"""Files of a server that hold its password. Python 3.6, standard library; runs on the host, fed on standard input.

Input   JSON: files [[path, text, uid or null]], password, check. In a text @password@ and @sha256@ are filled in.
Output  JSON: changed, error (a reason without the password; empty where all went well)
"""

import hashlib
import json
import os
import sys
from typing import Optional


def main() -> None:
    request = json.loads(sys.stdin.read())
    try:
        answer = {"changed": write(request["files"], request["password"], request["check"]), "error": ""}
    except OSError as error:
        answer = {"changed": False, "error": "{}: {}".format(error.filename, error.strerror)}
    except Exception as error:  # its text might hold the password
        answer = {"changed": False, "error": type(error).__name__}
    sys.stdout.write(json.dumps(answer) + "\n")


def write(files: list, password: str, check: bool) -> bool:
    """Write the files that are missing; tell whether any was. One that exists stays: the server may have changed it."""
    missing = [one for one in files if not os.path.lexists(one[0])]
    if check or not missing:
        return bool(missing)
    for path, text, _ in files:
        if text.strip() == "@password@" and os.path.lexists(path) and read(path) != password:
            raise OSError(0, "holds another password than the one dbmod knows", path)
    digest = hashlib.sha256(password.encode()).hexdigest()
    for path, text, uid in missing:
        create(path, text.replace("@password@", password).replace("@sha256@", digest).encode(), uid)
    return True


def read(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor) as file:
        return file.read().strip()


def create(path: str, data: bytes, uid: Optional[int]) -> None:
    """Write a new file, 0600, whole or not at all."""
    fresh = path + ".new"
    if os.path.lexists(fresh):
        os.unlink(fresh)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        if uid is not None:
            os.fchown(descriptor, uid, uid)
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    os.rename(fresh, path)


if __name__ == "__main__":
    main()
