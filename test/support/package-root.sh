#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# package-root.sh OLD NEW IMAGE: installs the package OLD over this system, in a root of its own whose changes
# are thrown away; uses it on a save image; upgrades to NEW, which must serve what OLD stored; removes it.
# Each step says its name; the first that goes wrong ends the script. Needs root.
set -eu
old=$1 new=$2 image=$3
[ "${PARS_ROOT_INSIDE:-}" = yes ] ||
  PARS_ROOT_INSIDE=yes exec unshare --mount --pid --fork --kill-child -- "$0" "$old" "$new" "$image"
. "$(dirname "$0")/scratch-root.sh"
mount -t proc none "$root/proc"
mount -t tmpfs none "$root/run"
mount -t tmpfs none "$root/tmp"
mount --rbind /dev "$root/dev"
cp "$old" "$root/tmp/old.deb"
cp "$new" "$root/tmp/new.deb"
mkdir -p "$root/srv/saves"
cp "$image" "$root/srv/saves/g.save"
cp "$image" "$root/srv/saves/original"
step() { echo "$*"; }

inside dpkg -i /tmp/old.deb >/dev/null 2>&1
step installed "$(inside pars --version)"
# The licence is there, and nothing that somebody else built but Node.
[ -s "$root/usr/lib/pars/LICENSE" ] && [ ! -e "$root/usr/lib/pars/node_modules" ]
step complete
inside sh -c 'printf "store: local:/srv/d1,/srv/d2,/srv/d3\n" >>/etc/pars/pars.yaml'
inside pars store init --allow-same-device >/dev/null
inside pars hooks install >/dev/null
inside pars offload --managed-save --save-dir /srv/saves /srv/saves/g.save >/dev/null
[ "$(inside stat -c %b /srv/saves/g.save)" -lt 20000 ] && step offloaded
inside dpkg -r pars >"$work/out" 2>&1 && { echo "removed although there is a stub"; exit 1; }
grep -q 'pars hydrate' "$work/out" && inside pars --version >/dev/null && step refused
before=$(inside dpkg-query -W -f '${Version}' pars)
inside dpkg -i /tmp/new.deb >/dev/null 2>&1
inside dpkg --compare-versions "$before" lt "$(inside dpkg-query -W -f '${Version}' pars)"
inside grep -q '^store: local' /etc/pars/pars.yaml && step upgraded
snapshot=$(inside pars list --json | sed -n 's/.*"snapshot": *"\([^"]*\)".*/\1/p' | head -n 1)
inside pars verify >/dev/null && inside pars restore "$snapshot" --to /srv/restored >/dev/null &&
  inside cmp /srv/restored /srv/saves/original && step restored
inside pars hydrate /srv/saves/g.save >/dev/null
inside cmp /srv/saves/g.save /srv/saves/original && step hydrated
inside dpkg -r pars >/dev/null 2>&1
[ ! -e "$root/usr/bin/pars" ] && [ ! -e "$root/etc/libvirt/hooks/qemu.d/pars" ] &&
  [ ! -e "$root/usr/lib/pars" ] && [ -e "$root/etc/pars/pars.yaml" ] && step removed
