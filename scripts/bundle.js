// SPDX-License-Identifier: Apache-2.0
// bundle.js TREE NODE CACHE BY: puts the program into TREE as a package brings it: all of src in one file
// (dist), and the binaries.
// NODE: the Node that runs it once it is installed. CACHE: where V8 keeps what it has compiled. BY: what
// "pars --version" says of how it was installed. Prints the licences of what is bundled.
import { chmod, cp, mkdir, readFile, writeFile } from 'node:fs/promises';
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

const builtin = createRequire(import.meta.url);

/** @returns {Promise<Package>} */
async function packageIn(directory) {
  return /** @type {Package} */ (JSON.parse(await readFile(join(directory, 'package.json'), 'utf8')));
}

/** Loads each of those modules when something of it is used, not when it is imported. */
const lazyModules = {
  name: 'lazy-modules',
  setup(bundler) {
    bundler.onResolve({ filter: new RegExp(`^(node:)?(${HEAVY.join('|')})$`) }, ({ path }) => ({
      path: path.replace(/^node:/, ''),
      namespace: 'lazy',
    }));
    bundler.onLoad({ filter: /.*/, namespace: 'lazy' }, ({ path }) => {
      const names = Object.keys(builtin(`node:${path}`)).filter((name) => /^\w+$/.test(name));
      const load = `process.getBuiltinModule(${JSON.stringify(path)})`;
      const getters = names.map((name) => `get ${name}() { return ${load}.${name}; }`);
      const all = ['__esModule: true', `get default() { return ${load}; }`, ...getters];
      return { contents: `module.exports = { ${all.join(', ')} };` };
    });
  },
};

const { metafile } = await build({
  entryPoints: { main: 'src/cli.ts' },
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
  plugins: [lazyModules],
  metafile: true,
});

// What starts it is named as in a build, for the hook calls it by that name.
const starter = `#!${node}
require('node:module').enableCompileCache(${JSON.stringify(cache)});
require('./main.cjs');
`;
await writeFile(join(tree, 'dist/cli.js'), starter);
await chmod(join(tree, 'dist/cli.js'), 0o755);
const main = join(tree, 'dist/main.cjs');
await writeFile(main, (await readFile(main, 'utf8')).replace(/^#!.*\n/, ''), { mode: 0o644 });
await chmod(main, 0o644);

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
