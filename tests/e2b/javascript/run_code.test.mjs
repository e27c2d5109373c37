// Code by `runCode`: state, results, output as it comes, errors, contexts.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { Sandbox } from '@e2b/code-interpreter'

import { run } from './support.mjs'

let sandbox
before(async () => {
  sandbox = await Sandbox.create({ metadata: { run } })
})
after(() => sandbox.kill())

test('result and output', async () => {
  const execution = await sandbox.runCode("import sys\nprint('out')\nprint('err', file=sys.stderr)\n6 * 7")
  assert.equal(execution.text, '42')
  assert.equal(execution.logs.stdout.join(''), 'out\n')
  assert.equal(execution.logs.stderr.join(''), 'err\n')
  assert.equal(execution.error, undefined)
})

test('state is kept, errors are told', async () => {
  await sandbox.runCode('kept = [1]')
  assert.equal((await sandbox.runCode('kept.append(2); kept')).text, '[1, 2]')
  const { error } = await sandbox.runCode('1 / 0')
  assert.deepEqual([error.name, error.value], ['ZeroDivisionError', 'division by zero'])
})

test('output comes as it is printed', async () => {
  const arrivals = []
  await sandbox.runCode('import time\nfor i in range(3):\n    print(i, flush=True)\n    time.sleep(0.4)', {
    onStdout: () => arrivals.push(Date.now()),
  })
  assert.ok(arrivals.at(-1) - arrivals[0] > 500)
})

test('contexts are separate', async () => {
  const context = await sandbox.createCodeContext({ cwd: '/tmp' })
  assert.equal((await sandbox.runCode('import os; os.getcwd()', { context })).text, '/tmp')
  await sandbox.runCode('only_here = 1', { context })
  assert.equal((await sandbox.runCode('only_here')).error.name, 'NameError')
  await sandbox.removeCodeContext(context)
})

test('bash', async () => {
  const execution = await sandbox.runCode('echo from $((1 + 1))', { language: 'bash' })
  assert.equal(execution.logs.stdout.join(''), 'from 2\n')
})
