#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# package.sh: installs the Debian package in /mnt by apt on a machine that has nothing, uses it on a small
# save image, and removes it. For scripts/bare only, as install.sh. Each step says its name; the first that
# goes wrong ends the script.
set -eu
. test/bare/small-image.sh
for tool in cc make node npm; do
  ! command -v "$tool" >/dev/null || { echo "not a bare machine: it has $tool"; exit 1; }
done
apt-get -q update >/dev/null
export DEBIAN_FRONTEND=noninteractive
apt-get -qq install -y --no-install-recommends /mnt/pars_*.deb >/tmp/apt.log 2>&1 ||
    fail "$(tail /tmp/apt.log)"
! command -v cc >/dev/null || fail 'the package has brought a compiler'
echo "installed: pars $(pars --version)"
[ -e /usr/share/man/man8/pars.8.gz ] || [ -e /etc/dpkg/dpkg.cfg.d/excludes ] || fail 'no manual'

restore_small_image
# Stubs are known of wherever the state is kept.
printf 'store: local:/srv/d1,/srv/d2,/srv/d3\nstate_dir: /srv/state\n' >>/etc/pars/pars.yaml
pars store init --allow-same-device >/dev/null
pars report /srv/saves/g.save | grep -q 'old guest' || fail 'the report does not name the guest'
pars offload /srv/saves/g.save >/dev/null
[ "$(blocks /srv/saves/g.save)" -lt "$(blocks /srv/original)" ] || fail 'the image takes as much as before'
! apt-get -qq remove -y pars >/tmp/apt.log 2>&1 || fail 'removed although there is a stub'
pars hydrate /srv/saves/g.save >/dev/null
cmp /srv/saves/g.save /srv/original
pars status --save-dir /srv/saves >/dev/null
echo 'used'
apt-get -qq remove -y pars >/tmp/apt.log 2>&1 || fail "$(tail /tmp/apt.log)"
[ ! -e /usr/lib/pars ] && [ ! -e /usr/bin/pars ] && [ ! -e /var/cache/pars ] || fail 'something of it is left'
[ -e /etc/pars/pars.yaml ] || fail 'the configuration is gone'
echo 'removed'
