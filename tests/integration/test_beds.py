"""The beds themselves: what the tests of the providers rely on."""

import pytest

from tests.beds import machines
from tests.beds.cloud import Cloud
from tests.beds.hosts import Hosts

pytestmark = pytest.mark.root
BEGIN, END = "-----BEGIN SSH HOST KEY KEYS-----", "-----END SSH HOST KEY KEYS-----"


def test_hosts_answer_by_ssh_with_host_keys_of_their_own(ssh_hosts: Hosts) -> None:
    hosts = ssh_hosts.take(3)
    assert [host.ssh("hostname").stdout.strip() for host in hosts] == [host.name for host in hosts]
    assert len({key for host in hosts for key in host.host_keys}) == 2 * len(hosts)
    assert hosts[1].ssh("systemctl", "is-system-running", "--wait").stdout == "running\n"
    hosts[0].change_host_keys()
    refused = hosts[0].ssh("true", check=False)
    assert (refused.returncode, "Host key verification failed" in refused.stderr) == (255, True)


def test_hosts_behind_a_bastion_are_reached_only_through_it(ssh_hosts: Hosts) -> None:
    bastion, [inner] = ssh_hosts.take_behind_bastion(1)
    assert inner.ssh("hostname").stdout.strip() == inner.name
    bastion.stop_ssh()
    assert inner.ssh("true", check=False).returncode == 255


def test_broken_hosts_fail_as_real_ones_do_and_come_back(ssh_hosts: Hosts) -> None:
    [host] = ssh_hosts.take(1)
    host.stop_ssh()
    assert "Connection refused" in host.ssh("true", check=False).stderr
    host.start_ssh()
    host.kill()
    assert not host.is_running()
    host.start()
    host.wait_for_ssh().freeze()
    assert "timed out" in host.ssh("true", check=False).stderr
    host.thaw()
    host.small_disk("/srv", size_bytes=1 << 20)
    with host.filled("/srv"):
        assert host.run("dd", "if=/dev/zero", "of=/srv/x", "count=1", check=False).returncode == 1
    before = host.host_keys
    host.rebuild()
    assert not set(before) & set(host.host_keys)


def test_cloud_boots_a_server_that_keeps_its_volume_over_a_reboot(cloud: Cloud) -> None:
    demo = cloud.api("demo")
    server = demo.create_server(
        "db1", image=cloud.image, flavor="15", network=cloud.network, key_name=cloud.keypair, auto_ip=False, wait=True
    )
    volume = demo.create_volume(1, volume_type=cloud.volume_type, wait=True)
    try:
        machine = cloud.machine(server.id).wait_for_ssh()
        machines.wait_until(lambda: END in demo.get_server_console(server), "the host keys are on the console")
        console = demo.get_server_console(server)
        told = console[console.rindex(BEGIN) + len(BEGIN) : console.rindex(END)].splitlines()
        assert {" ".join(line.split()[:2]) for line in told if line.strip()} == set(machine.host_keys)
        demo.attach_volume(server, volume, wait=True)
        entry = f"/dev/disk/by-id/virtio-{volume.id[:20]} /srv ext4 defaults 0 2"
        machine.ssh("sudo", "sh", "-ec", f"mkfs.ext4 -q /dev/vdb; echo {entry} >>/etc/fstab; mount /srv; touch /srv/x")
        machine.reboot()
        assert machine.ssh("ls", "/srv/x").stdout == "/srv/x\n"
        with machine.rebooting():  # the API answers before it begins
            demo.compute.reboot_server(server.id, "HARD")
        assert machine.ssh("ls", "/srv/x").stdout == "/srv/x\n"
    finally:
        demo.delete_server(server.id, wait=True)
        demo.delete_volume(volume.id, wait=True)
