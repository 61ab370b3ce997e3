#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# guest.sh: installs the Debian package in /mnt by apt beside a libvirt of the suite's own, sets the host up
# with "pars init", saves and starts a real guest, and removes the package. The guest's kernel, initrd and
# disk (vmlinuz, initrd, disk.raw) are in /mnt. For scripts/bare only. Each step says how long it took; the
# first that goes wrong ends the script.
set -euo pipefail
began=$SECONDS
step() { echo "$((SECONDS - began)) s: $*"; }
fail() { echo "$1"; exit 1; }
export DEBIAN_FRONTEND=noninteractive
quietly() { "$@" >/tmp/log 2>&1 || fail "$(tail -n 20 /tmp/log)"; }
virsh() { command virsh -q -c qemu:///system "$@"; }
install() { quietly apt-get -qq install -y --no-install-recommends "$@"; }
# No daemon is started by its package: there is no init.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d

# Everything that is there, but for what is libvirt's, apt's and dpkg's own.
inventory() {
    find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /mnt \
        -o -path /root -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/cache/apt \
        -o -path /var/log -o -path /var/cache/libvirt -o -path /var/cache/ldconfig \
        -o -path /var/lib/libvirt/qemu -o -path /srv/guest -o -path /etc/ld.so.cache \) -prune -o -print |
        sort
}

start_libvirt() {
    quietly libvirtd -d -p /run/libvirtd.pid
    quietly virsh capabilities
}
# libvirtd looks for hooks when it starts.
restart_libvirt() {
    local pid
    pid=$(cat /run/libvirtd.pid)
    kill "$pid"
    tail --pid="$pid" -s 0.05 -f /dev/null
    start_libvirt
}

ask() { test/support/lab/console /srv/guest/console.sock /srv/guest/console.log "$1" '^PARS-' 600; }
expect_ok() {
    local said
    said=$(ask "$1") || fail "the guest does not answer: $(tail -n 5 /srv/guest/console.log)"
    [[ $said == "$2 ok"* ]] || fail "the guest says: $said"
    step "the guest's console: $said"
}
blocks() { stat -c %b "$1"; }

quietly apt-get -q update
install libvirt-daemon-system libvirt-clients qemu-system-x86 qemu-utils socat
cat >>/etc/libvirt/qemu.conf <<'CONF'
user = "root"
group = "root"
security_driver = "none"
remember_owner = 0
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
CONF
printf 'auth_unix_rw = "none"\nunix_sock_group = "root"\n' >>/etc/libvirt/libvirtd.conf
mkdir -p /srv/guest
start_libvirt
step "libvirt $(command virsh --version), $(qemu-system-x86_64 --version | head -n 1)"

inventory >/tmp/before
install /mnt/pars_*.deb
step "installed: pars $(pars --version)"
pars init --store local:/srv/d1,/srv/d2,/srv/d3 --allow-same-device >/tmp/init 2>&1 ||
    fail "pars init: $(cat /tmp/init)"
restart_libvirt
pars doctor >/tmp/doctor || fail "$(cat /tmp/doctor)"
step 'set up by pars init; pars doctor finds no failure'

qemu-img create -q -f qcow2 -b /mnt/disk.raw -F raw /srv/guest/disk.qcow2
: >/srv/guest/console.log
test/support/lab/domain-xml --name web --memory 512 --kernel /mnt/vmlinuz --initrd /mnt/initrd \
    --cmdline 'console=ttyS0 quiet loglevel=4 no_timer_check pars.fill=50' \
    --disk /srv/guest/disk.qcow2,qcow2 \
    --console /srv/guest/console.sock --log /srv/guest/console.log >/srv/guest/web.xml
virsh define /srv/guest/web.xml
virsh start web
test/support/lab/console --all /srv/guest/console.sock /srv/guest/console.log \
    '' 'PARS-(READY|FAIL)|Kernel panic' 600 | grep -q PARS-READY ||
    fail "the guest did not come up: $(tail -n 5 /srv/guest/console.log)"
step "booted: Linux $(ask kernel | cut -d ' ' -f 2)"

image=/var/lib/libvirt/qemu/save/web.save
virsh managedsave web
whole=$(blocks $image)
step 'saved by virsh managedsave'
for _ in {1..600}; do
    [[ $(pars list --json) != *'"state": "stubbed"'* ]] || break
    sleep 0.2
done
[[ $(pars list --json) == *'"state": "stubbed"'* ]] || fail "not offloaded: $(pars list; pars status)"
step "offloaded by the hook: of $((whole / 2048)) MiB a stub of $(($(blocks $image) / 2048)) MiB is left"
quietly pars verify
! apt-get -qq remove -y pars >/tmp/log 2>&1 || fail 'removed although there is a stub'
grep -q 'pars hydrate' /tmp/log || fail "$(cat /tmp/log)"
step 'not removed while there is a stub'
virsh start web
step 'started by virsh start'
expect_ok check PARS-CHECK
expect_ok deep PARS-DEEP
pars status || fail 'pars status finds a failure'

# A running guest does not mind that the package goes. What may stay is in docs/packages.md: configuration,
# state and store, and after a purge the last two.
removed() {
    local what=$1 stays="/srv/d[123]|/var/lib/pars|/etc/libvirt/qemu/web.xml$2" left
    quietly apt-get -qq "$what" -y --autoremove pars
    inventory >/tmp/after
    left=$(comm -13 /tmp/before /tmp/after | grep -Ev "^($stays)(/|\$)" || true)
    [[ -z $left ]] || fail "after the $what there is still: $left"
    left=$(comm -23 /tmp/before /tmp/after)
    [[ -z $left ]] || fail "the $what took with it: $left"
    step "$what: nothing is left but what is documented"
}
removed remove '|/etc/pars|/etc/apparmor.d/abstractions/pars'
[[ -e /etc/pars/pars.yaml && -e /var/lib/pars/ledger.json ]] || fail 'configuration or state is gone'
removed purge ''
expect_ok check PARS-CHECK
virsh destroy web
