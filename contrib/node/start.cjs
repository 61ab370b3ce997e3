// SPDX-License-Identifier: Apache-2.0
'use strict';
/**
 * The program as a package brings it begins here: the file of the command is run from what V8 compiled of it
 * last time. Node keeps such a cache too, but without the functions that are compiled when they are called,
 * and those are most of a start. bundle.js puts in the place of @WORDS@ what it knows.
 */
const fs = require('node:fs');
const path = require('node:path');
const { Script, constants } = require('node:vm');

const CACHE = '@CACHE@';
/** Of each file, by the command it is for: V8 itself compares no more than its length. */
const DIGESTS = '@DIGESTS@';

/** What V8 compiled before; nothing unless only root or this user can have written it. */
function compiledBefore(file) {
  let fd;
  try {
    fd = fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW);
    const { uid, mode } = fs.fstatSync(fd);
    return (uid === 0 || uid === process.getuid()) && (mode & 0o022) === 0 ? fs.readFileSync(fd) : undefined;
  } catch {
    // Not there yet, or not for this user: it starts a little later.
    return undefined;
  } finally {
    if (fd !== undefined) fs.closeSync(fd);
  }
}

/** Whole or not at all; whoever may not write there does without. */
function keepCompiled(file, data) {
  const temporary = `${file}.${process.pid}`;
  try {
    fs.mkdirSync(CACHE, { recursive: true, mode: 0o755 });
    fs.writeFileSync(temporary, data, { flag: 'wx', mode: 0o644, flush: true });
    fs.chmodSync(temporary, 0o644);
    fs.renameSync(temporary, file);
  } catch {
    fs.rmSync(temporary, { force: true });
  }
}

function start(command) {
  const name = Object.hasOwn(DIGESTS, command) ? command : 'main';
  const filename = path.join(__dirname, `${name}.cjs`);
  const kept = path.join(CACHE, `${name}-${DIGESTS[name]}-${process.version}-${process.arch}`);
  const cachedData = compiledBefore(kept);
  const text = fs.readFileSync(filename, 'latin1');
  const source = `(function (exports, require, module, __filename, __dirname) {${text}\n})`;
  const script = new Script(source, {
    filename,
    cachedData,
    importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  });
  script.runInThisContext()(exports, require, module, filename, __dirname);
  if (cachedData === undefined || script.cachedDataRejected)
    process.once('exit', () => keepCompiled(kept, script.createCachedData()));
}

start(process.argv[2] ?? '');
