#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# rpm.sh: installs the .rpm in /mnt by rpm on a Debian that has the libraries it was linked with, uses it on a
# small save image, and removes it. This tries its files and scripts; what an RHEL-like host adds (libraries,
# SELinux) is not tried. For scripts/bare only, as package.sh.
set -eu
. test/bare/small-image.sh
apt-get -q update >/dev/null
export DEBIAN_FRONTEND=noninteractive
libraries='libpugixml1v5 libxxhash0 libisal2 libssl3*'
# shellcheck disable=SC2086  # a list of names
apt-get -qq install -y --no-install-recommends rpm $libraries >/tmp/log 2>&1 || fail "$(tail /tmp/log)"
# dpkg has these libraries; rpm's database does not know of them.
rpm -i --nodeps /mnt/pars-*.rpm 2>/tmp/log || fail "$(cat /tmp/log)"
[ "$(rpm -q pars)" = "$(basename /mnt/pars-*.rpm .rpm)" ] || fail "rpm knows it as $(rpm -q pars)"
rpm -V --nodeps pars || fail 'files differ from the package'
case $(pars --version) in *'the RPM package'*) ;; *) fail "it takes itself for $(pars --version)" ;; esac
echo "installed: pars $(pars --version)"

restore_small_image
printf 'store: local:/srv/d1,/srv/d2,/srv/d3\nstate_dir: /srv/state\n' >>/etc/pars/pars.yaml
pars store init --allow-same-device >/dev/null 2>&1
pars offload /srv/saves/g.save >/dev/null 2>&1
! rpm -e pars >/tmp/log 2>&1 || fail 'removed although there is a stub'
grep -q 'pars hydrate' /tmp/log || fail "$(cat /tmp/log)"
pars hydrate /srv/saves/g.save >/dev/null
cmp /srv/saves/g.save /srv/original
echo 'used'
rpm -e pars 2>/tmp/log || fail "$(cat /tmp/log)"
for path in /usr/lib/pars /usr/bin/pars /var/cache/pars \
    /etc/pars/pars.yaml /usr/share/doc/pars; do
    [ ! -e $path ] || fail "$path is left"
done
[ -e /etc/pars/pars.yaml.rpmsave ] || fail 'the configuration is gone'
echo 'removed; the configuration is kept as pars.yaml.rpmsave'
