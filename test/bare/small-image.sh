# SPDX-License-Identifier: Apache-2.0
# small-image.sh: sourced by the scripts here that use the installed program on a save image small enough to
# be kept with the sources.

fail() { echo "$1"; exit 1; }

# What a file takes on its disk, in blocks of 512 bytes.
blocks() { stat -c %b "$1"; }

# Restores the image from a snapshot of an earlier version: /srv/original, and to be used /srv/saves/g.save.
restore_small_image() {
    mkdir -p /srv/old /srv/saves
    cp -r test/regressions/format-1-raw/d1 test/regressions/format-1-raw/d2 test/regressions/format-1-raw/d3 \
        /srv/old
    pars restore --store local:/srv/old/d1,/srv/old/d2,/srv/old/d3 \
        "$(cd /srv/old/d1 && ls -d ????????-*/*)" --to /srv/original >/dev/null
    cp /srv/original /srv/saves/g.save
}
