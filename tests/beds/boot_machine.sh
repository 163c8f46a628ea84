#!/bin/sh
# boot_machine.sh NAME ROOT: boot the root file system as a machine with systemd, in the network namespace NAME.
# Stays as its supervisor: a reboot from inside boots it again, SIGTERM shuts it down. The file `devices` beside ROOT
# may list block devices, one a line: /dev/loop3:/dev/vdb.
set -u
name=$1 root=$2

# systemd-nspawn --keep-unit uses the caller's control group. Machines that share one would share their services:
# stopping mariadb.service in one would kill it in the others.
for hierarchy in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
    [ -e "$hierarchy/cgroup.procs" ] || continue
    mkdir -p "$hierarchy/$name"
    echo $$ >"$hierarchy/$name/cgroup.procs"
done

# systemd 258 and newer know no other, also where this machine still has the old ones beside it.
export UNIFIED_CGROUP_HIERARCHY=1

stopping=no
trap 'stopping=yes; kill -TERM "$nspawn"' TERM
while :; do
    # shellcheck disable=SC2046 # one word a device
    systemd-nspawn $(sed -n 's/^./--bind=&/p' "$(dirname "$root")/devices" 2>/dev/null) \
        --quiet --boot --register=no --keep-unit --settings=no --machine="$name" --directory="$root" \
        --network-namespace-path="/run/netns/$name" --resolv-conf=off --timezone=off --link-journal=no \
        --console=read-only </dev/null &
    nspawn=$!
    while kill -0 "$nspawn" 2>/dev/null; do
        wait "$nspawn"
        status=$?
    done
    [ "$status" = 133 ] && [ "$stopping" = no ] || exit "$status" # 133: rebooted from inside
done
