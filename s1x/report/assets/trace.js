"use strict";
// How a trace is shown: what the model wrote, what the policy put there, what two traces share.
function html(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function common(a, b) {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n++;
  return n > 20 ? n : 0;
}

// Segments alternate: even ones are the model's, odd ones were forced. What both traces begin with is dimmed.
function spans(segments, name, shared) {
  const node = html("div", {class: name});
  let at = 0;
  segments.forEach((text, k) => {
    if (!text) return;
    const cut = Math.max(0, Math.min(text.length, shared - at));
    at += text.length;
    if (k % 2) { node.append(html("mark", {class: "forced", title: "forced by the policy"}, text)); return; }
    for (const [piece, kind] of [[text.slice(0, cut), "same"], [text.slice(cut), ""]]) {
      if (!piece) continue;
      const span = html("span", kind ? {class: kind} : {});
      writeText(span, piece);
      node.append(span);
    }
  });
  if (!node.childNodes.length) node.append(html("i", {class: "small"}, "nothing"));
  return node;
}
