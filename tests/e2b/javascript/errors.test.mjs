// Wrong keys, unknown ids, another key's sandbox, and a sandbox killed in mid-stream.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { AuthenticationError, NotFoundError, Sandbox, SandboxError, TimeoutError } from 'e2b'

import { collectPages, createSandbox, dataPlane, otherKey, testSince, unknownId } from './support.mjs'

test('a wrong key', async () => {
  await assert.rejects(Sandbox.create({ apiKey: 'e2b_' + '0'.repeat(40) }), AuthenticationError)
})

test('an unknown sandbox', async () => {
  await assert.rejects(Sandbox.getInfo(unknownId), NotFoundError)
  await assert.rejects(Sandbox.setTimeout(unknownId, 1000), NotFoundError)
  assert.equal(await Sandbox.kill(unknownId), false)
})

testSince('2.45.0', 'a pause of an unknown sandbox', async () => {
  await assert.rejects(Sandbox.pause(unknownId), NotFoundError)
})

test('an unknown template', async () => {
  await assert.rejects(Sandbox.create('no-such-template'), (error) => error instanceof SandboxError && /no-such-template/.test(error.message))
})

test("another key's sandbox", async (t) => {
  const sandbox = await createSandbox(t)
  const { metadata } = await sandbox.getInfo()
  await assert.rejects(Sandbox.connect(sandbox.sandboxId, { apiKey: otherKey }), NotFoundError)
  assert.equal(await Sandbox.kill(sandbox.sandboxId, { apiKey: otherKey }), false)
  assert.deepEqual(await collectPages(Sandbox.list({ apiKey: otherKey, query: { metadata } })), [])
  assert.equal(await sandbox.isRunning(), true)
})

testSince('2.45.0', 'a sandbox killed while a command runs', async (t) => {
  const sandbox = await createSandbox(t)
  const running = sandbox.commands.run('echo started; sleep 100', { timeoutMs: 0, onStdout: () => void sandbox.kill() })
  await assert.rejects(running, TimeoutError)
})

test('a closed port', async (t) => {
  const sandbox = await createSandbox(t)
  const response = await fetch(dataPlane, { headers: { 'E2b-Sandbox-Id': sandbox.sandboxId, 'E2b-Sandbox-Port': '1' } })
  assert.equal(response.status, 502)
  const body = await response.json()
  assert.deepEqual([body.sandboxId, body.code, body.port], [sandbox.sandboxId, 502, 1])
})

testSince('2.45.0', 'snapshots are refused in words', async (t) => {
  const sandbox = await createSandbox(t)
  await assert.rejects(sandbox.createSnapshot(), /501/)
})
