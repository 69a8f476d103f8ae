// The test client at /client: each pattern at work, what goes wrong, and who uses no mouse.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { eventually, noSidewaysScroll, startBrowser, visit, withoutChromium } from './browser.mjs';
import { startNode } from './node_of_wrs.mjs';

const card = (page, letter) => page.getByRole('article', { name: `Client ${letter}`, exact: true });
const words = (page, letter, way = 'in') => card(page, letter).locator(`.log .${way} .words`);
const counts = (page) => page.locator('#spread .count').allTextContents();

async function create(page, pattern, clients) {
  await page.selectOption('#pattern', pattern);
  await page.getByRole('button', { name: 'Create channel' }).click();
  await eventually(() => page.locator('.card[data-state=open]').count(), clients);
}

async function send(page, letter, text) {
  await card(page, letter).getByLabel('Message', { exact: true }).fill(text);
  await card(page, letter).locator('.send').click();
}

describe('test client', { skip: withoutChromium }, () => {
  let node;
  let browser;
  before(async () => { [node, browser] = await Promise.all([startNode(), startBrowser()]); });
  after(async () => { await browser?.close(); await node?.stop(); });

  test('echo brings a text back and shows its round trip', async () => {
    const { page, leave } = await visit(browser, node.origin, '/client');
    await create(page, 'echo', 1);
    assert.match(await page.textContent('#channel-id'), /^[0-9A-F]{4}-[0-9A-F]{4}$/);
    await send(page, 'A', 'grüße');
    await eventually(() => words(page, 'A').allTextContents(), ['grüße']);
    assert.match(await card(page, 'A').locator('.log .in .trip-time').textContent(), /^[\d.]+ ms$/);
    assert.match(await card(page, 'A').locator('.counters .received').textContent(), /^1 · 7 B$/);
    await leave();
  });

  test('binary goes and comes as binary, typed as hex or from a file', async () => {
    const { page, leave } = await visit(browser, node.origin, '/client');
    await create(page, 'echo', 1);
    await card(page, 'A').locator('.kind').selectOption('hex');
    await send(page, 'A', '00 ff 7e');
    await eventually(() => words(page, 'A').allTextContents(), ['00 ff 7e']);
    assert.equal(await card(page, 'A').locator('.log .in .meta').first().textContent(), 'binary · 3 B');
    await send(page, 'A', '00 f');
    await eventually(() => words(page, 'A', 'bad').count(), 1);
    await card(page, 'A').locator('.kind').selectOption('file');
    await card(page, 'A').locator('.file').setInputFiles({ name: 'x.bin', mimeType: 'application/octet-stream', buffer: Buffer.from([1, 2]) });
    await card(page, 'A').locator('.send').click();
    await eventually(() => words(page, 'A').allTextContents(), ['00 ff 7e', '01 02']);
    await leave();
  });

  test('pub-sub reaches all, and a client that wants no echo gets none', async () => {
    const { page, leave } = await visit(browser, node.origin, '/client');
    await create(page, 'pub-sub', 3);
    await send(page, 'A', 'one');
    await eventually(() => counts(page), ['1', '1', '1']);
    await card(page, 'A').getByLabel('gets its own messages').uncheck();
    await eventually(() => page.locator('.card[data-state=open]').count(), 3);
    await send(page, 'A', 'two');
    await eventually(() => counts(page), ['1', '2', '2']);
    await leave();
  });

  test('push-pull shares the work evenly, and the bars show it', async () => {
    const { page, leave } = await visit(browser, node.origin, '/client');
    await create(page, 'push-pull', 3);
    await card(page, 'A').getByRole('button', { name: 'Send 10' }).click();
    await eventually(() => counts(page), ['0', '5', '5']);
    await page.getByRole('button', { name: 'Add client' }).click();
    await eventually(() => page.locator('.card[data-state=open]').count(), 4);
    await page.getByRole('button', { name: 'Clear' }).click();
    for (let n = 0; n < 3; n += 1) await card(page, 'A').getByRole('button', { name: 'Send 10' }).click();
    await eventually(() => counts(page), ['0', '10', '10', '10']);
    const widths = await page.locator('#spread .fill').evaluateAll((bars) => bars.map((bar) => bar.style.width));
    assert.deepEqual(widths, ['0%', '100%', '100%', '100%']);
    await leave();
  });

  test('req-repl: all others answer the one that asked, by themselves or by hand', async () => {
    const { page, leave } = await visit(browser, node.origin, '/client');
    await create(page, 'req-repl', 3);
    await send(page, 'A', 'who is there?');
    await eventually(async () => (await words(page, 'A').allTextContents()).map((text) => JSON.parse(text).body).sort(),
      ['from B: who is there?', 'from C: who is there?']);
    assert.equal(await card(page, 'A').locator('.log .in .trip-time').count(), 2);
    await send(page, 'B', 'and you?');
    await eventually(() => words(page, 'A').count(), 3);
    await card(page, 'A').getByRole('button', { name: 'Reply' }).click();
    await eventually(async () => (await words(page, 'B').allTextContents()).filter((text) => text.includes('from A: and you?')).length, 1);
    await leave();
  });

  test('fan-in-out: each request goes to one worker in turn and comes back', async () => {
    const { page, leave } = await visit(browser, node.origin, '/client');
    await create(page, 'fan-in-out', 3);
    await card(page, 'A').getByRole('button', { name: 'Send 10' }).click();
    await eventually(() => counts(page), ['0', '5', '5']);
    await eventually(() => card(page, 'A').locator('.log .in .trip-time').count(), 10);
    await card(page, 'A').locator('.kind').selectOption('text');
    await send(page, 'A', 'no envelope');
    await eventually(async () => (await words(page, 'A', 'bad').allTextContents()).map((text) => JSON.parse(text).code), ['malformed']);
    await leave();
  });

  test('a deleted channel shows its close code and what it means', async () => {
    const { page, leave } = await visit(browser, node.origin, '/client', { allowed: /WebSocket connection|status of 404/ });
    await create(page, 'pub-sub', 3);
    await page.getByRole('button', { name: 'Delete channel' }).click();
    await page.getByRole('button', { name: 'Keep it' }).click();
    assert.equal(await page.locator('.card[data-state=open]').count(), 3);
    await page.getByRole('button', { name: 'Delete channel' }).click();
    await page.getByRole('button', { name: 'Delete', exact: true }).click();
    await eventually(() => page.locator('.status').allTextContents(), Array(3).fill('closed 4404: channel deleted'));
    await card(page, 'A').getByRole('button', { name: 'Connect', exact: true }).click();
    await eventually(() => words(page, 'A', 'bad').last().textContent(), 'refused: there is no such channel');
    await leave();
  });

  test('a refused client is told why', async () => {
    const { page, leave } = await visit(browser, node.origin, '/client', { allowed: /WebSocket connection|status of (401|426)/ });
    await page.fill('#client-limit', '2');
    await create(page, 'pub-sub', 2);
    await page.getByRole('button', { name: 'Add client' }).click();
    await eventually(() => words(page, 'C', 'bad').allTextContents(), ['refused: the channel is full (2)']);
    const id = await page.textContent('#channel-id');
    await page.fill('#join-id', id);
    await page.fill('#join-token', 'wrong');
    await page.getByRole('button', { name: 'Join channel' }).click();
    await eventually(() => words(page, 'A', 'bad').allTextContents(), ['refused: wrong token']);
    await leave();
  });

  test('what the node finds wrong with a new channel is shown', async () => {
    const { page, leave } = await visit(browser, node.origin, '/client', { allowed: /status of 400/ });
    await page.fill('#timeout', '9007199254740994');
    await page.getByRole('button', { name: 'Create channel' }).click();
    await eventually(async () => /^400: .*timeout/.test(await page.textContent('#notice')), true);
    await leave();
  });

  test('a link opens a channel, and its token appears in no address', async () => {
    const { id, token } = await node.create('echo');
    const { page, asked, leave } = await visit(browser, node.origin, `/client#id=${id}&token=${token}`);
    await eventually(() => page.locator('.card[data-state=open]').count(), 1);
    assert.equal(page.url(), `${node.origin}/client`);
    assert.ok(asked.some((url) => url.startsWith('ws://') && url.includes(id)));
    assert.deepEqual(asked.filter((url) => url.replace(/#.*/, '').includes(token)), []);
    await leave();
  });

  test('a hostile message is text', async () => {
    const hostile = '<img src=x onerror="window.harmed=1"><script>window.harmed=1</script><b>bold</b>';
    const { page, leave } = await visit(browser, node.origin, '/client');
    await create(page, 'pub-sub', 3);
    await send(page, 'A', hostile);
    await eventually(() => words(page, 'B').allTextContents(), [hostile]);
    assert.equal(await page.locator('.log :is(img, script, b)').count(), 0);
    assert.equal(await page.evaluate(() => window.harmed), undefined);
    await leave();
  });

  test('a hostile link is text too, and reaches no other resource', async () => {
    const id = encodeURIComponent('../cluster?<img src=x onerror=alert(1)>');
    const { page, asked, leave } = await visit(browser, node.origin, `/client#id=${id}&token=x`, { allowed: /status of 40[04]/ });
    await eventually(async () => (await page.textContent('#notice')).slice(0, 2), '40');
    assert.equal(await page.locator('main img').count(), 0);
    assert.deepEqual(asked.filter((url) => new URL(url).pathname.startsWith('/cluster')), []);
    await leave();
  });

  test('the log keeps its last five hundred lines', async () => {
    const { page, leave } = await visit(browser, node.origin, '/client');
    await create(page, 'echo', 1);
    for (let n = 0; n < 30; n += 1) await card(page, 'A').getByRole('button', { name: 'Send 10' }).click();
    await eventually(async () => (await card(page, 'A').locator('.received').textContent()).split(' ')[0], '300');
    await eventually(() => card(page, 'A').locator('.log li').count(), 500);
    assert.equal(await words(page, 'A').last().textContent(), 'hello from A 10');
    await leave();
  });

  test('everything can be done with the keyboard, and nothing holds it', async () => {
    const { page, leave } = await visit(browser, node.origin, '/client');
    const press = async (key, times = 1) => { for (let n = 0; n < times; n += 1) await page.keyboard.press(key); };
    const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.className || document.activeElement.tagName);
    const tabTo = async (name) => {
      for (let n = 0; n < 60; n += 1) {
        await press('Tab');
        if (await focused() === name) return;
      }
      assert.fail(`Tab does not reach ${name}`);
    };
    await press('Tab');
    assert.equal(await focused(), 'skip');
    await press('Enter');
    assert.equal(await focused(), 'main');
    await tabTo('pattern');
    await page.keyboard.type('echo');
    assert.equal(await page.inputValue('#pattern'), 'echo');
    await tabTo('timeout');
    await page.keyboard.type('60000');
    await press('Enter');
    await eventually(() => page.locator('.card[data-state=open]').count(), 1);
    await tabTo('body-A');
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.notEqual(outline, 'none', 'what has the focus shows it');
    await press('Control+a');
    await page.keyboard.type('by hand');
    await press('Enter');
    await eventually(() => words(page, 'A').allTextContents(), ['by hand']);
    await tabTo('log');
    // From the last stop the focus leaves the page, and Shift+Tab walks all the way back.
    await press('Tab');
    assert.notEqual(await focused(), 'log');
    await page.locator('.card .log').focus();
    for (let n = 0; n < 60 && await focused() !== 'skip'; n += 1) await press('Shift+Tab');
    assert.equal(await focused(), 'skip');
    await page.locator('#delete').focus();
    await press('Enter');
    assert.ok(await page.locator('#sure').isVisible());
    await press('Escape');
    assert.equal(await page.locator('#sure').isVisible(), false);
    assert.equal(await focused(), 'delete');
    await leave();
  });

  test('each control has a name, and the messages are announced', async () => {
    const { page, leave } = await visit(browser, node.origin, '/client');
    await create(page, 'fan-in-out', 3);
    const nameless = await page.$$eval('button, input, select, textarea, a', (found) => found
      .filter((one) => one.checkVisibility() && !(one.ariaLabel || one.textContent.trim() || one.labels?.length))
      .map((one) => one.outerHTML));
    assert.deepEqual(nameless, []);
    const ids = await page.$$eval('[id]', (found) => found.map((one) => one.id));
    assert.equal(new Set(ids).size, ids.length, 'an id is given twice');
    assert.equal(await page.getByRole('log').count(), 3);
    assert.equal(await page.getByRole('log').first().getAttribute('aria-live'), 'polite');
    await leave();
  });

  test('on a phone nothing scrolls sideways while the channel is in use', async () => {
    const { page, leave } = await visit(browser, node.origin, '/client', { width: 360, height: 740 });
    await create(page, 'req-repl', 3);
    await send(page, 'A', 'w'.repeat(300));
    await eventually(() => words(page, 'A').count(), 2);
    assert.ok(await noSidewaysScroll(page));
    await leave();
  });

  test('where the node asks for an API token, the page does and uses it', async () => {
    const guarded = await startNode({ WRS_AUTH: 'true', WRS_AUTH_TOKEN: 'sesame', WRS_AUTH_RESOURCES: '*:/channels' });
    try {
      const { page, asked, leave } = await visit(browser, guarded.origin, '/client', { allowed: /status of 401/ });
      assert.ok(await page.locator('#api-token').isVisible());
      await page.selectOption('#pattern', 'echo');
      await page.getByRole('button', { name: 'Create channel' }).click();
      await eventually(async () => (await page.textContent('#notice')).slice(0, 4), '401:');
      await page.fill('#api-token', 'sesame');
      await create(page, 'echo', 1);
      await send(page, 'A', 'open');
      await eventually(() => words(page, 'A').allTextContents(), ['open']);
      assert.deepEqual(asked.filter((url) => url.includes('sesame')), []);
      await leave();
    } finally {
      await guarded.stop();
    }
  });
});
