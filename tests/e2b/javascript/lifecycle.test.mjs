// Create, connect, kill, info, list, pages, metadata, timeout and pause.

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'

import { NotFoundError, Sandbox, TimeoutError } from 'e2b'

import { collectPages, createSandbox, testSince, unknownId, waitUntil } from './support.mjs'

const ids = async (paginator) => (await collectPages(paginator)).map((info) => info.sandboxId)

test('create, run, kill', async (t) => {
  const sandbox = await createSandbox(t)
  assert.equal(await sandbox.isRunning(), true)
  assert.equal((await sandbox.commands.run('echo hello')).stdout, 'hello\n')
  assert.equal(await Sandbox.kill(sandbox.sandboxId), true)
  assert.equal(await sandbox.isRunning(), false)
  assert.equal(await Sandbox.kill(sandbox.sandboxId), false)
})

test('info says what was asked for', async (t) => {
  const sandbox = await createSandbox(t, { timeoutMs: 120_000, metadata: { purpose: 'a test & more' }, envs: { PLACE: 'here' } })
  const info = await sandbox.getInfo()
  assert.equal(info.sandboxId, sandbox.sandboxId)
  assert.equal(info.metadata.purpose, 'a test & more')
  assert.equal(info.state, 'running')
  const lasts = info.endAt - info.startedAt
  assert.ok(lasts > 100_000 && lasts < 140_000, `${lasts}`)
  assert.equal((await sandbox.commands.run('echo -n $PLACE')).stdout, 'here')
})

test('the timeout moves the end in both directions', async (t) => {
  const sandbox = await createSandbox(t)
  for (const seconds of [900, 60]) {
    await sandbox.setTimeout(seconds * 1000)
    const left = (await sandbox.getInfo()).endAt - Date.now()
    assert.ok(left > (seconds - 20) * 1000 && left < (seconds + 2) * 1000, `${left}`)
  }
})

test('a sandbox ends at its timeout', async (t) => {
  const sandbox = await createSandbox(t, { timeoutMs: 8000 })
  await waitUntil(async () => !(await sandbox.isRunning()), 20_000, 'the end of the sandbox')
})

test('connect uses the same sandbox', async (t) => {
  const sandbox = await createSandbox(t)
  await sandbox.files.write('connected', 'yes')
  const again = await Sandbox.connect(sandbox.sandboxId)
  assert.equal(await again.files.read('connected'), 'yes')
  await assert.rejects(Sandbox.connect(unknownId), NotFoundError)
})

test('a list by metadata has pages', async (t) => {
  const group = randomUUID()
  const created = []
  for (let number = 0; number < 4; number++) {
    created.push((await createSandbox(t, { metadata: { group, odd: `${number % 2}`, text: 'a b&c=d%e+f' } })).sandboxId)
  }
  const paginator = Sandbox.list({ query: { metadata: { group } }, limit: 2 })
  const first = await paginator.nextItems()
  assert.equal(first.length, 2)
  assert.equal(paginator.hasNext, true)
  const second = await paginator.nextItems()
  assert.equal(paginator.hasNext, false)
  assert.deepEqual([...first, ...second].map((info) => info.sandboxId), created.slice().reverse())
  assert.deepEqual(await ids(Sandbox.list({ query: { metadata: { group, odd: '1' } } })), [created[3], created[1]])
  assert.equal((await ids(Sandbox.list({ query: { metadata: { group, text: 'a b&c=d%e+f' } } }))).length, 4)
  assert.equal((await ids(Sandbox.list({ query: { metadata: { group }, state: ['running', 'paused'] } }))).length, 4)
  assert.equal((await ids(Sandbox.list({ query: { metadata: { group }, state: ['paused'] } }))).length, 0)
})

testSince('2.45.0', 'pause and resume keep processes and files', async (t) => {
  const sandbox = await createSandbox(t)
  await sandbox.files.write('kept', 'content')
  const handle = await sandbox.commands.run('sleep 600', { background: true, timeoutMs: 0 })
  assert.equal(await sandbox.pause(), true)
  assert.equal(await sandbox.pause(), false)
  assert.equal(await sandbox.isRunning(), false)
  assert.equal((await sandbox.getInfo()).state, 'paused')
  const resumed = await Sandbox.connect(sandbox.sandboxId)
  assert.equal(await resumed.files.read('kept'), 'content')
  assert.ok((await resumed.commands.list()).some((process) => process.pid === handle.pid))
  assert.equal(await resumed.commands.kill(handle.pid), true)
})

testSince('2.45.0', 'a paused sandbox refuses a file before all of it was sent', async (t) => {
  const sandbox = await createSandbox(t)
  await sandbox.pause()
  await assert.rejects(sandbox.files.write('large', 'x'.repeat(16 << 20)), TimeoutError)
})

testSince('2.45.0', 'auto-pause at the timeout', async (t) => {
  const sandbox = await createSandbox(t, { timeoutMs: 8000, lifecycle: { onTimeout: 'pause' } })
  await sandbox.files.write('kept', 'content')
  await waitUntil(async () => (await sandbox.getInfo()).state === 'paused', 20_000, 'the pause')
  const resumed = await Sandbox.connect(sandbox.sandboxId, { timeoutMs: 60_000 })
  assert.equal(await resumed.files.read('kept'), 'content')
})

test('metrics', async (t) => {
  const sandbox = await createSandbox(t)
  const metrics = await waitUntil(
    async () => {
      const found = await sandbox.getMetrics()
      return found.length > 0 && found
    },
    15_000,
    'the first metrics'
  )
  assert.ok(metrics[0].cpuCount >= 1 && metrics[0].memTotal > 0)
})
