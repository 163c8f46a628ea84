"""The network of a slot: a namespace that is its switch and router, one link to this machine, one route.

10.x.0.0/20    hosts; the bridge `hosts` has 10.x.0.1
10.x.16.0/20   hosts behind a bastion; nothing but the bastion has an address on that bridge
10.x.64.0/18   networks of the cloud
10.x.255.0/30  the link: .1 is this machine, .2 the namespace
"""

import json
from pathlib import Path
from typing import Any

from tests.beds.commands import run, within
from tests.beds.slots import Slot

HOSTS_BRIDGE = "hosts"
PREFIX_BITS = 20


def gateway(slot: Slot) -> str:
    """Say which address of the slot's namespace the cloud's services answer at."""
    return slot.address(255, 2)


def controller(slot: Slot) -> str:
    """Say which address this machine has on the link."""
    return slot.address(255, 1)


def create(slot: Slot) -> None:
    # A connection to a machine that is not there must fail at once and never leave through the default route.
    run("ip", "route", "add", "unreachable", slot.range, "metric", "4000")
    run("ip", "netns", "add", slot.name)
    outside = f"{slot.name}up"
    batch(
        "",
        f"link add {outside} type veth peer name link netns {slot.name}",
        f"addr add {controller(slot)}/30 dev {outside}",
        f"link set {outside} up",
    )
    batch(
        slot.name,
        "link set lo up",
        f"addr add {gateway(slot)}/30 dev link",
        "link set dev link up",
        f"link add {HOSTS_BRIDGE} type bridge",
        f"addr add {slot.address(0, 1)}/{PREFIX_BITS} dev {HOSTS_BRIDGE}",
        f"link set {HOSTS_BRIDGE} up",
    )
    run("ip", "route", "add", slot.range, "via", gateway(slot))
    run(*within(slot.name, "sysctl", "-qw", "net.ipv4.ip_forward=1"))  # of that namespace alone


def batch(namespace: str, *commands: str) -> None:
    """Run several commands of `ip` at once, in a network namespace ("" for this machine's)."""
    where = ("-n", namespace) if namespace else ()
    run("ip", *where, "-batch", "-", text="\n".join(commands) + "\n")


def plug(slot: Slot, name: str, *, bridge: str, device: str, address: str) -> None:
    """Wire a device of the namespace *name* to a bridge of the slot."""
    port = f"{name.removeprefix(slot.name)}-{device}"  # interface names end at 15 characters
    pair = f"type veth peer name {device} netns {name}"
    batch(slot.name, f"link add {port} {pair}", f"link set {port} master {bridge} up")
    batch(name, "link set lo up", f"addr add {address}/{PREFIX_BITS} dev {device}", f"link set {device} up")


def exists(slot: Slot) -> bool:
    return Path("/run/netns", slot.name).exists()


def links(namespace: str) -> list[dict[str, Any]]:
    """List the links of a namespace as `ip -j link` does."""
    found: list[dict[str, Any]] = json.loads(run("ip", "-n", namespace, "-j", "link").stdout)
    return found
