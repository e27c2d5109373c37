// What every test needs: settings, sandboxes that are deleted again, and waiting for a condition.

import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { Sandbox } from 'e2b'

const missing = ['E2B_API_KEY', 'E2B_API_URL', 'E2B_SANDBOX_URL', 'SANDBOX_TEST_OTHER_KEY'].filter((name) => !process.env[name])
if (missing.length > 0) {
  // A suite that skips itself proves nothing.
  throw new Error(`set ${missing.join(', ')}: these tests need a gateway, see tests/e2b/README.md`)
}

export const run = randomUUID()
export const api = process.env.E2B_API_URL
export const dataPlane = process.env.E2B_SANDBOX_URL
export const otherKey = process.env.SANDBOX_TEST_OTHER_KEY
export const unknownId = 'nosuchsandbox0000000'

const folder = dirname(dirname(createRequire(import.meta.url).resolve('e2b')))
const installed = JSON.parse(readFileSync(join(folder, 'package.json'))).version

/** Declare a test that needs at least `version` of `e2b`; with an older one there is no such test. */
export function testSince(version, ...definition) {
  const [found, needed] = [installed, version].map((text) => text.split('.').map(Number))
  const index = found.findIndex((number, place) => number !== needed[place])
  if (index === -1 || found[index] > needed[index]) test(...definition)
}

const killed = []
after(() => Promise.all(killed))

/** Kill the sandbox of a test while the next tests run: a cluster may take ten seconds for each. The end waits for it. */
export function killLater(sandbox) {
  killed.push(sandbox.kill())
}

/** Create a sandbox that is killed after the test `t`. */
export async function createSandbox(t, options = {}, Kind = Sandbox) {
  const sandbox = await Kind.create({ timeoutMs: 300_000, ...options, metadata: { run, ...options.metadata } })
  t.after(() => killLater(sandbox))
  return sandbox
}

/** Resolve to what `condition` returns as soon as that is true. */
export async function waitUntil(condition, milliseconds = 10_000, what = 'the condition') {
  const deadline = Date.now() + milliseconds
  for (;;) {
    const result = await condition()
    if (result) return result
    if (Date.now() > deadline) throw new Error(`${what} did not hold within ${milliseconds} ms`)
    await sleep(50)
  }
}

/** The items of all pages, in order. */
export async function collectPages(paginator) {
  const items = []
  while (paginator.hasNext) items.push(...(await paginator.nextItems()))
  return items
}
