// SPDX-License-Identifier: Apache-2.0
/** Calls that people make, for the help and the manual: by the words of the command. */

export interface Example {
  call: string;
  /** What it does; empty where the call says it. */
  what: string;
}

const SAVE = '/var/lib/libvirt/qemu/save/web.save';
const SNAPSHOT = '8f14e45f';

const EXAMPLES: Record<string, readonly (readonly [call: string, what: string])[]> = {
  report: [
    [`pars report ${SAVE}`, 'what one image holds, and what each policy would store of it'],
    ['pars report --all', 'every managed save of this host, a line each'],
    [`pars report --html web.html ${SAVE}`, 'the same as a page'],
    ['pars report --domain web', 'a running guest, without saving it'],
  ],
  explain: [[`pars explain ${SAVE} --page 0x1f400000`, 'why the page at this address has its class']],
  plan: [
    ['pars plan', 'all running guests'],
    ['pars plan web db', 'only these'],
  ],
  init: [
    ['pars init --store local:/srv/d1,/srv/d2,/srv/d3', 'three disks of this host'],
    ['pars init --store webhdfs://nn1:9870,nn2:9870/pars --policy lean', 'a directory in HDFS'],
    ['pars init', 'asks for what it needs to know'],
  ],
  doctor: [['pars doctor', '']],
  offload: [
    [`pars offload ${SAVE}`, 'one image'],
    ['pars offload --pending', 'everything that waits to be offloaded'],
    [`pars offload --keep-local ${SAVE}`, 'store it, and leave the image as it is'],
  ],
  save: [['pars save web /srv/saves/web.save', '']],
  managedsave: [['pars managedsave web', '']],
  watch: [
    ['pars watch', 'the managed saves, and the directories under "watch" in pars.yaml'],
    ['pars watch /srv/saves', 'this directory'],
  ],
  checkpoint: [['pars checkpoint web', '']],
  checkpoints: [['pars checkpoints web', '']],
  rollback: [
    ['pars rollback web', 'to the newest checkpoint'],
    ['pars rollback web pars-20261130T071500Z', 'to one that "pars checkpoints web" lists'],
  ],
  drain: [['pars drain --deadline 5m', 'before the host goes down; lists what is left after five minutes']],
  hydrate: [[`pars hydrate ${SAVE}`, 'the stub is an image again']],
  wake: [
    ['pars wake web', 'before "virsh start web"'],
    ['pars wake --all --starting', 'at a boot: the guests that this host is about to start'],
  ],
  cancel: [['pars cancel web', 'ends the refill that a start of this guest waits for']],
  restore: [
    [`pars restore ${SNAPSHOT} --to /srv/web.save`, 'the image alone'],
    [`pars restore ${SNAPSHOT} --define`, 'the guest, on a host that has its disks'],
    [`pars restore ${SNAPSHOT} --as-managed-save`, 'the managed save that a guest of this host lost'],
  ],
  list: [
    ['pars list', 'all snapshots'],
    [`pars list ${SNAPSHOT}`, 'those whose name begins with this'],
  ],
  show: [[`pars show ${SNAPSHOT}`, '']],
  verify: [
    ['pars verify', 'read everything'],
    ['pars verify --percent 10', 'a tenth, for a daily timer'],
    [`pars verify --repair ${SNAPSHOT}`, 'reads one snapshot, and makes its missing copies again'],
  ],
  rm: [
    [`pars rm ${SNAPSHOT}`, 'say what would be removed'],
    [`pars rm --yes ${SNAPSHOT}`, 'remove it'],
  ],
  prune: [
    ['pars prune', 'say what would be removed, and why'],
    ['pars prune --yes', 'remove it'],
  ],
  takeover: [[`pars takeover ${SNAPSHOT}`, 'once you are certain that the other host is down']],
  status: [
    ['pars status', ''],
    ['pars status --json', 'for monitoring; the exit code alone is enough'],
  ],
  metrics: [
    ['pars metrics', 'print them'],
    ['pars metrics --write', 'write them to the configured file'],
  ],
  'store init': [
    ['pars store init', 'the store in /etc/pars/pars.yaml'],
    ['pars store init --replace /srv/d2', 'an empty disk in place of one that died'],
  ],
  'store status': [['pars store status', '']],
  'hooks install': [['pars hooks install', '']],
  'hooks uninstall': [['pars hooks uninstall', '']],
};

export function examplesOf(words: readonly string[]): Example[] {
  return (EXAMPLES[words.join(' ')] ?? []).map(([call, what]) => ({ call, what }));
}

/** For the end of --help: a call a line, and under it what it does. */
export function exampleText(words: readonly string[]): string {
  const lines = examplesOf(words).map(({ call, what }) => `  ${call}${what === '' ? '' : `\n      ${what}`}`);
  return lines.length === 0 ? '' : `\nExample${lines.length === 1 ? '' : 's'}:\n${lines.join('\n')}`;
}
