// The data plane of one sandbox: the Connect protocol with JSON (https://connectrpc.com/docs/protocol), and files.

import { check } from "./api.js";

const END_OF_STREAM = 0x02;

export class Envd {
  constructor(sandbox) {
    this.headers = {
      "E2b-Sandbox-Id": sandbox.sandboxID,
      "E2b-Sandbox-Port": "49983",
      "X-Access-Token": sandbox.envdAccessToken ?? "",
    };
  }

  async call(method, message) {
    const response = await fetch(`/${method}`, {
      method: "POST",
      headers: { ...this.headers, "Content-Type": "application/json", "Connect-Protocol-Version": "1" },
      body: JSON.stringify(message),
    });
    return (await check(response)).json();
  }

  /** Yields the messages of a stream, until it ends or `signal` aborts it. */
  async *stream(method, message, signal) {
    const response = await fetch(`/${method}`, {
      method: "POST",
      headers: { ...this.headers, "Content-Type": "application/connect+json", "Connect-Protocol-Version": "1" },
      body: frame(message),
      signal,
    });
    for await (const [flags, payload] of frames((await check(response)).body)) {
      const parsed = JSON.parse(new TextDecoder().decode(payload));
      if (flags & END_OF_STREAM) {
        if (parsed.error) throw new Error(parsed.error.message ?? parsed.error.code);
        return;
      }
      yield parsed;
    }
    throw new Error("the stream was cut off");
  }

  async download(path) {
    const response = await fetch(`/files?${new URLSearchParams({ path })}`, { headers: this.headers });
    return (await check(response)).blob();
  }

  async upload(directory, files) {
    const body = new FormData();
    for (const file of files) body.append("file", file, `${directory}/${file.name}`);
    await check(await fetch("/files", { method: "POST", headers: this.headers, body }));
  }
}

function frame(message) {
  const payload = new TextEncoder().encode(JSON.stringify(message));
  const framed = new Uint8Array(payload.length + 5);
  new DataView(framed.buffer).setUint32(1, payload.length);
  framed.set(payload, 5);
  return framed;
}

async function* frames(body) {
  let received = new Uint8Array();
  const reader = body.getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const joined = new Uint8Array(received.length + value.length);
      joined.set(received);
      joined.set(value, received.length);
      received = joined;
      while (received.length >= 5) {
        const length = new DataView(received.buffer, received.byteOffset).getUint32(1);
        if (received.length < 5 + length) break;
        yield [received[0], received.subarray(5, 5 + length)];
        received = received.slice(5 + length);
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

export function toBase64(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

export const fromBase64 = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
