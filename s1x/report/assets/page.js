"use strict";
// Starts the page: charts as they come into view, files to save, math in the ten traces, the viewer.
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
  const image = figure.querySelector("svg").cloneNode(true);
  const look = getComputedStyle(document.documentElement);
  const plain = text => text.replace(/var\((--[\w]+)\)/g, (_, name) => look.getPropertyValue(name).trim());
  for (const node of image.querySelectorAll("[style]")) node.setAttribute("style", plain(node.getAttribute("style")));
  for (const node of image.querySelectorAll("text")) node.setAttribute("fill", plain("var(--ink)"));
  image.setAttribute("xmlns", SVG);
  image.setAttribute("font-family", "sans-serif");
  image.setAttribute("font-size", "12");
  return new XMLSerializer().serializeToString(image);
}

function start() {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const waiting = new Map();
  const seen = new IntersectionObserver(entries => {
    for (const entry of entries.filter(e => e.isIntersecting)) {
      seen.unobserve(entry.target);
      waiting.get(entry.target)();
    }
  }, {rootMargin: "600px"});
  for (const figure of document.querySelectorAll("figure.chart")) {
    const spec = charts[figure.dataset.chart];
    waiting.set(figure, () => {
      if (spec.kind === "frames") drawFrames(figure, spec); else new Chart(figure, spec).draw();
      tools(figure, "SVG", () => save(`${spec.key}.svg`, "image/svg+xml", pictureText(figure)));
    });
    seen.observe(figure);
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
