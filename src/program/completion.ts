// SPDX-License-Identifier: Apache-2.0
/**
 * The shells' completions, made from the commands as they are registered: subcommands, options, and what an
 * option or an argument takes. Files are offered only where a file belongs.
 */
import { PRESETS } from '../policy/policy.js';
import { shellWord } from '../system/shell-word.js';
import { type Registered, registeredCommands } from './registered.js';
import { GROUPS } from './table.js';

/** What may stand in a place: as a function of the scripts below. */
type Kind = 'policy' | 'guest' | 'snapshot' | 'file' | 'directory' | 'none';

/** By the name that an option's value or an argument has in the help. */
const KINDS: Record<string, Kind> = {
  guest: 'guest',
  domain: 'guest',
  snapshot: 'snapshot',
  beginning: 'snapshot',
  file: 'file',
  image: 'file',
  dir: 'directory',
  directory: 'directory',
};
/** Where the name says too little. */
const BY_OPTION: Record<string, Kind> = { '--policy': 'policy', '--domain': 'guest' };

/** Options that may stand before the command and take a value. */
const BEFORE_COMMAND: [option: string, kind: Kind][] = [
  ['--config', 'file'],
  ['--store', 'none'],
  ['--policy', 'policy'],
];

interface Place {
  /** "pars", "pars store", "pars store init". */
  path: string;
  /** What may stand there in any case. */
  words: string[];
  /** What an argument is, by its number; the last one holds for those after it. */
  args: Kind[];
  /** Options that take a value. */
  values: [option: string, kind: Kind][];
}

async function places(): Promise<Place[]> {
  const { commands } = await registeredCommands();
  const firsts = [...new Set(commands.map(({ entry }) => entry.words[0] ?? ''))];
  const groups = Object.keys(GROUPS).map((group) =>
    place(
      `pars ${group}`,
      commands.filter(({ entry }) => entry.words[0] === group).map(({ entry }) => entry.words[1] ?? ''),
    ),
  );
  const first = place('pars', [...firsts, 'help', '--help', '--version']);
  return [{ ...first, values: BEFORE_COMMAND }, ...groups, ...commands.map(placeOf)];
}

function place(path: string, words: string[]): Place {
  return { path, words, args: [], values: [] };
}

function placeOf({ entry, command }: Registered): Place {
  const options = command.options.map(({ long, flags }) => {
    const name = long ?? '';
    const value = /<(\w[\w-]*)/.exec(flags)?.[1];
    return { name, kind: value === undefined ? null : (BY_OPTION[name] ?? KINDS[value] ?? 'none') };
  });
  return {
    path: `pars ${entry.words.join(' ')}`,
    words: [...options.map(({ name }) => name), '--help'],
    args: command.registeredArguments.map((argument) => KINDS[argument.name()] ?? 'none'),
    values: options.flatMap(({ name, kind }): [string, Kind][] => (kind === null ? [] : [[name, kind]])),
  };
}

/** Both shells understand this: what stands on the line so far, and names from libvirt and the store. */
function common(all: readonly Place[]): string {
  const paths = all.filter(({ path }) => path !== 'pars').map(({ path }) => shellWord(path));
  const withValue = all.flatMap(({ path, values }) =>
    values.map(([option]) => shellWord(`${path} ${option}`)),
  );
  const kinds = all.flatMap(({ path, args, values }) => [
    ...values.map(([option, kind]) => `    ${shellWord(`${path} ${option}`)}) kind=${kind} ;;`),
    ...args.map((kind, i) => {
      const number = i === args.length - 1 ? '*' : String(i);
      return `    ${shellWord(`${path} `)}${number}) kind=${kind} ;;`;
    }),
  ]);
  return `\
# Reads the words before the one at the cursor: sets cmd, kind and with (options that choose a store).
_pars_read() {
  local word option= number=0
  cmd=pars kind=none with=()
  for word; do
    if [[ -n $option ]]; then
      case $option in --config|--store) with+=("$option" "$word") ;; esac
      option=
      continue
    fi
    case "$cmd $word" in
      ${withValue.join('|')}) option=$word ;;
      ${paths.join('|')}) cmd="$cmd $word" ;;
      *' -'*) ;;
      *) number=$((number + 1)) ;;
    esac
  done
  case "$cmd \${option:-$number}" in
${kinds.join('\n')}
  esac
  in_option=$option
}
_pars_guests() { virsh -q -c qemu:///system list --all --name 2>/dev/null; }
_pars_snapshots() {
  timeout 3 pars list --json "$@" 2>/dev/null | grep -o '"snapshot": *"[^"]*"' | cut -d '"' -f 4
}
_pars_words() {
  case "$1" in
${all.map(({ path, words }) => `    ${shellWord(path)}) echo ${shellWord(words.join(' '))} ;;`).join('\n')}
  esac
}
`;
}

/** For /usr/share/bash-completion/completions/pars. */
export async function bashCompletion(): Promise<string> {
  return `# bash completion for pars
${common(await places())}_pars() {
  local cmd kind in_option with current=\${COMP_WORDS[COMP_CWORD]} found=
  _pars_read "\${COMP_WORDS[@]:1:COMP_CWORD-1}"
  case $kind in
    policy) found="${PRESETS.join(' ')}" ;;
    guest) found=$(_pars_guests) ;;
    snapshot) found=$(_pars_snapshots "\${with[@]}") ;;
    file) found=$(compgen -f -- "$current") ;;
    directory) found=$(compgen -d -- "$current") ;;
  esac
  [[ -n $in_option || $current != -* && $cmd != pars && $kind != none ]] || {
    kind=none
    found=$(_pars_words "$cmd")
  }
  local IFS=$' \\t\\n'
  case $kind in file | directory) IFS=$'\\n' ;; esac
  mapfile -t COMPREPLY < <(compgen -W "$found" -- "$current")
  case $kind in file | directory) compopt -o filenames 2>/dev/null ;; esac
}
complete -F _pars pars
`;
}

/** For /usr/share/zsh/vendor-completions/_pars. */
export async function zshCompletion(): Promise<string> {
  return `#compdef pars
${common(await places())}_pars() {
  local cmd kind in_option
  local -a with
  _pars_read "\${(@)words[2,CURRENT-1]}"
  if [[ -z $in_option && ( $PREFIX == -* || $cmd == pars || $kind == none ) ]]; then
    compadd -- \${=$(_pars_words "$cmd")}
    return
  fi
  case $kind in
    policy) compadd -- ${PRESETS.join(' ')} ;;
    guest) compadd -- \${(f)"$(_pars_guests)"} ;;
    snapshot) compadd -- \${(f)"$(_pars_snapshots "\${with[@]}")"} ;;
    file) _files ;;
    directory) _files -/ ;;
  esac
}
_pars "$@"
`;
}
