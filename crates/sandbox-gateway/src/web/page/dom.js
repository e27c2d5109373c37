// Elements with text. Nothing that a sandbox says becomes markup.

export function button(text, act, className = "") {
  const element = document.createElement("button");
  element.type = "button";
  element.textContent = text;
  element.className = className;
  element.onclick = act;
  return element;
}

export function cell(content) {
  const element = document.createElement("td");
  element.append(content);
  return element;
}

export function row(...cells) {
  const element = document.createElement("tr");
  element.append(...cells);
  return element;
}
