"""A real OpenStack in a bed: Keystone, Glance, Placement, Nova, Neutron, Cinder; its servers are machines."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache as remembered
from pathlib import Path
from typing import Any

from tests.beds import apt_proxy, cache, hosts, machines, network
from tests.beds.commands import run, within
from tests.beds.slots import Slot

SERVICES = Path(__file__).parent / "services"
KINDS = {  # what a tenant can leave behind: how it is listed
    "server": "compute.servers",
    "server group": "compute.server_groups",
    "keypair": "compute.keypairs",
    "volume": "block_storage.volumes",
    "floating IP": "network.ips",
    "port": "network.ports",
    "security group": "network.security_groups",
    "network": "network.networks",
}


class Cloud:
    """The cloud of a slot; it ends with the slot."""

    image = "debian-12-databases"
    plain_image = "debian-12"
    network = "demo-network"
    external_network = "public"
    keypair = "demo-key"
    volume_type = "fast"
    login_user = "debian"

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self.directory = slot.directory / "cloud"
        self.config_file = self.directory / "clouds.yaml"
        self.demo_config_file = self.directory / "demo.yaml"
        self.environment = {"OS_CLIENT_CONFIG_FILE": str(self.demo_config_file)}
        self.key_file = slot.directory / "key"
        self.network_cidr = f"{slot.address(64, 0)}/24"
        self.external_cidr = f"{slot.address(80, 0)}/24"

    def start(self) -> None:
        """Start all services, and return when servers and volumes can be made; 40 s."""
        services, images = cache.services(), cache.images()
        environment = {
            "STATE": self.directory,
            "ENVIRONMENT": services / "environment",
            "SCHEMAS": services / "schemas.tar",
            "ADDRESS": network.gateway(self.slot),
            "NAME": self.slot.name,
            "APT_CONFIGURATION": apt_proxy.configuration(network.controller(self.slot)),
        }
        settings = [f"{name}={value}" for name, value in environment.items()]
        run(*within(self.slot.name, "env", *settings, str(SERVICES / "start_services.sh")))
        python = str(services / "environment" / "bin" / "python")
        public_key = self.key_file.with_suffix(".pub").read_text().strip()
        script = [python, str(SERVICES / "osbox" / "prepare.py"), str(images), public_key]
        run(
            *("env", f"OS_CLIENT_CONFIG_FILE={self.config_file}"),
            *(*script, self.network_cidr, self.external_cidr),
        )

    def api(self, user: str) -> Any:
        """Connect to the cloud as "demo" or "admin"."""
        return _connect(self.config_file, f"osbox-{user}")

    @contextmanager
    def image_of(self, release: str, *, kind: str = "plain", versions: str = "") -> Iterator[None]:
        """Have an image of another release in the cloud.

        versions  what it says that is made of it: mysql=11.8.9,redis=8.1.1; empty: what build_images.sh has found
        """
        images = cache.images(release)
        made = self.api("admin").create_image(
            f"{release}-{kind}",
            filename=str(images / f"{kind}.squashfs"),
            disk_format="raw",
            container_format="bare",
            visibility="public",
            min_disk=1,
            wait=True,
            dbmod_versions=versions or ",".join((images / "versions").read_text().split()),
        )
        try:
            yield
        finally:
            self.api("admin").delete_image(made.id, wait=True)

    def machine(self, server_id: str) -> machines.Machine:
        """Find the machine of a server: where its faults are made; its console tells of its host keys."""
        [directory] = self.directory.glob(f"nova*/instances/{server_id}")
        addresses = [
            address["addr"]
            for network_addresses in self.api("admin").compute.get_server(server_id).addresses.values()
            for address in network_addresses
            if address["OS-EXT-IPS:type"] == "fixed"
        ]
        machine = machines.Machine(
            name=f"{self.slot.name}s-{server_id[:8]}",
            switch=self.slot.name,
            address=addresses[0],
            root=directory / "root",
            pid_file=directory / "pid",
        )
        machine.login_options = hosts.login_options(self.key_file, self.slot.directory / "known_hosts")
        hosts.write_known_hosts(self.slot, [machine])
        return machine

    def resources(self) -> dict[str, str]:
        """List what exists in the cloud: "server 4f1c…" and its name."""
        admin = self.api("admin")
        found = {}
        for kind, path in KINDS.items():
            for item in self._list(kind, path, admin):
                found[f"{kind} {item.id}"] = item.name
        return found

    def remove(self, resources: dict[str, str]) -> None:
        """Delete what a test left, in an order in which it can be deleted."""
        admin = self.api("admin")
        for kind in KINDS:
            for identifier in [name.removeprefix(f"{kind} ") for name in resources if name.startswith(f"{kind} ")]:
                self._delete(kind, identifier, admin)

    def _list(self, kind: str, path: str, admin: Any) -> Iterator[Any]:
        service, listing = path.split(".")
        api = self.api("demo") if kind == "keypair" else admin  # a keypair is its user's alone
        everyones = {"all_projects": True} if kind in {"server", "server group", "volume"} else {}
        yield from getattr(getattr(api, service), listing)(**everyones)

    def _delete(self, kind: str, identifier: str, admin: Any) -> None:
        if kind == "server":
            admin.delete_server(identifier, wait=True)
        elif kind == "volume":
            admin.block_storage.delete_volume(identifier, force=True)
        elif kind == "keypair":
            self.api("demo").compute.delete_keypair(identifier)
        elif kind == "floating IP":
            admin.network.delete_ip(identifier)
        else:
            service = admin.compute if kind == "server group" else admin.network
            getattr(service, f"delete_{kind.replace(' ', '_')}")(identifier)


@remembered
def _connect(config_file: Path, name: str) -> Any:
    import openstack

    loader = openstack.config.OpenStackConfig(config_files=[str(config_file)], load_envvars=False)
    return openstack.connection.Connection(config=loader.get_one(cloud=name))
