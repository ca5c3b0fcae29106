/**
 * Asks the page why, as a person without a mouse does, and as one with a mouse does.
 *
 * usage: node tests/browser/explain.mjs URL OUT.png [--token TOKEN] [--dark] [--timeout-s 60]
 *
 * With a token it is asked for one, gives a wrong one first, and stops once the page is open. Prints JSON: what was said.
 * Exit status 1 if the page threw or logged an error (but that it was refused where a token is asked for).
 */
import { parseArgs } from 'node:util';
import { launch } from './chromium.mjs';

const { positionals: [url, out], values } = parseArgs({
  allowPositionals: true,
  options: { token: { type: 'string' }, dark: { type: 'boolean', default: false }, 'timeout-s': { type: 'string', default: '60' } },
});
const browser = await launch();
const complaints = [];
const said = {};
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, colorScheme: values.dark ? 'dark' : 'light' });
  page.setDefaultTimeout(Number(values['timeout-s']) * 1000);
  page.on('pageerror', (error) => complaints.push(`page error: ${error.message}`));
  page.on('console', (message) => {
    if (message.type() === 'error' && !(values.token && message.text().includes('401'))) complaints.push(message.text());
  });
  await page.goto(url, { waitUntil: 'load' });
  if (values.token) await open(page); else await explain(page);
  await page.screenshot({ path: out });
} finally {
  await browser.close();
}
console.log(JSON.stringify(said));
for (const complaint of complaints) console.error(complaint);
process.exitCode = complaints.length ? 1 : 0;

async function open(page) {
  await page.waitForSelector('#token[open]');
  said.asked = await page.textContent('#token p');
  await page.keyboard.type('tocsin_00000000_wrong');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.querySelector('#token[open] p')?.textContent.includes('not known'));
  said.refused = await page.textContent('#token p');
  await page.keyboard.type(values.token);
  await page.keyboard.press('Enter');
  await page.waitForSelector('.charts .main-svg');
  said.open = await page.textContent('aside h2');
}

async function explain(page) {
  const link = page.locator('.why:not([hidden])').first();
  await link.waitFor();
  for (let presses = 0; presses < 40 && !(await link.evaluate((node) => node === document.activeElement)); presses += 1) {
    await page.keyboard.press('Tab');
  }
  said.now = await page.textContent('main');
  await page.keyboard.press('Enter');
  await page.waitForSelector('.card.below');
  said.keyboard = await page.textContent('main');
  await page.goBack();
  const chart = page.locator('.charts .card:first-child .chart');
  await chart.locator('.main-svg').first().waitFor();
  const plot = await chart.locator('.nsewdrag').boundingBox();
  for (let x = plot.width - 2; x > 0 && !page.url().includes('#/explain/'); x -= 4) {
    await page.mouse.move(plot.x + x, plot.y + plot.height / 2);
    await page.mouse.click(plot.x + x, plot.y + plot.height / 2);
  }
  await page.waitForSelector('.card.below');
  said.mouse = await page.textContent('main');
}
