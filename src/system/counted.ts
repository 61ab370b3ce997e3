// SPDX-License-Identifier: Apache-2.0
/** "1 guest", "2 guests". */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}
