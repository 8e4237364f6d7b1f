// A gateway that can be killed, a browser, and tabs that do what a person does: find things by what they are
// called, click, type, wait until they see something.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { chromium } from 'playwright-core';

/** Nothing here takes long; whoever waits so long has found a fault. */
const PATIENCE_MS = 30_000;
const LOOK_AGAIN_MS = 50;
const OUTPUT_KEPT_CHARS = 8_000;

const BROWSERS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** A gateway process on one port and one data folder, however often it is started. */
export class Gateway {
  #command;
  #process = null;
  #output = '';

  constructor(command, port, data) {
    this.#command = command;
    this.listen = `127.0.0.1:${port}`;
    this.data = data;
    this.url = `http://${this.listen}`;
  }

  /** @param {string[]} command program and arguments; `--listen` and `--data` are added */
  static async onFreePort(command, data) {
    const probe = createServer().listen(0, '127.0.0.1');
    await once(probe, 'listening');
    const { port } = probe.address();
    probe.close();
    await once(probe, 'close');
    return new Gateway(command, port, data);
  }

  async start() {
    const [program, ...given] = this.#command;
    const child = spawn(program, [...given, '--listen', this.listen, '--data', this.data], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#process = child;
    const keep = (bytes) => (this.#output = (this.#output + bytes).slice(-OUTPUT_KEPT_CHARS));
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    let failure = null;
    child.on('error', (error) => (failure = error.message));
    child.on('exit', (code, signal) => (failure ??= `it ended with ${signal ?? code}`));
    await eventually(`the gateway serves its page at ${this.url}`, async () => {
      if (failure) throw new Stop(`The gateway did not start: ${failure}\n${this.#output}`);
      const answer = await fetch(this.url).catch(() => null);
      return answer?.ok;
    });
  }

  /** Ends it as a power cut would. */
  async kill() {
    const child = this.#process;
    this.#process = null;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }
}

class Stop extends Error {}

/** Waits until `check` gives something true; errors on the way only count at the end. */
export async function eventually(what, check) {
  const until = Date.now() + PATIENCE_MS;
  let last;
  do {
    try {
      const found = await check();
      if (found) return found;
      last = found;
    } catch (error) {
      if (error instanceof Stop) throw error;
      last = error.message;
    }
    await sleep(LOOK_AGAIN_MS);
  } while (Date.now() < until);
  throw new Error(`It never came true that ${what} (last: ${last}).`);
}

export async function launchBrowser() {
  const executablePath = process.env.CHROMIUM ?? BROWSERS.find(existsSync);
  if (!executablePath || !existsSync(executablePath)) {
    throw new Error(
      'This test needs Chromium. Install it (Debian: apt-get install -y chromium) or name it in CHROMIUM.',
    );
  }
  const quiet = ['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'];
  const args = ['--no-sandbox', '--disable-component-update', '--disable-sync', ...quiet];
  return chromium.launch({ executablePath, args });
}

/** One person's tab. */
export class Tab {
  /** What the page complained about: errors in its code, and what its security policy forbade. */
  complaints = [];

  constructor(page) {
    this.page = page;
    this.open = page.getByRole('log', { name: 'Messages' });
    this.draft = page.getByRole('textbox', { name: 'Message', exact: true });
    page.setDefaultTimeout(PATIENCE_MS);
    page.on('pageerror', (error) => this.complaints.push(String(error)));
    page.on('console', (message) => {
      if (/Content Security Policy/.test(message.text())) this.complaints.push(message.text());
    });
  }

  static async as(context, gateway, user) {
    const tab = new Tab(await context.newPage());
    await tab.page.goto(`${gateway.url}/?user=${user}`);
    return tab;
  }

  async createRoom(name, members) {
    await this.page.getByRole('button', { name: 'New room' }).click();
    const dialog = this.page.getByRole('dialog', { name: 'New room' });
    await dialog.getByLabel('Name').fill(name);
    await dialog.getByLabel('Members, by number').fill(members);
    await dialog.getByRole('button', { name: 'Create room' }).click();
    await this.page.getByRole('heading', { name, level: 2 }).waitFor();
  }

  room(name) {
    return this.page.getByRole('navigation', { name: 'Rooms' }).getByRole('link', { name });
  }

  async openRoom(name) {
    await this.room(name).click();
    await this.page.getByRole('heading', { name, level: 2 }).waitFor();
  }

  async write(text) {
    await this.draft.fill(text);
    await this.draft.press('Enter');
  }

  message(text) {
    return this.open.locator('.message', { has: this.page.getByText(text, { exact: true }) });
  }

  sees(text) {
    return this.message(text).waitFor();
  }

  /** Waits until a message of one's own is `pending`, `sent`, `seen` or `failed`. */
  seesState(text, state) {
    return eventually(`“${text}” is ${state}`, async () => {
      const now = await this.message(text).getAttribute('data-state');
      return now === state || (state === 'sent' && now === 'seen');
    });
  }

  seesUnread(room, count) {
    return eventually(`“${room}” has ${count} unread`, async () => {
      const badge = this.room(room).locator('.badge');
      return count === 0 ? badge.isHidden() : (await badge.textContent()) === `${count} unread` && badge.isVisible();
    });
  }

  seesTitle(expected) {
    return eventually(`the tab is titled ${expected}`, async () => expected.test(await this.page.title()));
  }

  seesConnection(state) {
    return eventually(`the connection is ${state}`, async () => {
      return (await this.page.locator('#connection').getAttribute('data-state')) === state;
    });
  }

  /** Everything that was said, in the order it is shown in. */
  texts() {
    return this.open.locator('.message .text').allTextContents();
  }

  async seesExactly(texts) {
    await eventually(`the room shows exactly ${JSON.stringify(texts)}`, async () => {
      assert.deepEqual(await this.texts(), texts);
      return true;
    });
  }

  /** The page reaches from edge to edge, and nothing sticks out. */
  async fillsItsWindow() {
    const [bottoms, height, sticksOut] = await this.page.evaluate(() => {
      const parts = [...document.querySelectorAll('.rooms, .conversation')].filter((part) => part.offsetParent);
      const { scrollWidth, scrollHeight } = document.documentElement;
      const bottoms = parts.map((part) => Math.round(part.getBoundingClientRect().bottom));
      return [bottoms, innerHeight, scrollWidth > innerWidth || scrollHeight > innerHeight];
    });
    assert.deepEqual(new Set(bottoms), new Set([height]), 'the page does not reach the bottom of its window');
    assert.equal(sticksOut, false, 'the page is larger than its window');
  }

  async screenshot(name) {
    const folder = process.env.SCREENSHOTS_DIR;
    if (!folder) return;
    mkdirSync(folder, { recursive: true });
    await this.page.screenshot({ path: path.join(folder, `${name}.png`) });
  }
}
