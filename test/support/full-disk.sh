#!/bin/sh
# Run by a test as root in a mount namespace of its own: offload and hydrate where a disk is full. Prints a line "WHAT: JSON" for each.
# Arguments: node, the program to run, a directory, an image, its length.
set -eu
node=$1 entry=$2 root=$3 image=$4 bytes=$5
mkdir -p "$root/d1" "$root/d2" "$root/d3" "$root/saves" "$root/state"
mount -t tmpfs -o size=200m tmpfs "$root/d1"
mount -t tmpfs -o size=4m tmpfs "$root/d2"
mount -t tmpfs -o size=200m tmpfs "$root/d3"
mount -t tmpfs -o size=$((bytes + 1048576)) tmpfs "$root/saves"
cp --sparse=never "$image" "$root/saves/guest.save"

run() { "$node" "$entry" "{\"work\":\"$1\",\"image\":\"$root/saves/guest.save\",\"store\":\"local:$root/d1,$root/d2,$root/d3\",\"stateDir\":\"$root/state\",\"policy\":\"pars\",\"killAt\":null}" | grep '^{'; }
same() { cmp -s "$image" "$root/saves/guest.save" && echo yes || echo no; }
disk() { du -k "$root/saves/guest.save" | cut -f1; }
objects() { find "$root/d1" "$root/d2" "$root/d3" -type f ! -name '*.json' -o -name manifest.json | wc -l; }

"$node" "$entry" init "$root/d1,$root/d2,$root/d3"
printf "%s\n" "store full: $(run offload)"
printf "%s\n" "image still whole: $(same)"
printf "%s\n" "objects left: $(objects)"
mount -o remount,size=200m "$root/d2"
printf "%s\n" "store has room: $(run offload)"
printf "%s\n" "stub KiB: $(disk)"
head -c "$bytes" /dev/zero >"$root/saves/filler" 2>/dev/null || :
# A page or two: on a tmpfs that has none left a hole cannot even be read through a mapping.
truncate -s -65536 "$root/saves/filler"
printf "%s\n" "save directory full: $(run hydrate)"
printf "%s\n" "stub KiB: $(disk)"
rm "$root/saves/filler"
printf "%s\n" "save directory has room: $(run hydrate)"
printf "%s\n" "image again: $(same)"
