#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// picture.js REPORT.html PICTURE.png: the first screen of what "pars report IMAGE --html REPORT.html" has
// written, for the documents. Needs what install-deps --tests brings.
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

const [report, picture] = process.argv.slice(2);
if (report === undefined || picture === undefined) {
  console.error('usage: picture.js REPORT.html PICTURE.png');
  process.exit(2);
}
const browser = await chromium.launch({
  executablePath: process.env['PARS_CHROMIUM'] ?? '/usr/bin/chromium',
  args: ['--no-sandbox'],
});
try {
  const page = await browser.newPage({ viewport: { width: 1000, height: 760 }, colorScheme: 'light' });
  await page.goto(pathToFileURL(resolve(report)).href);
  await page.screenshot({ path: picture });
} finally {
  await browser.close();
}
