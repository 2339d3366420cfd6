// The editor page in a headless browser, used as a person uses it: through the keyboard.

import { until } from './wait.mjs';

/** Firefox reports a WebSocket that fails as an error of the page; nothing was thrown. */
const LOST_LINK = /^(Firefox can.t establish a connection to the server at|The connection to) ws:/;

/** One open page. */
export class Editor {
  constructor(name, page) {
    this.name = name;
    this.page = page;
    /** Uncaught errors and violated content security policies: there must be none. */
    this.errors = [];
    page.on('pageerror', (error) => {
      if (!LOST_LINK.test(error.message)) this.errors.push(error.stack ?? String(error));
    });
    page.on('console', (message) => {
      if (/Content.Security.Policy/i.test(message.text())) this.errors.push(message.text());
    });
  }

  /**
   * Opens document `doc` from `replica` in a context of its own and waits until it can be edited.
   * `demo` is the key of a demo's controls.
   */
  static async open(browser, name, replica, doc, { demo, ...options } = {}) {
    const context = await browser.newContext({
      viewport: { width: 1200, height: 800 },
      ...options,
    });
    const editor = new Editor(name, await context.newPage());
    const controls = demo ? `&demo=${demo}` : '';
    await editor.page.goto(`${replica.url}/#doc=${encodeURIComponent(doc)}${controls}`);
    await until(
      `${name} is ready to be edited`,
      () =>
        editor.page.evaluate(() => {
          const content = document.querySelector('.cm-content');
          const phase = window.__webbftEditor?.status()?.phase;
          return content?.contentEditable === 'true' && ['ready', 'degraded'].includes(phase);
        }),
      { limitMs: 30_000, otherwise: () => editor.describe() },
    );
    return editor;
  }

  text() {
    return this.page.evaluate(() => window.__webbftEditor.text());
  }

  version() {
    return this.page.evaluate(() => Number(window.__webbftEditor.version()));
  }

  pending() {
    return this.page.evaluate(() => Boolean(window.__webbftEditor.pending()));
  }

  status() {
    return this.page.evaluate(() => window.__webbftEditor.status());
  }

  lastEvidence() {
    return this.page.evaluate(() => window.__webbftEditor.lastEvidence());
  }

  /** Ids of the replicas that the page caught in a lie; one that was merely silent is not counted. */
  async liars() {
    const { replicas } = await this.status();
    const caught = replicas.filter(({ suspect }) => suspect && suspect.reason !== 'silent');
    return caught.map(({ id }) => id);
  }

  /** The visible sentence about why replica `id` is a suspect; empty when it is not shown as one. */
  shownSuspicion(id) {
    return this.page.evaluate((name) => {
      const cards = [...document.querySelectorAll('#panel .card')];
      const card = cards.find((each) => each.querySelector('.card-name')?.textContent === name);
      const words = card?.dataset.suspect === 'true' ? card.querySelector('.card-suspect') : null;
      return words && !words.hidden ? words.textContent : '';
    }, `Replica ${id}`);
  }

  /** Whether the text is `expected`, with nothing unconfirmed. */
  async holds(expected) {
    return (await this.text()) === expected && !(await this.pending());
  }

  /** Focuses the text and presses `keys`, such as `Control+End`, one after the other. */
  async press(...keys) {
    await this.page.focus('.cm-content');
    const { keyboard } = this.page;
    for (const chord of keys) {
      const held = chord.split('+');
      const key = held.pop();
      for (const modifier of held) await keyboard.down(modifier);
      await keyboard.press(key);
      for (const modifier of held.reverse()) await keyboard.up(modifier);
    }
  }

  /** Types `text` at the cursor, as fast as a person in a hurry. */
  async type(text) {
    await this.page.keyboard.type(text, { delay: 25 });
  }

  /** The state, for an error message. */
  async describe() {
    const state = await this.page
      .evaluate(() => {
        const hook = window.__webbftEditor;
        if (!hook)
          return `no editor yet; the page says: ${document.body.textContent.slice(0, 500)}`;
        return JSON.stringify(
          {
            text: hook.text(),
            version: hook.version(),
            pending: hook.pending(),
            status: hook.status(),
          },
          (_key, value) => (typeof value === 'bigint' ? Number(value) : value),
        );
      })
      .catch((error) => String(error));
    return [`${this.name}: ${state}`, ...this.errors].join('\n');
  }
}

/** Waits until every editor holds exactly `expected`, all confirmed. */
export async function untilAllHold(editors, expected, limitMs = 20_000) {
  await until(
    `every page holds ${JSON.stringify(expected)}`,
    async () => {
      for (const editor of editors) if (!(await editor.holds(expected))) return false;
      return true;
    },
    { limitMs, otherwise: () => describeAll(editors) },
  );
}

/** Waits until every editor has caught exactly `ids` in a lie, and shows each as a suspect. */
export async function untilCaught(editors, ids, limitMs = 20_000) {
  await until(
    `every page shows exactly the replicas [${ids}] as caught in a lie`,
    async () => {
      for (const editor of editors) {
        if (String(await editor.liars()) !== String(ids)) return false;
        for (const id of ids) if (!(await editor.shownSuspicion(id))) return false;
      }
      return true;
    },
    { limitMs, otherwise: () => describeAll(editors) },
  );
}

/** The state of several editors, for an error message. */
export async function describeAll(editors) {
  return (await Promise.all(editors.map((editor) => editor.describe()))).join('\n');
}

/**
 * Gives the document two lines, `first: ` and `second: `, and puts the cursor of one editor at the
 * end of each. What the two then type can be predicted to the letter.
 */
export async function aLineEach(first, second) {
  await first.press('Control+End');
  await first.type('first: \nsecond: ');
  await untilAllHold([first, second], 'first: \nsecond: ');
  await first.press('Control+Home', 'End');
  await second.press('Control+End');
}
