"use strict";
// The traces of one search: a lane each over thinking tokens, forks below what they came from.
const LANE = 20, LEFT = 8, WIDTH = 620, LABEL = 230;
const FATES = {chosen: "the answer", finished: "answered", forked: "went on in forks", dropped: "dropped"};

function svg(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function lanes(branches) {
  const below = new Map(), order = [];
  for (const b of branches) below.set(b.parent, [...(below.get(b.parent) ?? []), b]);
  const walk = b => { order.push(b); (below.get(b.index) ?? []).forEach(walk); };
  (below.get(null) ?? []).forEach(walk);
  return order;
}

function laneWords(b) {
  const weight = b.weight === null ? "" : `, weight ${b.weight.toFixed(2)}`;
  return `${b.answer ?? "no answer"}${weight}, ${FATES[b.fate] ?? b.fate}`;
}

function searchTree(branches) {
  const order = lanes(branches), place = new Map(order.map((b, i) => [b.index, i]));
  const longest = Math.max(1, ...branches.map(b => b.thinking_tokens));
  const x = tokens => LEFT + (WIDTH - LABEL - LEFT) * tokens / longest;
  const y = b => LANE * (place.get(b.index) + 0.5);
  const picture = svg("svg", {class: "tree", viewBox: `0 0 ${WIDTH} ${LANE * order.length}`, role: "img",
    "aria-label": `${branches.length} traces of one search`});
  for (const b of order) {
    const begin = x(b.fork_tokens ?? 0), lane = svg("g", {class: b.fate});
    if (b.parent !== null) {
      const parent = order[place.get(b.parent)];
      lane.append(svg("path", {d: `M${begin} ${y(parent)}V${y(b)}`}));
    }
    lane.append(svg("path", {d: `M${begin} ${y(b)}H${x(b.thinking_tokens)}`}));
    b.step_ends.forEach((end, step) => {
      if (end <= (b.fork_tokens ?? 0)) return;
      const score = b.scores[step];
      const dot = svg("circle", {cx: x(end), cy: y(b), r: 4, "fill-opacity": score ?? 0});
      const told = `step ${step + 1}, ${end} tokens` + ((score ?? null) === null ? "" : `, score ${score.toFixed(2)}`);
      dot.append(svg("title", {}, told));
      lane.append(dot);
    });
    lane.append(svg("text", {x: WIDTH - LABEL + 8, y: y(b) + 4}, laneWords(b)));
    picture.append(lane);
  }
  const words = "A dot is a step, the fuller the higher its score; what was dropped is dashed.";
  return html("figure", {class: "search"}, picture, html("p", {class: "small"}, words));
}
