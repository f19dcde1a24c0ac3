#!/bin/sh
# The network of QEMU, and the host's time to the millisecond, as NTP would give it.
ip link set lo up
ip address add 10.0.2.15/24 dev eth0
ip link set eth0 up
ip route add default via 10.0.2.2
clock=$(grep -o 'lab.clock=[0-9]*' /proc/cmdline) || exit 0
date -s "@$(busybox nc -w 3 10.0.2.2 "${clock#*=}" </dev/null)"
