// SPDX-License-Identifier: Apache-2.0
/** Where libvirt keeps what Pars looks at, unless its configuration says otherwise. */
export const DEFAULT_HOOKS_DIR = '/etc/libvirt/hooks';
export const DEFAULT_SAVE_DIR = '/var/lib/libvirt/qemu/save';
/** A file of XML for each snapshot: DOMAIN/NAME.xml. */
export const DEFAULT_SNAPSHOT_DIR = '/var/lib/libvirt/qemu/snapshot';
