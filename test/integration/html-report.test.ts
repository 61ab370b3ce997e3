// SPDX-License-Identifier: Apache-2.0
/**
 * The HTML report in a real browser: no error, no request, hover and keys work, nothing overflows, axe-core
 * finds nothing serious.
 */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { renderHtml } from '../../src/ui/html/report-html.js';
import { formatBytes, formatCount } from '../../src/ui/units.js';
import { EVIL, richReport } from '../support/rich-report.js';

const CHROMIUM = process.env['PARS_CHROMIUM'] ?? '/usr/bin/chromium';
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const VIEWS = [1280, 400].flatMap((width) =>
  (['light', 'dark'] as const).map((colorScheme) => ({ width, colorScheme })),
);

describe('the HTML report in Chromium', () => {
  let directory: string;
  let browser: Browser;
  let url: string;
  const report = richReport();

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'pars-html-'));
    await writeFile(join(directory, 'report.html'), renderHtml(report, new Date()));
    url = pathToFileURL(join(directory, 'report.html')).href;
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
  }, 300_000);
  afterAll(async () => {
    await browser?.close();
    await rm(directory, { recursive: true, force: true });
  });

  async function open(view: (typeof VIEWS)[number]): Promise<{ page: Page; complaints: string[] }> {
    const page = await browser.newPage({
      viewport: { width: view.width, height: 900 },
      colorScheme: view.colorScheme,
      bypassCSP: false,
    });
    const complaints: string[] = [];
    page.on('console', (message) => complaints.push(message.text()));
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on(
      'request',
      (request) =>
        request.url() !== url
        && !request.url().startsWith('data:')
        && complaints.push(`asked for ${request.url()}`),
    );
    await page.goto(url);
    return { page, complaints };
  }

  test.each(VIEWS)(
    'at $width px, $colorScheme',
    async (view) => {
      const { page, complaints } = await open(view);
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(view.width);
      if (view.width < 500) expect(await page.evaluate(tablesCutOff)).toEqual([]);
      expect(await page.textContent('h1')).toContain(`</script><img src=x onerror=alert(1)>`);
      expect(await drawnColours(page)).toBeGreaterThan(8);

      const box = (await page.locator('#map').boundingBox()) ?? { width: 0, height: 0 };
      const tips = new Set<string>();
      for (const y of [2, box.height / 2, box.height - 3]) {
        await page.hover('#map', { position: { x: box.width / 3, y } });
        tips.add((await page.textContent('#tip')) ?? '');
      }
      expect(tips.size).toBe(3);
      for (const tip of tips)
        expect(tip).toMatch(
          /^0x[0-9a-f]+ \u2013 0x[0-9a-f]+ \([\d.]+ [KM]iB\): (mostly )?[a-z-]+, (critical|expendable)$/,
        );
      expect([...tips].at(-1)).toMatch(/^0x1[0-9a-f]{8} /);

      if (process.env['PARS_SCREENSHOTS'])
        await page.screenshot({
          path: join(process.env['PARS_SCREENSHOTS'], `report-${view.width}-${view.colorScheme}.png`),
          fullPage: true,
        });
      await page.evaluate(AXE);
      const violations = await page.evaluate(async () =>
        (
          await (
            globalThis as unknown as {
              axe: {
                run(): Promise<{ violations: { id: string; impact: string; nodes: { html: string }[] }[] }>;
              };
            }
          ).axe.run()
        ).violations.map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes[0]?.html ?? ''}`),
      );
      expect(violations.filter((line) => /^(serious|critical)/.test(line))).toEqual([]);
      expect(complaints).toEqual([]);
      await page.close();
    },
    300_000,
  );

  test(
    'by keyboard: the map says where the cursor is, a class can be seen alone, the inputs change the '
      + 'losses',
    async () => {
      const { page, complaints } = await open({ width: 1280, colorScheme: 'light' });
      await page.focus('#map');
      await page.keyboard.press('Home');
      expect(await page.textContent('#where')).toMatch(/^0x0 /);
      await page.keyboard.press('End');
      expect(await page.textContent('#where')).toContain(`\u2013 0x${(2 ** 32 + 2 ** 31 - 1).toString(16)} `);

      const before = await picture(page);
      await page.focus('button[data-class="anon"]');
      await page.keyboard.press('Enter');
      expect(await page.getAttribute('button[data-class="anon"]', 'aria-pressed')).toBe('true');
      expect(await picture(page)).not.toBe(before);

      const cell = page.locator('#losses tbody tr[data-name="lean"] td').nth(3);
      const odds = await cell.textContent();
      await page.fill('#afr', '30');
      await expect.poll(() => cell.textContent()).not.toBe(odds);
      await page.fill('#disks', '2');
      await expect.poll(() => cell.textContent()).toBe('too few disks');
      await page.fill('#disks', '0');
      expect(await cell.textContent()).toBe('too few disks');
      expect(complaints).toEqual([]);
      await page.close();
    },
    300_000,
  );

  test('its tables say what the report says', async () => {
    const { page } = await open({ width: 1280, colorScheme: 'light' });
    const text = (await page.textContent('main')) ?? '';
    const row = async (name: string): Promise<string> =>
      (await page
        .locator('section[aria-labelledby="h-policies"] tr', { has: page.locator('th', { hasText: name }) })
        .first()
        .textContent()) ?? '';
    for (const { pages, rawBytes } of Object.values(report.classes))
      for (const figure of [formatCount(pages), formatBytes(rawBytes)]) expect(text).toContain(figure);
    for (const name of Object.keys(report.policies))
      expect(await row(name)).toContain(formatBytes(report.policies[name]?.storedBytes ?? NaN));
    expect(await row('3 \u00d7 image')).toContain(formatBytes(report.natives.threeCopies));
    expect(await row('RS-6-3 image')).toContain(formatBytes(report.natives.rs63));
    expect(text).toContain(`/srv/www/${EVIL.split('\u001b')[0] ?? ''}`);
    await page.close();
  }, 300_000);

  test('a running guest is called an estimate; one that was not introspected says why', () => {
    expect(renderHtml(richReport({ source: 'domain' }), new Date())).toContain('Estimates.');
    const blind = richReport();
    blind.guest = { introspected: false, kernel: null, reason: 'no vCPU runs a <Linux> kernel' };
    expect(renderHtml(blind, new Date())).toContain('no vCPU runs a &#60;Linux&#62; kernel');
  });
});

/** How many different colours the map has now. */
async function drawnColours(page: Page): Promise<number> {
  return page.evaluate(() => {
    const canvas = document.getElementById('map') as HTMLCanvasElement;
    const pixels = new Uint32Array(
      canvas.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height).data.buffer
        ?? new ArrayBuffer(0),
    );
    return new Set(pixels).size;
  });
}

async function picture(page: Page): Promise<string> {
  return page.evaluate(() => (document.getElementById('map') as HTMLCanvasElement).toDataURL());
}

/** Captions of tables that are wider than what shows them. */
function tablesCutOff(): string[] {
  return [...document.querySelectorAll<HTMLElement>('.scroll')]
    .filter(({ scrollWidth, clientWidth }) => scrollWidth > clientWidth)
    .map((one) => one.getAttribute('aria-label') ?? '');
}
