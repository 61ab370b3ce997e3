#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# systemd-shutdown.sh PACKAGE IMAGE: boots this system with systemd, in a container whose changes are thrown
# away, with the package installed and with a store whose directories are mounts that nothing waits for:
# nofail, on demand, and of the network. Then it is powered off, and libvirt's daemon saves a guest as it
# stops: a stand-in for it that says it is libvirt 11.3. The save must be a stub afterwards. Each step says
# its name; the first that goes wrong ends the script. Needs root and systemd-nspawn.
set -eu
package=$1 image=$2
[ "${PARS_ROOT_INSIDE:-}" = yes ] ||
  PARS_ROOT_INSIDE=yes exec unshare --mount --pid --fork --kill-child --mount-proc -- "$0" "$package" "$image"
. "$(dirname "$0")/scratch-root.sh"
. "$(dirname "$0")/booted-container.sh"
saves=/var/lib/libvirt/qemu/save
cp "$package" "$root/tmp/pars.deb"
cp "$image" "$root/srv/original"
rm -rf "${root:?}/var/lib/libvirt" "$root/etc/libvirt/qemu"
mkdir -p "$root$saves" "$root/etc/libvirt/qemu"
for number in 1 2 3; do mkdir -p "$root/srv/disk$number" "$root/srv/d$number"; done
cat >"$root/etc/fstab" <<END
/srv/disk1 /srv/d1 none bind,nofail 0 0
/srv/disk2 /srv/d2 none bind,nofail,x-systemd.automount 0 0
/srv/disk3 /srv/d3 none bind,nofail,_netdev 0 0
END
printf '#!/bin/sh\necho "libvirtd (libvirt) 11.3.0"\n' >"$root/usr/sbin/libvirtd"
cat >"$root/etc/systemd/system/libvirtd.service" <<END
[Unit]
After=network.target local-fs.target remote-fs.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop=/bin/cp /srv/original $saves/g.save
[Install]
WantedBy=multi-user.target
END
mount -t proc none "$root/proc"
mount --rbind /dev "$root/dev"
inside dpkg -i /tmp/pars.deb >/dev/null 2>&1
inside sh -c 'printf "store: local:/srv/d1,/srv/d2,/srv/d3\n" >>/etc/pars/pars.yaml'
inside systemctl -q enable pars-drain.service libvirtd.service
umount -R -l "$root/proc" "$root/dev"

systemd-nspawn --quiet --register=no --keep-unit --private-network --bind=/dev/autofs -D "$root" -b \
  systemd.mask=systemd-networkd-wait-online.service </dev/null >"$work/console" 2>&1 &
container=$!
booted() {
  leader=$(pgrep -P "$container" -n) && in_container systemctl -q is-active multi-user.target 2>/dev/null
}
until_true 120 'the container to boot' booted
in_container ls /srv/d2 >/dev/null
for number in 1 2 3; do in_container mountpoint -q "/srv/d$number"; done
echo 'booted with its mounts'

in_container pars store init --allow-same-device --force >/dev/null
in_container pars hooks install >/dev/null
in_container systemctl start pars-drain.service
after=$(in_container systemctl show -P After pars-drain.service)
for unit in srv-d1.mount srv-d2.mount srv-d2.automount srv-d3.mount; do
  case " $after " in *" $unit "*) ;; *) echo "not after $unit: $after"; exit 1 ;; esac
done
echo 'ordered after its mounts'

[ ! -e "$root$saves/g.save" ]
echo 'powered off with nothing saved yet'
in_container systemctl --no-block poweroff 2>/dev/null
wait "$container" || true
[ -e "$root$saves/g.save" ]
echo 'saved at power-off'
[ "$(stat -c %b "$root$saves/g.save")" -lt 20000 ]
[ "$(find "$root"/srv/disk? -name manifest.json | wc -l)" -ge 3 ]
echo 'drained, with the store still mounted'
