// SPDX-License-Identifier: Apache-2.0
/**
 * The losses in the browser: worked out again by the very functions of the report whenever an input changes.
 */
import type { Durability, DurabilityInputs, Scheme } from '../../report/durability.js';

export interface LossData {
  inputs: DurabilityInputs;
  /** By policy or native way of storing. */
  schemes: { name: string; scheme: Scheme }[];
}

/** 0.00012 -> "1 in 8 300". */
export function formatChance(chance: number | null): string {
  if (chance === null) return 'too few disks';
  if (chance === 0) return 'none';
  if (chance < 1e-15) return 'below 1 in 10\u00b9\u2075';
  if (chance >= 0.01) return `${(100 * chance).toFixed(chance > 0.9995 ? 0 : 1)} %`;
  const one = 1 / chance;
  if (one >= 1e6) {
    const power = Math.floor(Math.log10(one));
    const digits = '\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079';
    const raised = String(power).replace(/\d/g, (digit) => digits[Number(digit)] ?? '');
    return `1 in ${(one / 10 ** power).toFixed(1)}\u00b710${raised}`;
  }
  return `1 in ${String(Number(one.toPrecision(2))).replace(/\B(?=(\d{3})+$)/g, '\u00a0')}`;
}

/** Whether the guest is lost when so many disks are dead, and within a year. */
export function lostCells(durability: Durability): string[] {
  const cells = durability.whenDead.map(({ guestLost }) =>
    guestLost === 0 ? 'safe' : guestLost === null ? 'too few disks' : formatChance(guestLost),
  );
  while (cells.length < 3) cells.push('\u2013');
  return [...cells, formatChance(durability.guestLostPerYear)];
}

/** What the guest reads again when so many disks are dead. */
export function rereadCells(durability: Durability, formatBytes: (bytes: number) => string): string[] {
  const cells = durability.whenDead.map(({ rereadBytes }) =>
    rereadBytes === null || rereadBytes === 0 ? '\u2013' : formatBytes(rereadBytes),
  );
  while (cells.length < 3) cells.push('\u2013');
  return cells;
}

export function lossCells(durability: Durability, formatBytes: (bytes: number) => string): string[] {
  const again = rereadCells(durability, formatBytes);
  return lostCells(durability).map((text, i) => {
    const reread = again[i] ?? '\u2013';
    const lost = /%|^1 in|^below/.test(text) && i < 3 ? `lost: ${text}` : text;
    return reread === '\u2013' ? lost : `${lost}, reads ${reread} again`;
  });
}

/** The inputs as typed; null while one of them cannot be. */
export function readInputs(): DurabilityInputs | null {
  const value = (id: string): number => {
    const input = document.getElementById(id) as HTMLInputElement | null;
    return input && input.checkValidity() ? input.valueAsNumber : NaN;
  };
  const inputs = {
    disks: value('disks'),
    annualFailureRate: value('afr') / 100,
    repairHours: value('repair'),
    blockBytes: value('block') * 1048576,
  };
  return Object.values(inputs).some(Number.isNaN) ? null : inputs;
}

export function startLosses(
  data: LossData,
  durabilityOf: (inputs: DurabilityInputs, scheme: Scheme) => Durability,
  formatBytes: (bytes: number) => string,
): void {
  document.getElementById('inputs')?.addEventListener('input', () => {
    const inputs = readInputs();
    if (!inputs) return;
    for (const { name, scheme } of data.schemes) {
      const row = [...document.querySelectorAll<HTMLElement>('#losses tbody tr')].find(
        (one) => one.dataset['name'] === name,
      );
      lossCells(durabilityOf(inputs, scheme), formatBytes).forEach((text, i) => {
        const cell = row?.querySelectorAll('td')[i];
        if (cell) cell.textContent = text;
      });
    }
    const disks = document.getElementById('of-disks');
    if (disks) disks.textContent = String(inputs.disks);
  });
}

export const LOSS_FUNCTIONS: readonly ((...args: never[]) => unknown)[] = [
  formatChance,
  lostCells,
  rereadCells,
  lossCells,
  readInputs,
  startLosses,
];
