#!/bin/sh
# Run once at the first boot: the controller reads the machine's host keys from its console, so that it knows them
# before the first login. cloud-init prints the same; images without it have this.
{
	echo "-----BEGIN SSH HOST KEY KEYS-----"
	cat /etc/ssh/ssh_host_*_key.pub
	echo "-----END SSH HOST KEY KEYS-----"
} > /dev/console
