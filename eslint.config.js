import tseslint from 'typescript-eslint';

/** Data goes one way: nouns know stores and nouns, commands know all; faces only show. */
const forbid = (files, ...patterns) => ({
  files,
  rules: { 'no-restricted-imports': ['error', { patterns: patterns.map(([regex, message]) => ({ regex, message })) }] },
});

const commands = ['/(commands|cli)/|/cli\\.js$', 'only the command line knows commands'];
const faces = ['/faces/', 'nouns do not know how they are shown'];
const orchestration = ['^\\.\\./(offload|restore|hydrate|hook|report|snapshots|config)', 'stores know nothing of what is built on them'];

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
  { ...forbid(['src/*.ts'], commands, faces), ignores: ['src/cli.ts'] },
  forbid(['src/stores/**/*.ts'], commands, faces, orchestration),
  forbid(['src/faces/**/*.ts'], commands),
  forbid(['src/webhdfs/**/*.ts'], ['^\\.\\./', 'the WebHDFS client is usable without the rest: it knows its own folder only']),
);
