#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# install.sh: follows README's "From source" on a machine that has nothing, and uses the program that this
# gives on a small save image. For scripts/bare only: it changes what is installed, /etc/pars, /var/lib/pars
# and /srv. Each step says its name; the first that goes wrong ends the script.
set -eu
. test/bare/small-image.sh
for tool in cc g++ make node npm git; do
  ! command -v "$tool" >/dev/null || fail "not a bare machine: it has $tool"
done
began=$(date +%s)
step() { echo "$(($(date +%s) - began)) s: $*"; }

# The first commands below that heading.
commands=$(sed -n '/^### From source$/,/^##/{/^    /,/^$/{s/^    //p;/^$/q}}' README.md)
[ -n "$commands" ] || fail 'README.md has no commands under "From source"'
echo "$commands" | sed 's/^/  $ /'
echo "$commands" | sh -eu >/tmp/install.log 2>&1 || { tail -n 40 /tmp/install.log; exit 1; }
[ ! -e build/Release/core-test ] || fail "a user's build has built tests"
step "installed: pars $(pars --version) with Node $(node --version), $(cc --version | head -n 1)"

restore_small_image
mkdir -p /etc/pars
printf 'store: local:/srv/d1,/srv/d2,/srv/d3\npolicy: lean\n' >/etc/pars/pars.yaml
pars store init --allow-same-device >/dev/null
pars report /srv/saves/g.save >/tmp/report
grep -q 'old guest' /tmp/report || fail "the report does not name the guest: $(cat /tmp/report)"
step reported
pars offload /srv/saves/g.save >/dev/null
[ "$(blocks /srv/saves/g.save)" -lt "$(blocks /srv/original)" ] || fail 'the image takes as much as before'
step offloaded
pars hydrate /srv/saves/g.save >/dev/null
cmp /srv/saves/g.save /srv/original
step hydrated
pars status --save-dir /srv/saves >/dev/null
step 'all is well'
