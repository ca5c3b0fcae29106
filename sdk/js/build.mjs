/**
 * Builds dist/tocsin.min.js (a classic script, global `Tocsin`) and says its size; fails above the budget.
 *
 * usage: node build.mjs [--check]    --check only measures and writes nothing
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const BUDGET_BYTES = 6000;
// Names of the reducer's and the queue's own state: they are in no heartbeat and in no interface, so they may be shortened.
const INTERNAL = /^(closed_t|begun|started|by_watchdog|pending_ms|fatal_ms|picture_t|frozen_ms|told|pictures|av_ms|jump_s|terminal)$/;
const at = (path) => fileURLToPath(new URL(path, import.meta.url));

const { outputFiles } = await build({
  entryPoints: [at('tocsin.js')], bundle: true, minify: true, format: 'iife', globalName: 'Tocsin', target: 'es2020', write: false,
  mangleProps: INTERNAL,
});
const script = outputFiles[0].contents;
const gzip_bytes = gzipSync(script, { level: 9 }).length;
if (!process.argv.includes('--check')) {
  mkdirSync(at('dist'), { recursive: true });
  writeFileSync(at('dist/tocsin.min.js'), script);
}
console.log(JSON.stringify({ min_bytes: script.length, gzip_bytes, budget_bytes: BUDGET_BYTES }));
if (gzip_bytes > BUDGET_BYTES) {
  console.error(`tocsin.min.js is ${gzip_bytes} bytes min+gzip, over its budget of ${BUDGET_BYTES}: take something out`);
  process.exitCode = 1;
}
