// SPDX-License-Identifier: Apache-2.0
import tseslint from 'typescript-eslint';

/**
 * The rooms of src, in the order data goes through them: each knows only those before it. What lies in src
 * itself is known to all.
 */
const ROOMS = [
  'system',
  'policy',
  'webhdfs',
  'libvirt',
  'reader',
  'stores',
  'snapshot',
  'image',
  'journal',
  'health',
  'report',
  'lifecycle',
  'status',
  'queue',
  'install',
  'doctor',
  'ui',
  'cli',
  'commands',
];

const forbid = (files, ...patterns) => ({
  files,
  rules: {
    'no-restricted-imports': [
      'error',
      { patterns: patterns.map(([regex, message]) => ({ regex, message })) },
    ],
  },
});

const rooms = ROOMS.slice(0, -2).map((room, i) =>
  forbid(
    [`src/${room}/**/*.ts`],
    [`^(\\.\\./)+(${ROOMS.slice(i + 1).join('|')})/`, `"${room}" comes before them: data goes one way`],
  ),
);

export default tseslint.config(
  { ignores: ['dist/', 'build/', 'node_modules/'] },
  ...tseslint.configs.recommended,
  {
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      'max-lines': ['error', { max: 400 }],
    },
  },
  { ...forbid(['src/*.ts'], ['^\\./.*/', 'what every room knows knows no room']), ignores: ['src/cli.ts'] },
  // Test files tell many small stories one after the other.
  { files: ['test/**/*.ts'], rules: { 'max-lines': ['error', { max: 550 }] } },
  ...rooms,
  forbid(['src/commands/*.ts'], ['^\\./', 'no command imports another: what two need lies in cli or below']),
  forbid(
    ['src/webhdfs/**/*.ts'],
    ['^\\.\\./', 'the WebHDFS client is usable without the rest: it knows its own folder only'],
  ),
);
