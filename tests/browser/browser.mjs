// Chromium, and pages that are watched: whatever a page does beyond its own node, against its policy or by mistake fails its test.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';

// The reason to skip, or false.
export const withoutChromium = existsSync(CHROMIUM) ? false : `there is no Chromium at ${CHROMIUM}; set CHROMIUM`;

export async function startBrowser() {
  return chromium.launch({
    executablePath: CHROMIUM,
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'],
  });
}

// `allowed`: console errors that this test provokes, such as a 404 it asks for.
export async function visit(browser, origin, path, { width = 1280, height = 900, allowed = /^$/, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, reducedMotion: 'reduce', ...options });
  const page = await context.newPage();
  const wrong = [];
  const asked = [];
  page.on('pageerror', (error) => wrong.push(`script: ${error.message}`));
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type()) && !allowed.test(message.text())) wrong.push(`console: ${message.text()}`);
  });
  const watch = (url) => {
    asked.push(url);
    const own = [`${origin}/`, `${origin.replace('http', 'ws')}/`, 'data:', 'blob:'].some((start) => url.startsWith(start));
    if (!own) wrong.push(`left its node: ${url}`);
  };
  page.on('request', (request) => watch(request.url()));
  page.on('websocket', (socket) => watch(socket.url()));
  const response = await page.goto(`${origin}${path}`);
  return {
    page,
    asked,
    response,
    async leave() {
      await context.close();
      assert.deepEqual(wrong, []);
    },
  };
}

export function noSidewaysScroll(page) {
  return page.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth);
}

// Waits until `read` gives what is wanted, and says what it gave instead.
export async function eventually(read, wanted, withinMs = 6000) {
  const end = Date.now() + withinMs;
  for (;;) {
    const value = await read();
    try {
      return assert.deepEqual(value, wanted);
    } catch (error) {
      if (Date.now() > end) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
