"""Arguments with parts: cluster members and networks. Pure."""

from collections.abc import Sequence

from dbmod import building, errors
from dbmod.building import Member

MEMBER_KEYS = ("flavor", "volume", "volume_type", "module", "nic", "availability_zone", "region")


def member(text: str) -> Member:
    """Read one --instance: flavor=15,volume=1,module=a,module=b,nic=net-id=…,v4-fixed-ip=…

    Source  Trove's client; `module` and `nic` may repeat, and the parts of a nic follow it, with or without quotes
    """
    values: dict[str, list[str]] = {key: [] for key in MEMBER_KEYS}
    for part in text.replace('"', "").replace("'", "").split(","):
        key, equals, value = part.partition("=")
        key = key.strip()
        if key in building.NIC_KEYS and values["nic"]:
            values["nic"][-1] += f",{key}={value.strip()}"
            continue
        key = key.replace("-", "_")
        if not equals or key not in MEMBER_KEYS or not value.strip():
            raise errors.BadInput(
                f"--instance: {part!r} is not understood.",
                details={"parts": ", ".join(f"{one}=" for one in MEMBER_KEYS)},
            )
        values[key].append(value.strip())
    return Member(
        flavor=_one(values, "flavor") or _missing("flavor"),
        volume_gb=size(_one(values, "volume") or "1", what="--instance: volume"),
        volume_type=_one(values, "volume_type"),
        modules=tuple(values["module"]),
        nics=tuple(building.nic(one) for one in values["nic"]),
        availability_zone=_one(values, "availability_zone"),
        region=_one(values, "region"),
    )


def members(texts: Sequence[str]) -> tuple[Member, ...]:
    return tuple(member(text) for text in texts)


def size(text: str, *, what: str) -> int:
    """Read a size in GB."""
    if not (text.isascii() and text.isdigit()) or len(text) > 6:
        raise errors.BadInput(f"{what}: {text!r} is not a number of GB.")
    return int(text)


def words(texts: Sequence[str]) -> tuple[str, ...]:
    """Read an option that may be repeated, or list several by comma or space."""
    return tuple(word for text in texts for word in text.replace(",", " ").split())


def _one(values: dict[str, list[str]], key: str) -> str | None:
    if len(values[key]) > 1:
        raise errors.BadInput(f"--instance: {key} is there twice.")
    return values[key][0] if values[key] else None


def _missing(key: str) -> str:
    raise errors.BadInput(f"--instance: {key} is missing.", next_step="--instance flavor=15,volume=1")
