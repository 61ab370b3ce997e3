// SPDX-License-Identifier: Apache-2.0
/** Where libvirt keeps what Pars looks at, unless its configuration says otherwise. */
export const DEFAULT_HOOKS_DIR = '/etc/libvirt/hooks';
export const DEFAULT_SAVE_DIR = '/var/lib/libvirt/qemu/save';
/** A file of XML for each snapshot: DOMAIN/NAME.xml. */
export const DEFAULT_SNAPSHOT_DIR = '/var/lib/libvirt/qemu/snapshot';
/** A link for each guest that is started with libvirt's daemon: NAME.xml. */
export const AUTOSTART_DIR = '/etc/libvirt/qemu/autostart';
/** Where libvirt-guests.service keeps, over a reboot, which guests it has stopped. */
export const GUESTS_TO_START = '/var/lib/libvirt/libvirt-guests';
