// The page: the key, the list of sandboxes, and one of them in detail.

import * as api from "./api.js";
import { button, cell, row } from "./dom.js";
import { Envd } from "./envd.js";
import { showFiles } from "./files.js";
import { openTerminal } from "./terminal.js";

const REFRESH_MS = 5000;
const at = (selector) => document.querySelector(selector);
let selected = null;
let terminal = null;

function report(error) {
  if (error.status === 401) return signOut(error.message);
  const problem = at("#problem");
  problem.textContent = error.message;
  problem.hidden = false;
}

function clearProblem() {
  at("#problem").hidden = true;
}

async function refresh() {
  if (!api.key.get()) return;
  const sandboxes = await api.list();
  at("main").hidden = false;
  at("#sign-in").hidden = true;
  at("#sign-out").hidden = false;
  at("#list tbody").replaceChildren(...sandboxes.map(describe));
  at("#empty").hidden = sandboxes.length > 0;
  if (selected && !sandboxes.some((sandbox) => sandbox.sandboxID === selected)) close();
}

function describe(sandbox) {
  const { sandboxID: id, state } = sandbox;
  const isPaused = state === "paused";
  const act = (work) => () => {
    clearProblem();
    work(id).then(refresh).catch(report);
  };
  const actions = cell(button(isPaused ? "Resume" : "Pause", act(isPaused ? api.resume : api.pause)));
  actions.className = "actions";
  actions.append(" ", button("Kill", act(api.kill)));
  const time = (text) => cell(text.slice(0, 19).replace("T", " "));
  const name = sandbox.alias ?? sandbox.templateID;
  const open = button(id, () => select(id).catch(report), "link");
  const element = row(cell(open), cell(name), cell(state), time(sandbox.startedAt), time(sandbox.endAt), actions);
  element.setAttribute("aria-current", String(id === selected));
  return element;
}

async function select(id) {
  clearProblem();
  close();
  const envd = new Envd(await api.info(id));
  selected = id;
  at("#sandbox-title").textContent = id;
  at("#sandbox").hidden = false;
  const show = {
    terminal: () => {
      terminal ??= openTerminal(at("#terminal"), envd);
    },
    files: () => showFiles({ table: at("#files tbody"), pathInput: at("#path"), form: at("#path-form"), upload: at("#upload") }, envd, report),
    logs: async () => {
      const lines = await api.logs(id);
      at("#logs").textContent = lines.map((line) => `${line.timestamp} ${line.message}`).join("\n") || "The log is empty.";
    },
  };
  for (const tab of document.querySelectorAll("[data-tab]")) {
    tab.onclick = () => {
      clearProblem();
      for (const other of document.querySelectorAll("[data-tab]")) other.setAttribute("aria-selected", String(other === tab));
      for (const panel of document.querySelectorAll("[data-panel]")) panel.hidden = panel.dataset.panel !== tab.dataset.tab;
      Promise.resolve(show[tab.dataset.tab]()).catch(report);
    };
  }
  at('[data-tab="terminal"]').click();
  refresh().catch(report);
}

function close() {
  terminal?.close();
  terminal = null;
  selected = null;
  at("#terminal").replaceChildren();
  at("#sandbox").hidden = true;
}

function signOut(message) {
  close();
  api.key.clear();
  at("main").hidden = true;
  at("#sign-in").hidden = false;
  at("#sign-out").hidden = true;
  clearProblem();
  if (message) report(new Error(message));
}

at("#sign-in").onsubmit = (event) => {
  event.preventDefault();
  clearProblem();
  api.key.set(at("#key").value.trim());
  at("#key").value = "";
  refresh().catch(report);
};
at("#sign-out").onclick = () => signOut();
at("#create").onsubmit = (event) => {
  event.preventDefault();
  clearProblem();
  api
    .create(at("#template").value.trim())
    .then((sandbox) => select(sandbox.sandboxID))
    .catch(report);
};
// A tab in the background asks for nothing.
setInterval(() => {
  if (!document.hidden) refresh().catch(report);
}, REFRESH_MS);
refresh().catch(report);
