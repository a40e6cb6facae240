"use strict";
// Text with TeX in it becomes text nodes and MathML. Nothing is ever parsed as HTML.
const TEX = /\$\$([^$]{1,2000}?)\$\$|\\\[([\s\S]{1,2000}?)\\\]|\\\(([\s\S]{1,1000}?)\\\)|\$(?![\s$])((?:\\\$|[^$\n]){0,600}?[^\s\\$])\$(?!\d)|(\\boxed\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})/g;
let showMath = true;
function writeText(node, text) {
  node.textContent = "";
  if (!showMath || !/[$\\]/.test(text)) { node.textContent = text; return; }
  let last = 0;
  for (const match of text.matchAll(TEX)) {
    const tex = match[1] ?? match[2] ?? match[3] ?? match[4] ?? match[5];
    node.append(text.slice(last, match.index));
    last = match.index + match[0].length;
    const span = document.createElement("span");
    try {
      temml.render(tex, span, {displayMode: match[1] !== undefined || match[2] !== undefined,
        throwOnError: true, trust: false, maxExpand: 200});
      span.title = match[0];
    } catch {
      span.textContent = match[0];
    }
    node.append(span);
  }
  node.append(text.slice(last));
}
