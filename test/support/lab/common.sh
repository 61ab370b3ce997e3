# shellcheck shell=bash
# Shared by the lab's scripts: where things are kept, and how missing tools arrive.

lab_cache=${PARS_LAB_CACHE:-${XDG_CACHE_HOME:-/var/cache}/pars-lab}

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$@"; exit 1; }

# need PACKAGE:COMMAND... installs the packages whose command is missing.
# Service start-up is refused meanwhile: the lab runs its own private daemons.
need() {
    local pair missing=()
    for pair in "$@"; do
        [[ -n $(PATH=$PATH:/usr/sbin:/sbin type -P "${pair#*:}") ]] || missing+=("${pair%%:*}")
    done
    ((${#missing[@]})) || return 0
    mkdir -p "$lab_cache"
    (flock 9; apt_install "${missing[@]}") 9>"$lab_cache/apt.lock" >&2
}

apt_install() {
    say "installing $*"
    local policy=/usr/sbin/policy-rc.d made=
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        made=yes
    fi
    local status=0
    { apt-get -q update &&
        DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "$@"; } || status=$?
    [[ -z $made ]] || rm -f "$policy"
    return $status
}

# once DIR BUILD...: runs BUILD with a scratch directory and renames it to DIR,
# so that DIR is either absent or complete, also when two runs race.
once() {
    local dir=$1
    shift
    [[ -d $dir ]] && return 0
    mkdir -p "${dir%/*}"
    (
        flock 9
        [[ -d $dir ]] && exit 0
        rm -rf "$dir.tmp"
        mkdir "$dir.tmp"
        "$@" "$dir.tmp"
        mv "$dir.tmp" "$dir"
    ) 9>"$dir.lock"
}
