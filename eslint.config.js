// SPDX-License-Identifier: Apache-2.0
import tseslint from 'typescript-eslint';

/**
 * The layers of src, in the order data goes through them: each knows only those before it. What lies in src
 * itself is known to all.
 */
const LAYERS = [
  'system',
  'policy',
  'webhdfs',
  'libvirt',
  'disks',
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
  'program',
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

const layers = LAYERS.slice(0, -1).map((layer, i) =>
  forbid(
    [`src/${layer}/**/*.ts`],
    [`^(\\.\\./)+(${LAYERS.slice(i + 1).join('|')})/`, `"${layer}" comes before them: data goes one way`],
  ),
);

/**
 * A failure that nobody looks at is how "could not look" becomes "nothing there". What may be passed over
 * has a name: ifThere and
 * isThere in src/system/absence.ts, bestEffort and awaitedElsewhere in src/system/best-effort.ts.
 */
const UNHEARD = [
  ['CatchClause[param=null]', 'bind the error and look at it'],
  [
    "CallExpression[callee.property.name='catch'] > ArrowFunctionExpression[params.length=0]",
    'look at the error: ifThere for what may be absent, bestEffort for what may fail',
  ],
  [
    "CallExpression[callee.property.name='then'] > "
      + 'ArrowFunctionExpression.arguments:nth-child(2)[params.length=0]',
    'look at the error: isThere for what may be absent',
  ],
  ["ImportSpecifier[imported.name='existsSync']", 'it says no of what may not be looked at: isThere'],
].map(([selector, message]) => ({ selector, message }));

export default tseslint.config(
  { ignores: ['dist/', 'build/', 'node_modules/'] },
  ...tseslint.configs.recommendedTypeChecked,
  {
    languageOptions: {
      parserOptions: {
        projectService: { allowDefaultProject: ['*.js', 'scripts/*.js', 'contrib/node/*.cjs'] },
        tsconfigRootDir: import.meta.dirname,
      },
    },
  },
  {
    rules: {
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      // What a caller gives as `this` is never needed: the interfaces here are of functions, not of methods.
      '@typescript-eslint/unbound-method': 'off',
      // An interface that another implementation answers slowly is async in this one, too.
      '@typescript-eslint/require-await': 'off',
      // What was caught in one place is thrown in another, and nobody can know its type.
      '@typescript-eslint/only-throw-error': 'off',
      'max-lines-per-function': ['error', { max: 60, skipComments: true }],
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      'max-lines': ['error', { max: 400 }],
    },
  },
  { ...forbid(['src/*.ts'], ['^\\./.*/', 'what every layer knows knows no layer']), ignores: ['src/cli.ts'] },
  { files: ['*.js', '*.ts', 'scripts/*.js', 'contrib/node/*.cjs'], ...tseslint.configs.disableTypeChecked },
  // A script of the older kind starts in half the time.
  { files: ['contrib/node/*.cjs'], rules: { '@typescript-eslint/no-require-imports': 'off' } },
  // Test files tell many small stories one after the other, and look into answers whose shape they assert.
  {
    files: ['test/**/*.ts'],
    rules: {
      'max-lines-per-function': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-call': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
    },
  },
  { files: ['src/**/*.ts'], rules: { 'no-empty': 'error', 'no-restricted-syntax': ['error', ...UNHEARD] } },
  ...layers,
  forbid(
    ['src/commands/*.ts'],
    ['^\\./', 'no command imports another: what two need lies in cli or below'],
    ['^\\.\\./program/', 'the program loads its commands, not they it'],
  ),
  forbid(
    ['src/webhdfs/**/*.ts'],
    ['^\\.\\./', 'the WebHDFS client is usable without the rest: it knows its own folder only'],
  ),
);
