// The browser under test: Chromium, driven by Playwright, or Firefox, driven by Puppeteer through
// WebDriver BiDi, since Playwright only drives a Firefox of its own. What the tests use of a page is
// the same in both.

import { chromium } from 'playwright-core';
import puppeteer from 'puppeteer-core';

function named(variable) {
  const executablePath = process.env[variable];
  if (!executablePath)
    throw new Error(`${variable} must name the browser; \`cargo xtask\` sets it`);
  return executablePath;
}

/** The browser that the environment variable BROWSER asks for: `chromium` unless said. */
export function launchBrowser() {
  return process.env.BROWSER === 'firefox' ? launchFirefox() : launchChromium();
}

function launchChromium() {
  // Containers seldom offer the sandbox, and the pages are our own.
  return chromium.launch({ executablePath: named('CHROMIUM'), args: ['--no-sandbox'] });
}

async function launchFirefox() {
  const browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath: named('FIREFOX'),
    headless: true,
  });
  const contexts = new Set();
  return {
    contexts: () => [...contexts],
    async newContext({ viewport = null } = {}) {
      const context = await browser.createBrowserContext();
      const opened = {
        async newPage() {
          const page = await context.newPage();
          if (viewport) await page.setViewport(viewport);
          return page;
        },
        close() {
          contexts.delete(opened);
          return context.close();
        },
      };
      contexts.add(opened);
      return opened;
    },
    newPage: () => browser.newPage(),
    close: () => browser.close(),
  };
}
