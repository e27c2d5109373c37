// Many streams at once.

import assert from 'node:assert/strict'
import { test } from 'node:test'

// The client's pool has 200 connections, and over plain HTTP/1.1 each stream needs one. It is read at import.
process.env.E2B_ENVD_RPC_CONNECTIONS = '300'
const { createSandbox } = await import('./support.mjs')

test('250 streams at once', async (t) => {
  const sandbox = await createSandbox(t)
  const numbers = Array.from({ length: 250 }, (_, number) => number)
  const handles = await Promise.all(
    numbers.map((number) => sandbox.commands.run(`echo ${number}; sleep 5`, { background: true, timeoutMs: 120_000 }))
  )
  assert.equal((await sandbox.commands.run('echo free')).stdout, 'free\n')
  const results = await Promise.all(handles.map((handle) => handle.wait()))
  assert.deepEqual(results.map((result) => result.stdout), numbers.map((number) => `${number}\n`))
})
