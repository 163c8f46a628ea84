#!/bin/bash
# build_images.sh DIRECTORY RELEASE: the two root file systems of a release, as directories and as squashfs images.
#
#   plain       the release with systemd, sshd, python3, sudo and the user debian
#   databases   the same with its database servers, none of them running or enabled
#   versions    what the packages of `databases` are: "mysql=10.11.14", one a line
#
# Source of the packages: the mirrors that this machine itself uses.
set -euo pipefail
directory=${1:?usage: build_images.sh DIRECTORY RELEASE}
galera='mariadb-backup galera-4 socat rsync'
case ${2:?usage: build_images.sh DIRECTORY RELEASE} in
    debian-12)
        suite=bookworm units='mariadb redis-server postgresql'
        packages="mariadb-server mariadb-client $galera redis-server redis-tools postgresql-15"
        ;;
    debian-13)
        suite=trixie units='mariadb valkey-server postgresql'
        packages="mariadb-server mariadb-client $galera valkey-server valkey-tools postgresql-17"
        ;;
    debian-sid) # the only one with Oracle's MySQL
        suite=sid units='mysql valkey-server postgresql'
        packages='mysql-server mysql-client valkey-server valkey-tools postgresql-18'
        ;;
    *)
        echo "ERROR: it is not known which databases the release $2 has" >&2
        exit 1
        ;;
esac
mirrors=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | sort -u)
mirror=$(grep -m 1 '/debian$' <<<"$mirrors")
security=$(grep -m 1 '/debian-security$' <<<"$mirrors" || true)
mkdir -p "$directory"
cd "$directory"

in_root() {
    root=$1
    shift
    chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@" </dev/null
}

install_into() {
    mount --bind /proc "$1/proc"
    trap 'umount "$directory"/*/proc 2>/dev/null || true' EXIT
    in_root "$1" apt-get -q -y --no-install-recommends install "${@:2}"
    in_root "$1" apt-get clean
    umount "$1/proc"
}

squash() {
    mksquashfs "$1" "$1.squashfs" -comp zstd -Xcompression-level 1 -no-xattrs -noappend -quiet -no-progress
}

make_base() {
    debootstrap --variant=minbase \
        --include=systemd,systemd-sysv,dbus,openssh-server,python3,python3-apt,iproute2,iputils-ping,ca-certificates,procps,sudo,e2fsprogs \
        "$suite" plain "$mirror"
    if [ "$suite" != sid ]; then # which has one source alone, and debootstrap wrote it
        printf 'deb %s main\n' "$mirror $suite-updates" ${security:+"$security $suite-security"} >>plain/etc/apt/sources.list
    fi
    grep -hE '^Acquire::Check' /etc/apt/apt.conf.d/* >plain/etc/apt/apt.conf.d/99machine || true
    echo force-unsafe-io >plain/etc/dpkg/dpkg.cfg.d/unsafe-io  # these hosts never see a power cut
    cp /etc/resolv.conf plain/etc/resolv.conf
    in_root plain apt-get -q update
    in_root plain apt-get -q -y upgrade
    in_root plain apt-get clean
}

# What a host in a container lacks or must not do: hardware, consoles, clocks, timers that work at random times.
settle_services() {
    in_root plain systemctl -q disable apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer \
        dpkg-db-backup.timer logrotate.timer e2scrub_reap.service || true
    in_root plain systemctl -q mask systemd-logind.service systemd-resolved.service systemd-timesyncd.service \
        systemd-networkd.service systemd-udevd.service systemd-udevd-kernel.socket systemd-udevd-control.socket \
        systemd-udev-trigger.service getty@tty1.service console-getty.service getty.target dev-hugepages.mount \
        sys-kernel-debug.mount sys-kernel-tracing.mount systemd-modules-load.service systemd-remount-fs.service \
        systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-journal-catalog-update.service \
        systemd-sysctl.service
    in_root plain systemctl -q set-default multi-user.target
    in_root plain systemctl -q enable ssh.service print-host-keys.service mount-volumes.service
}

configure() {
    in_root plain useradd --create-home --shell /bin/bash --uid 1000 debian
    install -m 440 /dev/stdin plain/etc/sudoers.d/debian <<<'debian ALL=(ALL) NOPASSWD:ALL'
    # Many sessions at once are what the tests do; nothing else differs from Debian's sshd.
    cat >plain/etc/ssh/sshd_config.d/beds.conf <<X
PermitRootLogin prohibit-password
PasswordAuthentication no
UseDNS no
MaxStartups 200:30:400
MaxSessions 100
X
    mkdir -p plain/etc/systemd/journald.conf.d
    printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=4M\n' >plain/etc/systemd/journald.conf.d/beds.conf
    # As cloud-init does at boot, so that the controller can take the keys from the console.
    cat >plain/usr/local/sbin/print-host-keys <<'X'
#!/bin/sh
echo '-----BEGIN SSH HOST KEY FINGERPRINTS-----'
for file in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -l -f "$file"; done
echo '-----END SSH HOST KEY FINGERPRINTS-----'
echo '-----BEGIN SSH HOST KEY KEYS-----'
cat /etc/ssh/ssh_host_*_key.pub
echo '-----END SSH HOST KEY KEYS-----'
X
    chmod 755 plain/usr/local/sbin/print-host-keys
    cat >plain/etc/systemd/system/print-host-keys.service <<X
[Unit]
Description=Print the host keys on the console
After=ssh.service
[Service]
Type=oneshot
ExecStart=/usr/local/sbin/print-host-keys
StandardOutput=tty
TTYPath=/dev/console
[Install]
WantedBy=multi-user.target
X
    # In a container systemd passes over the devices of fstab.
    cat >plain/etc/systemd/system/mount-volumes.service <<X
[Unit]
Description=Mount what fstab says
DefaultDependencies=no
After=systemd-tmpfiles-setup-dev.service
Before=local-fs.target
[Service]
Type=oneshot
ExecStart=mount --all
[Install]
WantedBy=local-fs.target
X
}

# Identities are made for each host, never shared; lists of packages are fetched when they are needed.
finish() {
    rm -rf "$1"/etc/ssh/ssh_host_* "$1"/var/lib/apt/lists/*
    : >"$1/etc/machine-id"
}

add_databases() {
    install -m 755 /dev/stdin databases/usr/sbin/policy-rc.d <<<$'#!/bin/sh\nexit 101'
    # shellcheck disable=SC2086 # one word a package
    install_into databases $packages python3-pymysql python3-redis python3-psycopg2
    rm databases/usr/sbin/policy-rc.d
    # shellcheck disable=SC2086 # one word a unit
    in_root databases systemctl -q disable $units
    in_root databases systemctl -q disable logrotate.timer || true
    # shellcheck disable=SC2086
    in_root databases dpkg-query -W -f '${Package}=${source:Upstream-Version}\n' $packages |
        sed -nE 's/^(mariadb|mysql)-server=/mysql=/; s/^(redis|valkey)-server=/redis=/; s/^postgresql-[0-9]+=/postgresql=/
            s/^((mysql|redis|postgresql)=[0-9.]+).*/\1/p' >versions
}

make_base
configure
settle_services
cp -a --reflink=auto plain databases
finish plain
squash plain &
plain_squash=$!
add_databases
finish databases
squash databases
wait $plain_squash
