"use strict";
// Starts the page: tooltips of charts, files to save, math in the ten traces, the viewer.
// Charts are SVG in the page already; a mark's words are its aria-label.
function tooltips(figure) {
  const tip = html("div", {class: "tip", role: "status"});
  figure.append(tip);
  const show = event => {
    const mark = event.target.closest("[role=graphics-symbol][aria-label*=' · ']");
    tip.style.opacity = mark ? 1 : 0;
    if (!mark) return;
    const [title, ...lines] = mark.getAttribute("aria-label").split(" · ");
    tip.replaceChildren(html("b", {}, title), ...lines.flatMap(line => [line, html("br")]));
    const box = figure.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    tip.style.left = `${Math.min(Math.max(0, x + 14), Math.max(0, box.width - tip.offsetWidth))}px`;
    tip.style.top = `${y + (y > 150 ? -tip.offsetHeight - 12 : 18)}px`;
  };
  for (const name of ["pointermove", "pointerdown"]) figure.addEventListener(name, show);
  figure.addEventListener("pointerleave", () => { tip.style.opacity = 0; });
}

function save(name, type, text) {
  const link = html("a", {download: name, href: URL.createObjectURL(new Blob([text], {type}))});
  link.click();
  URL.revokeObjectURL(link.href);
}

function tools(figure, text, action) {
  const button = html("button", {type: "button"}, text);
  button.addEventListener("click", action);
  figure.append(html("div", {class: "tools"}, button));
}

function tableText(figure) {
  return [...figure.querySelectorAll("tr")].map(row => [...row.cells]
    .map(cell => `"${cell.textContent.replaceAll('"', '""')}"`).join(",")).join("\n");
}

function pictureText(figure) {
  const look = getComputedStyle(document.documentElement);
  const text = new XMLSerializer().serializeToString(figure.querySelector("svg"));
  return text.replace(/var\((--\w+)\)/g, (_, name) => look.getPropertyValue(name).trim());
}

function start() {
  for (const figure of document.querySelectorAll("figure.chart")) {
    tooltips(figure);
    tools(figure, "SVG", () => save("chart.svg", "image/svg+xml", pictureText(figure)));
  }
  for (const figure of document.querySelectorAll("figure.table")) {
    tools(figure, "CSV", () => save(`${figure.dataset.key}.csv`, "text/csv", tableText(figure)));
  }
  for (const node of document.querySelectorAll(".tex")) writeText(node, node.textContent);
  const root = document.querySelector(".viewer");
  const open = new IntersectionObserver(async entries => {
    if (!entries.some(e => e.isIntersecting)) return;
    open.disconnect();
    window.traceViewer = new Viewer(root, await unpack("traces-index"));
  }, {rootMargin: "1200px"});
  open.observe(root);
}

start();
