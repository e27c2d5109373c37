// The files of a sandbox: list, open, download, upload.

import { button, cell, row } from "./dom.js";

/** Shows the directory in `view`, and lets the person move on from there. */
export function showFiles(view, envd, report) {
  const { table, pathInput, form, upload } = view;
  let directory = "";

  const open = async (path) => {
    const { entry } = await envd.call("filesystem.Filesystem/Stat", { path });
    const { entries = [] } = await envd.call("filesystem.Filesystem/ListDir", { path: entry.path, depth: 1 });
    directory = entry.path;
    pathInput.value = directory;
    const parent = directory.replace(/\/[^/]*$/, "") || "/";
    const rows = directory === "/" ? [] : [row(cell(button("..", () => attempt(parent), "link")), cell(""), cell(""), cell(""))];
    table.replaceChildren(...rows, ...entries.map(describe));
  };
  const attempt = (path) => open(path).catch(report);

  const describe = (entry) => {
    const isDirectory = entry.type === "FILE_TYPE_DIRECTORY";
    const act = isDirectory ? () => attempt(entry.path) : () => download(entry).catch(report);
    const name = button(isDirectory ? `${entry.name}/` : entry.name, act, "link");
    const size = cell(isDirectory ? "" : Number(entry.size ?? 0).toLocaleString("en"));
    size.className = "number";
    return row(cell(name), size, cell(entry.permissions ?? ""), cell(entry.modifiedTime?.slice(0, 19).replace("T", " ") ?? ""));
  };

  const download = async (entry) => {
    const url = URL.createObjectURL(await envd.download(entry.path));
    const link = document.createElement("a");
    link.href = url;
    link.download = entry.name;
    link.click();
    URL.revokeObjectURL(url);
  };

  form.onsubmit = (event) => {
    event.preventDefault();
    attempt(pathInput.value || ".");
  };
  upload.onchange = async () => {
    try {
      await envd.upload(directory, upload.files);
      await open(directory);
    } catch (error) {
      report(error);
    }
    upload.value = "";
  };
  table.replaceChildren();
  attempt(".");
}
