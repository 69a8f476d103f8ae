// Landing page, guide and OpenAPI page.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { eventually, noSidewaysScroll, startBrowser, visit, withoutChromium } from './browser.mjs';
import { startNode } from './node_of_wrs.mjs';

describe('pages', { skip: withoutChromium }, () => {
  let node;
  let browser;
  before(async () => { [node, browser] = await Promise.all([startNode(), startBrowser()]); });
  after(async () => { await browser?.close(); await node?.stop(); });

  test('the landing page counts channels, clients and messages as they come', async () => {
    const { page, leave } = await visit(browser, node.origin, '/');
    const count = async (id) => Number(await page.textContent(`#${id}`));
    await eventually(() => page.getAttribute('#pulse', 'class'), 'pulse on');
    const [channels, clients] = [await count('count-channels'), await count('count-clients')];
    const { id, token } = await node.create('echo');
    // A client of this test: it sends ten messages a second until the page is left.
    await page.evaluate(([url, protocol]) => {
      const socket = new WebSocket(url, protocol);
      socket.onopen = () => setInterval(() => socket.send('tick'), 100);
    }, [`${node.origin.replace('http', 'ws')}/channels/${id}/connect`, `wrs.token.${token}`]);
    await eventually(() => count('count-channels'), channels + 1);
    await eventually(() => count('count-clients'), clients + 1);
    await eventually(async () => await count('rate-in') > 4 && await count('rate-out') > 4, true, 10000);
    await leave();
  });

  test('the landing page shows a lone node as the leader of its own cluster', async () => {
    const { page, leave } = await visit(browser, node.origin, '/');
    const { data } = await (await fetch(`${node.origin}/cluster`)).json();
    await eventually(() => page.locator('#cluster-nodes tr').count(), 1);
    assert.ok(await page.locator('#cluster').isVisible());
    const cells = await page.locator('#cluster-nodes td').allTextContents();
    assert.deepEqual([cells[0], cells[2], cells[4]], [data.id, 'leader', 'this node']);
    assert.match(cells[3], /^live/);
    await leave();
  });

  test('the landing page shows each node of a cluster and says when one is gone', async () => {
    const settings = { WRS_DRAIN_TIMEOUT: '3000' };
    const [one, two] = await Promise.all([startNode(settings), startNode(settings)]);
    try {
      const { data: first } = await (await fetch(`${one.origin}/cluster`)).json();
      const joined = await fetch(`${two.origin}/cluster/join/${first.nodes[0].address}`, { method: 'POST' });
      assert.equal(joined.status, 200, await joined.text());
      const { page, leave } = await visit(browser, one.origin, '/');
      const states = () => page.locator('#cluster-nodes td:nth-child(4)').allTextContents();
      await eventually(async () => (await states()).filter((text) => text.startsWith('live')).length, 2);
      const links = await page.locator('#cluster-nodes td:nth-child(5)').allTextContents();
      assert.ok(links.includes('this node') && links.some((text) => text.startsWith('up')), links.join());
      assert.match(await page.textContent('#cluster-words'), /^2 nodes, 2 of them live/);
      await two.stop();
      await eventually(async () => (await states()).length, 1, 10000);
      await leave();
    } finally {
      await two.stop();
      await one.stop();
    }
  });

  test('where the cluster is guarded, the landing page shows none and stays quiet', async () => {
    const guarded = await startNode({ WRS_AUTH: 'true', WRS_AUTH_TOKEN: 'open+sesame/=', WRS_AUTH_RESOURCES: '*:/cluster' });
    try {
      const { page, asked, leave } = await visit(browser, guarded.origin, '/', { allowed: /401/ });
      await eventually(() => page.textContent('#count-channels'), '0');
      await eventually(() => asked.filter((url) => url.endsWith('/metrics')).length >= 2, true);
      assert.ok(!await page.locator('#cluster').isVisible());
      assert.equal(asked.filter((url) => url.endsWith('/cluster')).length, 1);
      await leave();
    } finally {
      await guarded.stop();
    }
  });

  test('the first steps on the landing page work as they stand', async () => {
    const { page, leave } = await visit(browser, node.origin, '/', { permissions: ['clipboard-read', 'clipboard-write'] });
    const request = await page.textContent('#s-create');
    assert.match(request, new RegExp(`curl -X POST ${node.origin}/channels `));
    const body = /-d '(.*)'/.exec(request)[1];
    const answer = await fetch(`${node.origin}/channels`, { method: 'POST', body, headers: { 'Content-Type': 'application/json' } });
    assert.equal(answer.status, 201);
    const { data, token } = await answer.json();
    const script = (await page.textContent('#s-js')).replace('ID', data.id).replace('TOKEN', token);
    const heard = await page.evaluate(`new Promise((done) => { ${script.replace('console.log', 'done')} })`);
    assert.equal(heard, 'hello');
    await page.click('[data-copy=s-delete]');
    await eventually(() => page.textContent('[data-copy=s-delete]'), 'Copied');
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), `curl -X DELETE ${node.origin}/channels/ID`);
    await leave();
  });

  test('the guide is rendered, with anchors and working links', async () => {
    const { page, leave } = await visit(browser, node.origin, '/readme');
    assert.equal(await page.textContent('.prose h1'), 'API guide#');
    assert.ok(await page.locator('.prose table').count() >= 5);
    for (const pattern of ['echo', 'pub-sub', 'push-pull', 'req-repl', 'fan-in-out']) {
      assert.equal(await page.locator(`.prose h3#${pattern}`).count(), 1, pattern);
    }
    await page.click('.contents a[href="#close-codes"]');
    assert.ok(await page.evaluate(() => {
      const top = document.getElementById('close-codes').getBoundingClientRect().top;
      return top >= 0 && top < innerHeight / 2;
    }));
    const links = await page.$$eval('.prose a[href^="/"]', (found) => found.map((link) => link.href));
    assert.ok(links.length >= 3);
    for (const link of links) assert.equal((await fetch(link)).status, 200, link);
    await leave();
  });

  test('the OpenAPI page shows every operation, and executes one', async () => {
    const { page, asked, leave } = await visit(browser, node.origin, '/docs');
    await page.waitForSelector('.opblock');
    const document = await (await fetch(`${node.origin}/openapi.json`)).json();
    const operations = Object.values(document.paths).flatMap((item) => ['get', 'post', 'delete'].filter((method) => item[method]));
    assert.equal(await page.locator('.opblock').count(), operations.length);
    assert.equal(await page.locator('.errors-wrapper').count(), 0);
    for (const name of ['createChannel', 'connect']) await page.click(`#operations-channels-${name} .opblock-summary-control`);
    await page.click('#operations-channels-createChannel .execute');
    const status = page.locator('#operations-channels-createChannel .live-responses-table .response .response-col_status');
    await eventually(async () => (await status.first().textContent()).trim(), '201');
    assert.ok(asked.some((url) => url.endsWith('/docs/swagger-ui-bundle.js')));
    await leave();
  });

  test('no page scrolls sideways on a phone, and each follows the colours of the system', async () => {
    for (const path of ['/', '/client', '/readme', '/docs']) {
      const papers = [];
      for (const colorScheme of ['light', 'dark']) {
        const { page, leave } = await visit(browser, node.origin, path, { width: 360, height: 740, colorScheme });
        if (path === '/docs') await page.waitForSelector('.opblock');
        assert.ok(await noSidewaysScroll(page), `${path} is wider than the screen`);
        papers.push(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
        await leave();
      }
      assert.notEqual(papers[0], papers[1], path);
    }
  });

  test('every page runs under a policy without exceptions', async () => {
    for (const path of ['/', '/client', '/readme', '/docs']) {
      const { response, leave } = await visit(browser, node.origin, path);
      const headers = response.headers();
      assert.match(headers['content-security-policy'], /^default-src 'none'; script-src /, path);
      assert.doesNotMatch(headers['content-security-policy'], /unsafe|\*|https?:/, path);
      assert.equal(headers['x-content-type-options'], 'nosniff', path);
      assert.equal(headers['referrer-policy'], 'no-referrer', path);
      const names = (await response.headersArray()).map(({ name }) => name.toLowerCase());
      assert.equal(new Set(names).size, names.length, `${path} gives a header twice: ${names}`);
      await leave();
    }
  });

  test('where everything is guarded, a page asked for with the token in its address works', async () => {
    const guarded = await startNode({ WRS_AUTH: 'true', WRS_AUTH_TOKEN: 'open+sesame/=' });
    const auth = `?auth=${encodeURIComponent('open+sesame/=')}`;
    try {
      assert.equal((await fetch(`${guarded.origin}/`)).status, 401);
      const landing = await visit(browser, guarded.origin, `/${auth}`);
      await eventually(() => landing.page.textContent('#count-channels'), '0');
      await landing.leave();
      const docs = await visit(browser, guarded.origin, `/docs${auth}`);
      await docs.page.waitForSelector('.opblock');
      await docs.page.click('#operations-channels-listChannels .opblock-summary-control');
      await docs.page.click('#operations-channels-listChannels .execute');
      const status = docs.page.locator('.live-responses-table .response .response-col_status');
      await eventually(async () => (await status.first().textContent()).trim(), '200');
      await docs.leave();
    } finally {
      await guarded.stop();
    }
  });

  test('a node that is open to everyone warns of it, one on loopback does not', async () => {
    const quiet = await visit(browser, node.origin, '/');
    assert.equal(await quiet.page.locator('.warning').count(), 0);
    await quiet.leave();
    const open = await startNode({ WRS_BIND: '0.0.0.0' });
    try {
      const loud = await visit(browser, open.origin, '/');
      assert.ok(await loud.page.locator('.warning').isVisible());
      await loud.leave();
    } finally {
      await open.stop();
    }
  });
});
