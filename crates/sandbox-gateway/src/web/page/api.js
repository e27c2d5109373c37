// The REST API of the gateway, with the key of the person at the page.

const STORED_KEY = "sandbox-api-key";

/** An error that the gateway has answered with. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// The key stays in this tab and is gone when that is closed.
export const key = {
  get: () => sessionStorage.getItem(STORED_KEY),
  set: (value) => sessionStorage.setItem(STORED_KEY, value),
  clear: () => sessionStorage.removeItem(STORED_KEY),
};

/** Fails with the message of the gateway unless the response is a success. */
export async function check(response) {
  if (response.ok) return response;
  const text = await response.text();
  let message = text.slice(0, 500);
  try {
    message = JSON.parse(text).message ?? message;
  } catch {
    // Not the gateway's own: a proxy in between.
  }
  throw new ApiError(response.status, message || `status ${response.status}`);
}

async function request(method, path, body) {
  const headers = { "X-API-Key": key.get() ?? "" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  return check(response);
}

const path = (id, rest = "") => `/sandboxes/${encodeURIComponent(id)}${rest}`;

/** All sandboxes of the key, page by page, at most `most`. */
export async function list(most = 1000) {
  const all = [];
  for (let next = ""; next !== null && all.length < most; ) {
    const query = new URLSearchParams({ limit: "100" });
    if (next) query.set("nextToken", next);
    const response = await request("GET", `/v2/sandboxes?${query}`);
    all.push(...(await response.json()));
    next = response.headers.get("X-Next-Token");
  }
  return all;
}

export const create = async (templateID) => (await request("POST", "/v2/sandboxes", { templateID })).json();
export const info = async (id) => (await request("GET", path(id))).json();
export const kill = (id) => request("DELETE", path(id));
export const pause = (id) => request("POST", path(id, "/pause"), {});
export const resume = (id) => request("POST", `/v2${path(id, "/connect")}`, {});
export const logs = async (id) => (await (await request("GET", `/v2${path(id, "/logs")}`)).json()).logs ?? [];
