// Commands and terminals: results, streams, stdin, timeouts, and processes that outlive a connection.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { CommandExitError, InvalidArgumentError, NotFoundError, Sandbox, TimeoutError } from 'e2b'

import { run, testSince, waitUntil } from './support.mjs'

let sandbox
before(async () => {
  sandbox = await Sandbox.create({ metadata: { run } })
})
after(() => sandbox.kill())

test('result', async () => {
  const result = await sandbox.commands.run('echo out; echo err >&2')
  assert.deepEqual([result.stdout, result.stderr, result.exitCode], ['out\n', 'err\n', 0])
})

test('exit codes', async () => {
  for (const code of [1, 127, 255]) {
    await assert.rejects(sandbox.commands.run(`echo out; exit ${code}`), (error) => {
      assert.ok(error instanceof CommandExitError)
      assert.deepEqual([error.exitCode, error.stdout], [code, 'out\n'])
      return true
    })
  }
})

test('environment, working directory, unicode', async () => {
  const result = await sandbox.commands.run('printf "%s|%s" "$TEXT" "$PWD"', { envs: { TEXT: 'ünï \'"$`\n🦀' }, cwd: '/' })
  assert.equal(result.stdout, 'ünï \'"$`\n🦀|/')
  await assert.rejects(sandbox.commands.run('pwd', { cwd: '/no/such/directory' }), InvalidArgumentError)
})

test('callbacks come as the output does', async () => {
  const arrivals = []
  await sandbox.commands.run('for i in 1 2 3; do echo $i; sleep 0.3; done; echo last >&2', {
    onStdout: (text) => arrivals.push([Date.now(), text]),
    onStderr: (text) => arrivals.push([Date.now(), text]),
  })
  assert.deepEqual(arrivals.map(([, text]) => text), ['1\n', '2\n', '3\n', 'last\n'])
  assert.ok(arrivals[2][0] - arrivals[0][0] > 400)
})

test('twenty megabytes of output', async () => {
  const result = await sandbox.commands.run("head -c 20000000 /dev/zero | tr '\\0' a")
  assert.equal(result.stdout.length, 20_000_000)
})

testSince('2.45.0', 'stdin', async () => {
  const handle = await sandbox.commands.run('wc -c', { background: true, stdin: true })
  await sandbox.commands.sendStdin(handle.pid, 'four')
  await sandbox.commands.closeStdin(handle.pid)
  assert.equal((await handle.wait()).stdout.trim(), '4')
  await assert.rejects(sandbox.commands.sendStdin(999_999, 'x'), NotFoundError)
})

test('list, kill', async () => {
  const handle = await sandbox.commands.run('sleep 60', { background: true })
  assert.ok((await sandbox.commands.list()).some((process) => process.pid === handle.pid && process.args.at(-1) === 'sleep 60'))
  assert.equal(await sandbox.commands.kill(handle.pid), true)
  await assert.rejects(handle.wait(), CommandExitError)
  assert.equal(await sandbox.commands.kill(handle.pid), false)
})

test('a process outlives its connection', async () => {
  const handle = await sandbox.commands.run('sleep 1; echo late; exit 3', { background: true, timeoutMs: 0 })
  await handle.disconnect()
  const again = await sandbox.commands.connect(handle.pid)
  await assert.rejects(again.wait(), (error) => error.exitCode === 3 && error.stdout === 'late\n')
})

test('a timeout kills the process', async () => {
  await assert.rejects(sandbox.commands.run('echo $$ > pid; sleep 60', { timeoutMs: 1000 }), TimeoutError)
  const pid = (await sandbox.files.read('pid')).trim()
  await waitUntil(
    async () => (await sandbox.commands.run(`kill -0 ${pid} 2>/dev/null || echo gone`)).stdout === 'gone\n',
    10_000,
    'the end of the process'
  )
})

test('an unknown user is refused', async () => {
  await assert.rejects(sandbox.commands.run('true', { user: 'nosuchuser' }), (error) => error.name === 'AuthenticationError')
})

test('terminal: shell, size, kill', async () => {
  let screen = ''
  const shows = (text) => waitUntil(() => screen.includes(text), 10_000, `${text} on the screen`)
  const handle = await sandbox.pty.create({ rows: 24, cols: 80, onData: (data) => (screen += Buffer.from(data)) })
  const type = (text) => sandbox.pty.sendInput(handle.pid, Buffer.from(text))
  await type('stty size\n')
  await shows('24 80')
  await sandbox.pty.resize(handle.pid, { rows: 50, cols: 132 })
  await type('stty size\n')
  await shows('50 132')
  assert.equal(await sandbox.pty.kill(handle.pid), true)
  await assert.rejects(handle.wait(), CommandExitError)
  assert.equal(await sandbox.pty.kill(handle.pid), false)
})

test('terminal: exit code', async () => {
  const handle = await sandbox.pty.create({ rows: 24, cols: 80, onData: () => {} })
  await sandbox.pty.sendInput(handle.pid, Buffer.from('exit 7\n'))
  await assert.rejects(handle.wait(), (error) => error.exitCode === 7)
})
