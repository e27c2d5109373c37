// Files, directories, metadata, signed addresses and watches.

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, before, beforeEach, test } from 'node:test'

import { FileType, InvalidArgumentError, NotFoundError, Sandbox } from 'e2b'

import { run, testSince, waitUntil } from './support.mjs'

const binary = Uint8Array.from({ length: 16_384 }, (_, index) => index % 256)
let sandbox, directory
before(async () => {
  sandbox = await Sandbox.create({ metadata: { run } })
})
after(() => sandbox.kill())
beforeEach(async () => {
  const home = (await sandbox.commands.run('echo -n ~')).stdout
  directory = `${home}/${randomUUID()}`
  await sandbox.files.makeDir(directory)
})

test('every format of reading', async () => {
  const path = `${directory}/file`
  await sandbox.files.write(path, 'ünï 🦀\r\n')
  assert.equal(await sandbox.files.read(path), 'ünï 🦀\r\n')
  await sandbox.files.write(path, binary.buffer)
  assert.deepEqual(await sandbox.files.read(path, { format: 'bytes' }), binary)
  assert.deepEqual(new Uint8Array(await (await sandbox.files.read(path, { format: 'blob' })).arrayBuffer()), binary)
  const chunks = []
  for await (const chunk of await sandbox.files.read(path, { format: 'stream' })) chunks.push(chunk)
  assert.deepEqual(new Uint8Array(Buffer.concat(chunks)), binary)
})

test('an empty file', async () => {
  await sandbox.files.write(`${directory}/empty`, '')
  assert.equal(await sandbox.files.read(`${directory}/empty`), '')
  assert.equal((await sandbox.files.read(`${directory}/empty`, { format: 'bytes' })).length, 0)
})

test('every kind of writing', async () => {
  const stream = () => new Blob(['streamed']).stream()
  for (const [data, text] of [['text', 'text'], [new Blob(['blob']), 'blob'], [stream(), 'streamed']]) {
    await sandbox.files.write(`${directory}/below/file`, data)
    assert.equal(await sandbox.files.read(`${directory}/below/file`), text)
  }
  const written = await sandbox.files.write([
    { path: `${directory}/one`, data: '1' },
    { path: `${directory}/two/three`, data: '23' },
  ])
  assert.deepEqual(written.map((info) => info.path), [`${directory}/one`, `${directory}/two/three`])
  assert.equal(await sandbox.files.read(`${directory}/two/three`), '23')
})

test('compressed transfers', async () => {
  const text = 'the same line again\n'.repeat(10_000)
  await sandbox.files.write(`${directory}/file`, text, { gzip: true })
  assert.equal(await sandbox.files.read(`${directory}/file`, { gzip: true }), text)
})

test('thirty megabytes', async () => {
  const data = new Uint8Array(30_000_000).fill(7)
  await sandbox.files.write(`${directory}/large`, data.buffer)
  const read = await sandbox.files.read(`${directory}/large`, { format: 'bytes' })
  assert.equal(Buffer.compare(read, data), 0)
})

test('list, exists, info, rename, remove, makeDir', async () => {
  await sandbox.files.write(`${directory}/a/b`, 'xyz')
  const entries = await sandbox.files.list(directory, { depth: 2 })
  assert.deepEqual(entries.map((entry) => [entry.path.slice(directory.length + 1), entry.type]), [['a', FileType.DIR], ['a/b', FileType.FILE]])
  const info = await sandbox.files.getInfo(`${directory}/a/b`)
  assert.deepEqual([info.name, info.size, info.permissions], ['b', 3, '-rw-r--r--'])
  assert.equal((await sandbox.files.rename(`${directory}/a/b`, `${directory}/c`)).path, `${directory}/c`)
  assert.equal(await sandbox.files.exists(`${directory}/a/b`), false)
  await sandbox.files.remove(`${directory}/c`)
  await sandbox.files.remove(`${directory}/c`)
  assert.equal(await sandbox.files.exists(`${directory}/c`), false)
  assert.equal(await sandbox.files.makeDir(`${directory}/d/e`), true)
  assert.equal(await sandbox.files.makeDir(`${directory}/d/e`), false)
})

test('errors have their types', async () => {
  await assert.rejects(sandbox.files.read(`${directory}/nothing`), NotFoundError)
  await assert.rejects(sandbox.files.list(`${directory}/nothing`), NotFoundError)
  await assert.rejects(sandbox.files.rename(`${directory}/nothing`, `${directory}/x`), NotFoundError)
  await sandbox.files.write(`${directory}/file`, 'x')
  await assert.rejects(sandbox.files.list(`${directory}/file`), InvalidArgumentError)
})

testSince('2.45.0', 'metadata', async () => {
  const path = `${directory}/file`
  assert.deepEqual((await sandbox.files.write(path, 'x', { metadata: { Author: 'me' } })).metadata, { author: 'me' })
  assert.deepEqual((await sandbox.files.getInfo(path)).metadata, { author: 'me' })
})

// No method of the SDK asks for it; its client of the daemon does.
testSince('2.45.0', 'files that are joined', async () => {
  const parts = [0, 1, 2].map((number) => `${directory}/${number}`)
  await sandbox.files.write(parts.map((path) => ({ path, data: binary.buffer })))
  const compose = (source_paths, destination) =>
    sandbox.files.envdApi.api.POST('/files/compose', { body: { source_paths, destination } })
  const { data } = await compose(parts, `${directory}/below/whole`)
  assert.deepEqual(data, { name: 'whole', path: `${directory}/below/whole`, type: 'file' })
  const whole = await sandbox.files.read(data.path, { format: 'bytes' })
  assert.equal(Buffer.compare(whole, Buffer.concat([binary, binary, binary])), 0)
  assert.deepEqual((await sandbox.files.list(directory)).map((entry) => entry.name), ['below'])
  const { error, response } = await compose(parts, `${directory}/other`)
  assert.deepEqual([response.status, error.code], [404, 404])
})

test('signed addresses', async () => {
  const path = `${directory}/a file+ü`
  const form = new FormData()
  form.append('file', new Blob(['uploaded']), 'name')
  const uploaded = await fetch(await sandbox.uploadUrl(path), { method: 'POST', body: form })
  assert.equal(uploaded.status, 200)
  const url = await sandbox.downloadUrl(path, { useSignatureExpiration: 100 })
  assert.equal(await (await fetch(url)).text(), 'uploaded')
  assert.equal((await fetch(url.replace('signature=v1_', 'signature=v1_x'))).status, 401)
  const expired = await sandbox.downloadUrl(path, { useSignatureExpiration: -10 })
  assert.deepEqual(await (await fetch(expired)).json(), { code: 401, message: 'signature is already expired' })
})

test('an upload address without a path', async () => {
  const form = new FormData()
  form.append('file', new Blob(['1']), `${directory}/one`)
  form.append('file', new Blob(['2']), `${directory}/two`)
  const response = await fetch(await sandbox.uploadUrl(), { method: 'POST', body: form })
  assert.equal(response.status, 200)
  assert.equal(await sandbox.files.read(`${directory}/two`), '2')
})

test('watch', async () => {
  const events = []
  const handle = await sandbox.files.watchDir(directory, (event) => events.push(event), { recursive: true })
  await sandbox.files.write(`${directory}/file`, 'x')
  await sandbox.files.rename(`${directory}/file`, `${directory}/moved`)
  await sandbox.files.remove(`${directory}/moved`)
  await waitUntil(() => events.some((event) => event.type === 'remove'), 10_000, 'the last event')
  assert.deepEqual([events[0].type, events[0].name], ['create', 'file'])
  for (const kind of ['write', 'rename', 'remove']) assert.ok(events.some((event) => event.type === kind), kind)
  await handle.stop()
})

test('a watch ends at its timeout', async () => {
  let error
  await sandbox.files.watchDir(directory, () => {}, { timeoutMs: 1000, onExit: (reason) => (error = reason) })
  await waitUntil(() => error, 10_000, 'the end of the watch')
  assert.equal(error.name, 'TimeoutError')
})

test('what cannot be watched', async () => {
  await sandbox.files.write(`${directory}/file`, 'x')
  await assert.rejects(sandbox.files.watchDir(`${directory}/file`, () => {}), InvalidArgumentError)
  await assert.rejects(sandbox.files.watchDir(`${directory}/nothing`, () => {}), NotFoundError)
})
