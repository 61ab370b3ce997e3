#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Run by a test as root in a mount namespace of its own: offload and hydrate where a disk is full. Prints a
# line "WHAT: JSON" for each. Arguments: node, the program to run, a directory, an image, its length, the same
# image saved through zstd, its length, where its stream begins, a sparse image, its length.
set -eu
node=$1 entry=$2 root=$3 image=$4 bytes=$5 packed=$6 packed_bytes=$7 stream=$8 sparse=$9 sparse_bytes=${10}
mkdir -p "$root/d1" "$root/d2" "$root/d3" "$root/saves" "$root/state"
mount -t tmpfs -o size=200m,mode=700 tmpfs "$root/d1"
mount -t tmpfs -o size=4m,mode=700 tmpfs "$root/d2"
mount -t tmpfs -o size=200m,mode=700 tmpfs "$root/d3"

# begin_anew BYTES never|always IMAGE: a save directory of that size with the image in it, its holes as cp
# --sparse has it, on a host that knows of none.
begin_anew() {
  ! mountpoint -q "$root/saves" || umount "$root/saves"
  rm -r "$root/state"
  mkdir "$root/state"
  mount -t tmpfs -o size="$1" tmpfs "$root/saves"
  image=$3
  cp --sparse="$2" "$image" "$root/saves/guest.save"
}
run() {
  places="\"image\":\"$root/saves/guest.save\",\"store\":\"local:$root/d1,$root/d2,$root/d3\""
  terms="\"stateDir\":\"$root/state\",\"policy\":\"pars\",\"killAt\":null"
  "$node" "$entry" "{\"work\":\"$1\",$places,$terms${2:-}}" | grep '^{'
}
same() { cmp -s "$image" "$root/saves/guest.save" && echo yes || echo no; }
disk() { du -k "$root/saves/guest.save" | cut -f1; }
objects() { find "$root/d1" "$root/d2" "$root/d3" -type f ! -name '*.json' -o -name manifest.json | wc -l; }

begin_anew $((bytes + 1048576)) never "$image"
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

# Compressed: it is unpacked beside itself, and its length afterwards is not known before.
unpacked() { tail -c +$((stream + 1)) "$1" | zstd -qdc; }
begin_anew $((packed_bytes + 1048576)) never "$packed"
printf "%s\n" "no room to unpack: $(run offload)"
printf "%s\n" "compressed image still whole: $(same)"
mount -o remount,size=$((packed_bytes + bytes + 4194304)) "$root/saves"
printf "%s\n" "room to unpack: $(run offload)"
printf "%s\n" "stub KiB: $(disk)"
head -c $((bytes + packed_bytes + 4194304)) /dev/zero >"$root/saves/filler" 2>/dev/null || :
# Room for its old length and a page or two: at the fast level it gets longer.
truncate -s -$((packed_bytes / 4096 * 4096)) "$root/saves/filler"
printf "%s\n" "room for its old length only: $(run hydrate)"
printf "%s\n" "stub KiB: $(disk)"
rm "$root/saves/filler"
printf "%s\n" "room for more: $(run hydrate)"
unpacked "$packed" >"$root/expected"
same=$(unpacked "$root/saves/guest.save" | cmp -s - "$root/expected" && echo yes || echo no)
printf "%s\n" "same stream again: $same"

# Sparse: room cannot be reserved without filling the holes. It is asked for; whatever fills the disk after
# that leaves the stub.
begin_anew $((sparse_bytes + 1048576)) always "$sparse"
fill="head -c $sparse_bytes /dev/zero >$root/saves/filler 2>/dev/null"
fill="$fill || truncate -s -65536 $root/saves/filler"
printf "%s\n" "sparse: $(run offload)"
printf "%s\n" "stub KiB: $(disk)"
head -c $((sparse_bytes - 2097152)) /dev/zero >"$root/saves/filler"
printf "%s\n" "no room to ask for: $(run hydrate)"
printf "%s\n" "stub KiB: $(disk)"
rm "$root/saves/filler"
at_step=",\"atStep\":{\"step\":\"reserved\",\"run\":\"$fill\"}"
printf "%s\n" "full after it was asked for: $(run hydrate "$at_step")"
printf "%s\n" "stub KiB: $(disk)"
rm "$root/saves/filler"
printf "%s\n" "room for sparse: $(run hydrate)"
printf "%s\n" "sparse image again: $(same)"
