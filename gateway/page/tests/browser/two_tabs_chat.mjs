// Two people talk in two tabs of one browser, and the gateway is killed under them.
//
//   node two_tabs_chat.mjs PROGRAM [ARGUMENT…]
//
// starts the gateway as `PROGRAM ARGUMENT… --listen 127.0.0.1:PORT --data FOLDER`. Pictures of the moments that
// matter go to the folder in SCREENSHOTS_DIR. Ends with 0 when everything held.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { Gateway, launchBrowser, Tab } from './harness.mjs';

const MARKUP = '<script>document.title = "owned"</script> & <b>bold</b>';
const EMOJI = 'ringing 🔔👩‍👩‍👧 — ¿qué tal? 日本語';

const command = process.argv.slice(2);
assert.ok(command.length > 0, 'usage: node two_tabs_chat.mjs PROGRAM [ARGUMENT…]');

const data = mkdtempSync(path.join(tmpdir(), 'carillon-two-tabs-'));
const gateway = await Gateway.onFreePort(command, data);
let browser;
try {
  browser = await launchBrowser();
  await gateway.start();
  await twoTabsChat();
} finally {
  await browser?.close();
  await gateway.kill();
  rmSync(data, { recursive: true, force: true });
}

async function twoTabsChat() {
  const context = await browser.newContext({ viewport: { width: 1100, height: 720 }, colorScheme: 'light' });
  const one = await Tab.as(context, gateway, 1);
  const two = await Tab.as(context, gateway, 2);
  await step('both are online', async () => {
    await Promise.all([one.seesConnection('online'), two.seesConnection('online')]);
    await one.page.getByText('No rooms yet.').waitFor();
    await one.fillsItsWindow();
    await one.screenshot('1-no-rooms');
  });
  await step('one makes a room, both see it', async () => {
    await one.createRoom('Bell tower', '2');
    await two.room('Bell tower').waitFor();
  });
  await step('a message makes a badge where its room is not open', async () => {
    await one.write('Good morning!');
    await one.seesState('Good morning!', 'sent');
    await two.seesUnread('Bell tower', 1);
    await two.seesTitle(/^\(1\) /);
    await two.screenshot('2-unread');
  });
  await step('opening the room clears the badge and tells the sender', async () => {
    await two.openRoom('Bell tower');
    await two.sees('Good morning!');
    await two.seesUnread('Bell tower', 0);
    await two.seesTitle(/^Bell tower/);
    await one.seesState('Good morning!', 'seen');
    await one.page.getByText('Seen by User 2').waitFor();
  });
  await step('typing shows', async () => {
    await two.draft.pressSequentially('Mor');
    await one.page.locator('#typing', { hasText: 'User 2 is typing…' }).waitFor();
    await one.screenshot('3-typing');
  });
  await step('markup and emoji stay what they are', async () => {
    await two.write(MARKUP);
    await one.sees(MARKUP);
    await one.write(EMOJI);
    await two.sees(EMOJI);
    assert.equal(await one.open.locator('b, script').count(), 0, 'markup became elements');
  });
  const said = ['Good morning!', MARKUP, EMOJI];
  await step('after a kill both reconnect, and what was written meanwhile arrives once', async () => {
    await gateway.kill();
    await Promise.all([one.seesConnection('waiting'), two.seesConnection('waiting')]);
    await one.write('Still there?');
    await one.seesState('Still there?', 'pending');
    await one.fillsItsWindow();
    await one.screenshot('4-gateway-down');
    await gateway.start();
    await Promise.all([one.seesConnection('online'), two.seesConnection('online')]);
    await one.seesState('Still there?', 'sent');
    said.push('Still there?');
    await Promise.all([one.seesExactly(said), two.seesExactly(said)]);
  });
  await step('a reload keeps everything', async () => {
    await Promise.all([one.page.reload(), two.page.reload()]);
    await Promise.all([one.seesExactly(said), two.seesExactly(said)]);
    await two.write('Yes, all here.');
    said.push('Yes, all here.');
    await one.seesExactly(said);
    await one.fillsItsWindow();
    await one.screenshot('5-reloaded');
  });
  const again = await step('what a closed tab left unsent is sent by the next', async () => {
    await gateway.kill();
    await one.seesConnection('waiting');
    await one.write('From a tab that was closed');
    await one.seesState('From a tab that was closed', 'pending');
    await one.page.close();
    await gateway.start();
    const next = await Tab.as(context, gateway, 1);
    await next.openRoom('Bell tower');
    said.push('From a tab that was closed');
    await Promise.all([next.seesExactly(said), two.seesExactly(said)]);
    return next;
  });
  await step('it fits on a phone, in the dark', () => phone(said));
  assert.deepEqual([one, two, again].flatMap((tab) => tab.complaints), []);
}

async function phone(said) {
  const context = await browser.newContext({ viewport: { width: 390, height: 844 }, colorScheme: 'dark' });
  const tab = await Tab.as(context, gateway, 2);
  await tab.room('Bell tower').waitFor();
  await tab.fillsItsWindow();
  await tab.screenshot('6-phone-rooms');
  await tab.openRoom('Bell tower');
  await tab.seesExactly(said);
  await tab.fillsItsWindow();
  await tab.screenshot('7-phone-room');
  assert.deepEqual(tab.complaints, []);
}

async function step(name, run) {
  const result = await run();
  console.log(`ok: ${name}`);
  return result;
}
