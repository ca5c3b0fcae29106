/**
 * Opens the player page, waits until the playback has come to its end (or to a playhead), leaves the page and prints
 * the page's own record of it as one line of JSON. The browser stays open until standard input ends: a last heartbeat
 * may still be on its way.
 *
 * usage: node play.mjs URL [--leave-at SECONDS] [--timeout-s N]
 */
import { parseArgs } from 'node:util';
import { once } from 'node:events';
import { launch } from './chromium.mjs';

const { positionals: [url], values } = parseArgs({
  allowPositionals: true,
  options: { 'leave-at': { type: 'string' }, 'timeout-s': { type: 'string', default: '90' } },
});
const leave_at_s = values['leave-at'] ? Number(values['leave-at']) : null;

const browser = await launch();
try {
  const page = await browser.newPage();
  await page.goto(url);
  const over = (leave_s) => window.truth.events.some(({ type }) => type === 'ended' || type === 'error')
    || (leave_s !== null && document.getElementById('video').currentTime >= leave_s);
  await page.waitForFunction(over, leave_at_s, { timeout: Number(values['timeout-s']) * 1000, polling: 50 });
  const truth = await page.evaluate(() => ({ ...window.truth, left_ms: performance.now() }));
  await page.goto('about:blank'); // pagehide: the page's last heartbeat goes out here
  console.log(JSON.stringify({ ...truth, browser: browser.version() }));
  process.stdin.resume();
  await once(process.stdin, 'end');
} finally {
  await browser.close();
}
