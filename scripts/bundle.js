// SPDX-License-Identifier: Apache-2.0
// bundle.js TREE NODE CACHE BY: puts the program into TREE as a package brings it: all of src in one file
// (dist), what some commands need of it in files of their own, and the binaries.
// NODE: the Node that runs it once it is installed. CACHE: where V8 keeps what it has compiled. BY: what
// "pars --version" says of how it was installed. Prints the licences of what is bundled.
import { chmod, cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { build } from 'esbuild';

const [tree, node, cache, by] = process.argv.slice(2);
/**
 * What is read of a package.json.
 * @typedef {{ name: string, version: string, license: string }}
 * Package
 */

/** Modules of Node that take long to load and that most commands never call. */
const HEAVY = ['child_process', 'crypto', 'http', 'https', 'net', 'stream', 'tls', 'zlib'];

/** Libraries that few commands call. */
const RARE = ['@xmldom/xmldom', 'cli-progress'];
/** Commands that people and monitoring wait for: each in a file that holds what it needs. */
const OWN = ['report', 'status'];

const requireHere = createRequire(import.meta.url);

/** @returns {Promise<Package>} */
async function packageIn(directory) {
  return /** @type {Package} */ (JSON.parse(await readFile(join(directory, 'package.json'), 'utf8')));
}

/** A module that loads another one when something of it is used, not when it is imported. */
function lazily(names, load) {
  const getters = names
    .filter((name) => /^\w+$/.test(name) && name !== 'default' && name !== '__esModule')
    .map((name) => `get ${name}() { return ${load}.${name}; }`);
  const all = ['__esModule: true', `get default() { return ${load}; }`, ...getters];
  return { contents: `module.exports = { ${all.join(', ')} };`, resolveDir: '.' };
}

const lazyModules = {
  name: 'lazy-modules',
  setup(bundler) {
    bundler.onResolve({ filter: new RegExp(`^(node:)?(${HEAVY.join('|')})$`) }, ({ path }) => ({
      path: path.replace(/^node:/, ''),
      namespace: 'lazy',
    }));
    bundler.onLoad({ filter: /.*/, namespace: 'lazy' }, ({ path }) =>
      lazily(Object.keys(requireHere(`node:${path}`)), `process.getBuiltinModule(${JSON.stringify(path)})`),
    );
    bundler.onResolve({ filter: new RegExp(`^(${RARE.join('|')})$`) }, ({ path, namespace }) =>
      namespace === 'file' ? { path, namespace: 'lazy-library' } : undefined,
    );
    bundler.onLoad({ filter: /.*/, namespace: 'lazy-library' }, ({ path }) =>
      lazily(Object.keys(requireHere(path)), `require(${JSON.stringify(path)})`),
    );
  },
};

/** Leaves all commands out but one. */
const only = (command) => ({
  name: 'only',
  setup(bundler) {
    bundler.onResolve({ filter: /\/commands\/[a-z-]+\.js$/ }, ({ path }) =>
      path.endsWith(`/${command}.js`) ? undefined : { path, namespace: 'left-out' },
    );
    bundler.onLoad({ filter: /.*/, namespace: 'left-out' }, ({ path }) => ({
      contents: `throw new Error(${JSON.stringify(`${path} is in main.cjs`)});`,
    }));
  },
});

const bundled = (name, plugins) =>
  build({
    entryPoints: { [name]: 'src/cli.ts' },
    outdir: join(tree, 'dist'),
    outExtension: { '.js': '.cjs' },
    bundle: true,
    // One file of the older kind starts in half the time of many of the newer.
    format: 'cjs',
    platform: 'node',
    target: 'node20',
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'none',
    external: ['kerberos'],
    define: { 'import.meta.url': 'importMetaUrl' },
    banner: { js: "const importMetaUrl = require('node:url').pathToFileURL(__filename).href;" },
    plugins: [lazyModules, ...plugins],
    metafile: true,
  });

const { metafile } = await bundled('main', []);
for (const command of OWN) await bundled(command, [only(command)]);

// Characters beyond ASCII are escaped in it.
const digests = {};
for (const name of ['main', ...OWN]) {
  const file = join(tree, 'dist', `${name}.cjs`);
  const text = (await readFile(file, 'utf8')).replace(/^#!.*\n/, '');
  await writeFile(file, text, { mode: 0o644 });
  await chmod(file, 0o644);
  digests[name] = createHash('sha256').update(text).digest('hex').slice(0, 16);
}
// What starts it is named as in a build, for the hook calls it by that name.
const starter = (await readFile('contrib/node/start.cjs', 'utf8'))
  .replace("'@CACHE@'", JSON.stringify(cache))
  .replace("'@DIGESTS@'", JSON.stringify(digests));
await writeFile(join(tree, 'dist/cli.js'), `#!${node}\n${starter}`);
await chmod(join(tree, 'dist/cli.js'), 0o755);

async function copy(path, mode) {
  await mkdir(dirname(join(tree, path)), { recursive: true });
  await cp(path, join(tree, path), { dereference: true });
  await chmod(join(tree, path), mode);
}

for (const path of ['build/Release/pars.node', 'build/Release/pars-reader', 'hooks/qemu'])
  await copy(path, 0o755);
await copy('contrib/debian/pars.yaml', 0o644);
await copy('LICENSE', 0o644);

const { name, version, license } = await packageIn('.');
const description = { name, version, license, type: 'commonjs', private: true, installedBy: by };
await writeFile(join(tree, 'package.json'), `${JSON.stringify(description, null, 2)}\n`);

/** Names of the packages that are in the bundle or beside it. */
function packagesIn(inputs) {
  const names = inputs.map((path) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1]);
  return [...new Set(names.filter((one) => one !== undefined))].sort();
}

async function licenceOf(name) {
  const from = join('node_modules', name);
  const { license, version } = await packageIn(from);
  for (const file of ['LICENSE', 'LICENSE.md', 'LICENSE.txt', 'LICENSE-MIT.txt', 'license']) {
    const text = await readFile(join(from, file), 'utf8').catch(() => null);
    if (text !== null) return `${name} ${version} (${license})\n\n${text}`;
  }
  return `${name} ${version} (${license})\n`;
}

for (const name of packagesIn(Object.keys(metafile.inputs))) {
  process.stdout.write(`\n--- ${await licenceOf(name)}\n`);
}
