// A terminal in the browser, on a terminal in the sandbox.

import { fromBase64, toBase64 } from "./envd.js";
import { FitAddon } from "./vendor/addon-fit.mjs";
import { Terminal } from "./vendor/xterm.mjs";

/** Runs a login shell in `element` until it ends or `close` is called on the result. */
export function openTerminal(element, envd) {
  const terminal = new Terminal({ cursorBlink: true, scrollback: 5000 });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  terminal.open(element);
  fit.fit();
  const aborting = new AbortController();
  const observer = new ResizeObserver(() => fit.fit());
  observer.observe(element);
  run(terminal, envd, aborting.signal)
    .then((end) => terminal.writeln(`\r\n[${end}]`))
    .catch((error) => {
      if (!aborting.signal.aborted) terminal.writeln(`\r\n[${printable(error.message)}]`);
    })
    .finally(() => observer.disconnect());
  terminal.focus();
  return {
    close() {
      aborting.abort();
      observer.disconnect();
      terminal.dispose();
    },
  };
}

// What a server says is shown as text, never as control sequences.
const printable = (text) => String(text).replace(/\p{Cc}/gu, "\u{fffd}");

async function run(terminal, envd, signal) {
  const size = () => ({ cols: terminal.cols, rows: terminal.rows });
  const process = {
    cmd: "/bin/sh",
    args: ["-c", 'if command -v bash >/dev/null 2>&1; then exec bash -l -i; else exec sh -l -i; fi'],
    envs: { TERM: "xterm-256color", LANG: "C.UTF-8" },
  };
  const events = envd.stream("process.Process/Start", { process, pty: { size: size() } }, signal);
  let pid;
  // The shell ends with its terminal here, or it would be left behind in the sandbox.
  const kill = () => {
    if (pid) envd.call("process.Process/SendSignal", { process: { pid }, signal: "SIGNAL_SIGKILL" }).catch(() => {});
  };
  signal.addEventListener("abort", kill);
  addEventListener("pagehide", kill, { signal });
  try {
    for await (const { event } of events) {
      if (event?.start) {
        pid = event.start.pid;
        sendInput(terminal, envd, pid);
        terminal.onResize(() => {
          envd.call("process.Process/Update", { process: { pid }, pty: { size: size() } }).catch(() => {});
        });
      } else if (event?.data?.pty) {
        await new Promise((resolve) => terminal.write(fromBase64(event.data.pty), resolve));
      } else if (event?.end) {
        return event.end.status ?? "the shell has ended";
      }
    }
    return "the shell has ended";
  } finally {
    signal.removeEventListener("abort", kill);
  }
}

/** Sends what is typed, in order, and together while an earlier request is on its way. */
function sendInput(terminal, envd, pid) {
  let waiting = [];
  let isSending = false;
  const send = async () => {
    isSending = true;
    while (waiting.length > 0) {
      const bytes = new Uint8Array(waiting.flat());
      waiting = [];
      try {
        await envd.call("process.Process/SendInput", { process: { pid }, input: { pty: toBase64(bytes) } });
      } catch (error) {
        terminal.writeln(`\r\n[input was lost: ${printable(error.message)}]`);
      }
    }
    isSending = false;
  };
  const add = (bytes) => {
    waiting.push([...bytes]);
    if (!isSending) send();
  };
  terminal.onData((text) => add(new TextEncoder().encode(text)));
  terminal.onBinary((text) => add(Uint8Array.from(text, (character) => character.charCodeAt(0))));
}
