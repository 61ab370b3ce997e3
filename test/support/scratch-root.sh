# shellcheck shell=sh
# To be sourced, in a mount namespace of one's own: this system in a root whose changes are thrown away, as
# $root (of $work); `inside` runs a command there. PARS_LOWER_ROOT: another system in place of this one, one
# that has what the packages depend on.
work=$(mktemp -d /var/tmp/pars-root.XXXXXX)
trap 'umount -R -l "$work" 2>/dev/null || true; rmdir "$work" 2>/dev/null || true' EXIT
mount -t tmpfs none "$work"
mkdir "$work/upper" "$work/work" "$work/root"
mount -t overlay overlay \
  -o "lowerdir=${PARS_LOWER_ROOT:-/},upperdir=$work/upper,workdir=$work/work" "$work/root"
root=$work/root
for path in etc/pars var/lib/pars etc/libvirt/hooks usr/local/lib/pars; do rm -rf "${root:?}/$path"; done
inside() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@"; }
