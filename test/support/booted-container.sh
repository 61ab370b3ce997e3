# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# To be sourced by a script that boots a container with systemd; `leader` is the process id of its init.
leader=''
# in_container COMMAND...
in_container() {
  nsenter -t "$leader" -m -u -i -n -p -- \
    /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@"
}
# until_true SECONDS WHAT COMMAND...
until_true() {
  seconds=$1 what=$2
  shift 2
  while ! "$@"; do
    [ "$seconds" -gt 0 ] || { echo "waited for $what"; exit 1; }
    sleep 1
    seconds=$((seconds - 1))
  done
}
