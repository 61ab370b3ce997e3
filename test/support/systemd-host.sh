#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# systemd-host.sh PACKAGE IMAGE: boots this system with systemd, in a container whose changes are thrown away
# and with the package installed, and has its units do their work on a save image: by the timer's service, by
# the hook, on a store that is away, and at power-off. Each step says its name; the first that goes wrong ends
# the script. Needs root and systemd-nspawn.
set -eu
package=$1 image=$2
[ "${PARS_ROOT_INSIDE:-}" = yes ] ||
  PARS_ROOT_INSIDE=yes exec unshare --mount --pid --fork --kill-child --mount-proc -- "$0" "$package" "$image"
. "$(dirname "$0")/scratch-root.sh"
. "$(dirname "$0")/booted-container.sh"
saves=/var/lib/libvirt/qemu/save
cp "$package" "$root/tmp/pars.deb"
rm -rf "${root:?}$saves"
mkdir -p "$root$saves"
cp "$image" "$root$saves/g.save"
cp "$image" "$root/srv/original"
mount -t proc none "$root/proc"
mount --rbind /dev "$root/dev"
inside dpkg -i /tmp/pars.deb >/dev/null 2>&1
inside sh -c 'printf "store: local:/srv/d1,/srv/d2,/srv/d3\n" >>/etc/pars/pars.yaml'
inside pars store init --allow-same-device >/dev/null
inside pars hooks install >/dev/null
inside systemctl -q enable pars-drain.service
umount -R -l "$root/proc" "$root/dev"

systemd-nspawn --quiet --register=no --keep-unit --private-network -D "$root" -b systemd.unit=timers.target \
  </dev/null >"$work/console" 2>&1 &
container=$!
booted() {
  leader=$(pgrep -P "$container" -n) && in_container systemctl -q is-active timers.target 2>/dev/null
}
is_stub() { [ "$(stat -c %b "$root$saves/g.save")" -lt 20000 ]; }
# Hydrated, it is the image it was. It is saved again then: what was hydrated by hand is left alone.
again() {
  in_container pars hydrate "$saves/g.save" >/dev/null && in_container cmp "$saves/g.save" /srv/original &&
    in_container cp /srv/original "$saves/g.save"
}
until_true 60 'the container to boot' booted
in_container systemctl -q start pars-drain.service && echo booted

# No libvirt runs here, which doctor says at its end; all else is done by then.
[ "$(in_container pars init 2>&1 | grep -c '^Enabled pars-offload.timer')" = 1 ]
! in_container pars init --store local:/srv/other >/dev/null 2>&1
in_container systemctl -q is-active pars-offload.timer && echo 'init has started the timer'

in_container systemctl start pars-offload.service && is_stub && again && echo 'offloaded by the service'

in_container /etc/libvirt/hooks/qemu.d/pars g stopped end - </dev/null
until_true 60 'the offload of the hook' is_stub
in_container journalctl -q -o cat -t systemd | grep -q 'pars work-off' && again &&
  echo 'offloaded by the hook, in a unit of its own'

in_container mv /srv/d1 /srv/d2 /srv/d3 /tmp
in_container systemctl start pars-offload.service &&
  [ "$(in_container systemctl show -P ExecMainStatus pars-offload.service)" = 8 ]
! is_stub && in_container journalctl -q -o cat -t pars -p err | grep -q g.save &&
  echo 'a failure is in the journal'
in_container sh -c 'mv /tmp/d1 /tmp/d2 /tmp/d3 /srv'

in_container systemctl --no-block poweroff 2>/dev/null
wait "$container" || true
is_stub && echo 'drained at power-off'
