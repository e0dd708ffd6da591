// A headless Chromium that is driven over stdin and answers over stdout: a JSON object a line for each command.
'use strict'

const fs = require('node:fs')
const readline = require('node:readline')
const { chromium } = require('playwright-core')

const AXE = fs.readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8')
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']
// Notes in the page, before its own scripts run, what has taken longer than 50 ms, what its policy has forbidden, and how
// many elements, attributes and texts were changed.
const WATCH = () => {
  window.longTasks = []
  window.violations = []
  window.changes = 0
  new MutationObserver((records) => { window.changes += records.length })
    .observe(document, { subtree: true, childList: true, attributes: true, characterData: true })
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) window.longTasks.push(Math.round(entry.duration))
  }).observe({ type: 'longtask', buffered: true })
  document.addEventListener('securitypolicyviolation', (event) => window.violations.push(event.violatedDirective))
}

let browser, page, faults, hosts

const commands = {
  async open ({ url, scheme, width, height }) {
    if (page) await page.context().close()
    const context = await browser.newContext({ colorScheme: scheme, viewport: { width, height } })
    page = await context.newPage()
    faults = []
    hosts = new Set()
    await page.addInitScript(WATCH)
    page.on('console', (message) => { if (message.type() !== 'log') faults.push(message.text()) })
    page.on('pageerror', (error) => faults.push(error.stack || error.message))
    page.on('request', (request) => { hosts.add(new URL(request.url()).host) })
    const answer = await page.goto(url)
    return answer.status()
  },
  async value ({ script }) { return page.evaluate(script) },
  async press ({ keys }) { for (const key of keys) await page.keyboard.press(key) },
  async type ({ text }) { await page.keyboard.type(text) },
  async shot ({ path }) { await page.screenshot({ path, fullPage: true }) },
  async faults () { return [...faults, ...await page.evaluate('window.violations')] },
  async hosts () { return [...hosts] },
  async heap () {
    const session = await page.context().newCDPSession(page)
    await session.send('HeapProfiler.collectGarbage')
    return (await session.send('Runtime.getHeapUsage')).usedSize
  },
  async axe () {
    await page.evaluate(AXE)
    const run = `axe.run({ runOnly: ${JSON.stringify(RULES)} })`
    const { violations } = await page.evaluate(run)
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 200)).join(' | ')}`)
  }
}

async function main () {
  const executablePath = process.argv[2]
  browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] })
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const command = JSON.parse(line)
    let told
    try {
      told = { value: await commands[command.do](command) ?? null }
    } catch (error) {
      told = { error: String(error.message || error).slice(0, 2000) }
    }
    process.stdout.write(JSON.stringify(told) + '\n')
  }
  await browser.close()
}

main()
