// E2B's own JavaScript SDK against `sandbox serve`.
//
//     npm install @e2b/code-interpreter
//     export E2B_API_URL=http://127.0.0.1:3000 E2B_SANDBOX_URL=http://127.0.0.1:3000 E2B_API_KEY=e2b_…
//     node quickstart.mjs

import { Sandbox } from '@e2b/code-interpreter'

const sandbox = await Sandbox.create({ timeoutMs: 120_000 })
try {
  console.log('created', sandbox.sandboxId)

  const result = await sandbox.commands.run('echo hello from $E2B_SANDBOX_ID')
  console.log('command:', result.stdout.trim())

  await sandbox.files.write('notes/today.txt', 'written from outside\n')
  console.log('file:', (await sandbox.files.read('notes/today.txt')).trim())

  const execution = await sandbox.runCode("lines = open('notes/today.txt').readlines(); len(lines)")
  console.log('code:', execution.text)
} finally {
  await sandbox.kill()
}
console.log('the sandbox is gone:', !(await sandbox.isRunning()))
