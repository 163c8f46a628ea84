"""What a database's client says of the statements it was given. Its own words could quote a password."""

import re
from collections.abc import Mapping
from typing import Any

CODE = re.compile(r"\bERROR:? +([0-9A-Z]{4,5})\b|\b(ERR|NOPERM|WRONGPASS|NOAUTH)\b")


def outcome(answer: Mapping[str, Any], *, what: str, succeeded: str = "", statements: int = 0) -> dict[str, Any]:
    """Tell whether the client did it, as an action plugin's result; of an error only its number is shown.

    answer      rc, stdout, stderr
    what        that was not made, for people
    succeeded   what the output says once for each of the *statements*; empty: the exit code tells
    """
    said = f"{answer.get('stdout', '')}\n{answer.get('stderr', '')}"
    done = answer.get("rc") == 0
    if succeeded:
        done = done and said.split().count(succeeded) == statements
    if done:
        return {"changed": True}
    code = CODE.search(said)
    reason = (code[1] or code[2]) if code else f"exit {answer.get('rc')}"
    return {"failed": True, "msg": f"{what} not made: the server says {reason}"}
