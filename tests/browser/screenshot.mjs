/**
 * Takes a picture of a page, to look at it.
 *
 * usage: node tests/browser/screenshot.mjs URL OUT.png [--width 1280] [--height 800] [--wait-selector CSS] [--dark] [--full] [--timeout-s 20]
 *
 * Exit status 1 if the page threw, logged an error or did not show the selector; what it said goes to stderr.
 */
import { parseArgs } from 'node:util';
import { launch } from './chromium.mjs';

const { positionals: [url, out], values } = parseArgs({
  allowPositionals: true,
  options: {
    width: { type: 'string', default: '1280' }, height: { type: 'string', default: '800' }, 'wait-selector': { type: 'string' },
    dark: { type: 'boolean', default: false }, full: { type: 'boolean', default: false }, 'timeout-s': { type: 'string', default: '20' },
  },
});
if (!url || !out) {
  console.error('usage: node screenshot.mjs URL OUT.png [--width N] [--height N] [--wait-selector CSS] [--dark] [--full] [--timeout-s N]');
  process.exit(2);
}

const browser = await launch();
const complaints = [];
try {
  const page = await browser.newPage({
    viewport: { width: Number(values.width), height: Number(values.height) }, colorScheme: values.dark ? 'dark' : 'light',
  });
  const timeout = Number(values['timeout-s']) * 1000;
  page.on('pageerror', (error) => complaints.push(`page error: ${error.message}`));
  page.on('console', (message) => message.type() === 'error' && complaints.push(`console: ${message.text()}`));
  await page.goto(url, { waitUntil: 'load', timeout });
  if (values['wait-selector']) {
    await page.waitForSelector(values['wait-selector'], { timeout }).catch((error) => complaints.push(error.message));
  }
  await page.screenshot({ path: out, fullPage: values.full });
} finally {
  await browser.close();
}
for (const complaint of complaints) console.error(complaint);
process.exitCode = complaints.length ? 1 : 0;
