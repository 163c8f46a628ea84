"""prepare.py IMAGES PUBLIC_KEY CIDR EXTERNAL_CIDR: give a new cloud what its tenant expects to find, then wait for it.

IMAGES  the directory with plain.squashfs, databases.squashfs and versions
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openstack

HYPERVISORS = 3
PATIENCE_SECONDS = 120
FLAVORS = {  # id: name, MiB, processors, GB
    "10": ("db.tiny", 256, 1, 5),
    "15": ("db.small", 512, 1, 5),
    "20": ("db.medium", 1024, 1, 10),
    "99": ("db.huge", 1 << 20, 1, 5),  # more memory than any hypervisor has
}

images, public_key, cidr, external_cidr = Path(sys.argv[1]), *sys.argv[2:]
admin = openstack.connect(cloud="osbox-admin")
demo = openstack.connect(cloud="osbox-demo")


def wait_for_services() -> None:
    """Ask every service something until it answers: the first token may take long on a busy machine."""
    questions = (admin.image.images, admin.network.networks, admin.compute.flavors, admin.block_storage.types)
    deadline = time.monotonic() + PATIENCE_SECONDS
    for ask in questions:
        while True:
            try:
                list(ask())
                break
            except openstack.exceptions.HttpException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)


def upload(name: str, file: Path, **properties: str) -> None:
    admin.create_image(
        name,
        filename=str(file),
        disk_format="raw",
        container_format="bare",
        visibility="public",
        min_disk=1,
        dbmod_user="debian",
        wait=True,
        **properties,
    )


def upload_images() -> None:
    versions = ",".join((images / "versions").read_text().split())
    datastores = ",".join(pair.split("=")[0] for pair in versions.split(","))
    upload("debian-12", images / "plain.squashfs")
    upload("debian-12-databases", images / "databases.squashfs", dbmod_datastore=datastores, dbmod_versions=versions)


def make_networks() -> None:
    network = demo.create_network("demo-network")
    subnet = demo.create_subnet(network.id, cidr=cidr, subnet_name="demo-subnet")
    external = admin.create_network("public", external=True)
    admin.create_subnet(external.id, cidr=external_cidr, subnet_name="public-subnet", enable_dhcp=False)
    router = demo.create_router("demo-router", ext_gateway_net_id=external.id)
    demo.add_router_interface(router, subnet_id=subnet.id)


def make_flavors() -> None:
    for identifier, (name, ram, vcpus, disk) in FLAVORS.items():
        admin.create_flavor(name, ram, vcpus, disk, flavorid=identifier)
    demo.create_keypair("demo-key", public_key)


def wait_for_hypervisors() -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        volumes = [service for service in admin.block_storage.services() if service.binary == "cinder-volume"]
        if len(list(admin.compute.hypervisors())) == HYPERVISORS and any(each.state == "up" for each in volumes):
            admin.block_storage.create_type(name="fast", extra_specs={"volume_backend_name": "files"})
            return
        time.sleep(0.3)
    sys.exit("ERROR: the hypervisors did not come up")


wait_for_services()
with ThreadPoolExecutor() as pool:
    for done in [pool.submit(work) for work in (upload_images, make_networks, make_flavors, wait_for_hypervisors)]:
        done.result()
