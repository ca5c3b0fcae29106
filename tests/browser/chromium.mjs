/**
 * Starts Debian's chromium through playwright-core, which sdk/js installs (`npm ci` there).
 *
 * Every start has a fresh profile that Playwright makes and removes. CHROMIUM names another browser binary.
 */
import { createRequire } from 'node:module';

const require = createRequire(new URL('../../sdk/js/package.json', import.meta.url));
const { chromium } = require('playwright-core');

const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
  '--disable-sync', '--autoplay-policy=no-user-gesture-required', '--mute-audio',
];

export function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', headless: true, args: FLAGS });
}
