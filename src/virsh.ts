/** libvirt's own client, on the system's libvirt. Never from a hook: libvirt waits for those, and would wait for itself. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

export const LIBVIRT_URI = 'qemu:///system';
const MAX_OUTPUT_BYTES = 64 << 20;

/** Runs one command of virsh and gives what it prints; a failure is execFile's, with its words in English. */
export async function runVirsh(args: readonly string[], { timeoutMs = 0 }: { timeoutMs?: number } = {}): Promise<string> {
  const options = { timeout: timeoutMs, maxBuffer: MAX_OUTPUT_BYTES, env: { ...process.env, LC_ALL: 'C' } };
  return (await promisify(execFile)('virsh', ['-q', '-c', LIBVIRT_URI, ...args], options)).stdout;
}
