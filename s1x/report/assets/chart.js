"use strict";
// Draws the report's charts as SVG. A chart is data (s1x/report/charts.py); colours are CSS variables.
const SVG = "http://www.w3.org/2000/svg";
const tone = name => `var(--${name})`;
const fixed = (value, digits = 1) => value.toLocaleString("en-US",
  {minimumFractionDigits: digits, maximumFractionDigits: digits});

function svg(tag, attributes = {}, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "fill" || name === "stroke") node.style[name] = value;
    else node.setAttribute(name, value);
  }
  if (text !== undefined) node.textContent = text;
  return node;
}

function html(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function niceStep(span, most) {
  const raw = span / most, power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 2.5, 5, 10].map(f => f * power).find(step => step >= raw) ?? raw;
}

class Chart {
  constructor(figure, spec) {
    this.figure = figure;
    this.spec = spec;
    this.hidden = new Set();
    this.legend = html("div", {class: "legend"});
    this.stage = html("div");
    this.tip = html("div", {class: "tip", role: "status"});
    figure.append(this.legend, this.stage, this.tip);
    this.fillLegend();
    new ResizeObserver(() => this.draw()).observe(figure);
  }

  items() {
    const {spec} = this;
    if (spec.kind === "forest") return [];
    if (spec.kind !== "lines") return spec.parts.map(p => ({...p, box: true}));
    return [...spec.lines, ...spec.levels.map(level => ({...level, dotted: true}))];
  }

  fillLegend() {
    const items = this.items();
    if (items.length < 2) return;
    for (const item of items) {
      const key = html("i", item.box ? {class: "box"} : {});
      if (item.box) key.style.background = tone(item.colour);
      else { key.style.borderTopColor = tone(item.colour); if (item.dashed) key.style.borderTopStyle = "dashed"; if (item.dotted) key.className = "dotted"; }
      const button = html("button", {type: "button", "aria-pressed": "true"}, key, item.name);
      button.addEventListener("click", () => {
        const off = this.hidden.has(item.name);
        this.hidden[off ? "delete" : "add"](item.name);
        button.setAttribute("aria-pressed", String(off));
        this.draw();
      });
      this.legend.append(button);
    }
  }

  draw() {
    const width = Math.max(260, Math.round(this.figure.clientWidth));
    if (!this.figure.clientWidth || (width === this.width && this.hidden.size === this.drawn)) return;
    this.width = width;
    this.drawn = this.hidden.size;
    const kinds = {lines: drawLines, bars: drawBars, histogram: drawHistogram, forest: drawForest};
    const image = kinds[this.spec.kind](this, width);
    image.setAttribute("role", "img");
    image.setAttribute("aria-label", this.spec.title);
    this.stage.replaceChildren(image);
  }

  hover(node, title, lines) {
    const show = event => {
      this.tip.replaceChildren(html("b", {}, title), ...lines.flatMap(l => [l, html("br")]));
      const box = this.figure.getBoundingClientRect();
      const x = event.clientX - box.left, y = event.clientY - box.top;
      this.tip.style.opacity = 1;
      const left = Math.min(Math.max(0, x + 14), Math.max(0, box.width - this.tip.offsetWidth));
      this.tip.style.left = `${left}px`;
      this.tip.style.top = `${y + (y > 150 ? -this.tip.offsetHeight - 12 : 18)}px`;
    };
    for (const name of ["pointerenter", "pointermove", "pointerdown"]) node.addEventListener(name, show);
    node.addEventListener("pointerleave", () => { this.tip.style.opacity = 0; });
  }
}

function frame(width, height) {
  return svg("svg", {viewBox: `0 0 ${width} ${height}`, width, height});
}

function yAxis(image, area, top, label, percent) {
  const step = niceStep(top, 5);
  for (let value = 0; value <= top + 1e-9; value += step) {
    const y = area.y(value);
    image.append(svg("line", {x1: area.left, x2: area.right, y1: y, y2: y, stroke: tone("line")}),
      svg("text", {x: area.left - 7, y: y + 4, "text-anchor": "end"}, value.toLocaleString("en-US")));
  }
  image.append(svg("text", {x: 0, y: 11}, label));
}

function drawLines(chart, width) {
  const {spec} = chart;
  const height = Math.round(Math.min(400, Math.max(270, width * 0.6)));
  const lines = spec.lines.filter(l => !chart.hidden.has(l.name));
  const levels = spec.levels.filter(l => !chart.hidden.has(l.name));
  const marks = spec.lines.flatMap(l => l.marks).filter(m => m.x !== null && m.y !== null);
  const image = frame(width, height);
  if (!marks.length && !levels.length) return image;
  const to = spec.x_log2 ? Math.log2 : v => v;
  const xs = marks.map(m => to(m.x));
  const pad = spec.x_log2 ? 0.35 : (Math.max(...xs) - Math.min(...xs)) * 0.04;
  const low = Math.min(...xs, Infinity) - pad, high = Math.max(...xs, -Infinity) + pad;
  const tops = marks.map(m => m.high ?? m.y).concat(levels.map(l => l.high ?? l.y));
  const most = Math.max(...tops, 5);
  const top = Math.min(100, Math.ceil(most / niceStep(most, 5)) * niceStep(most, 5));
  const area = {left: 38, right: width - 10, top: 26, bottom: height - 40};
  area.y = v => area.bottom - (v / top) * (area.bottom - area.top);
  area.x = v => area.left + ((to(v) - low) / (high - low)) * (area.right - area.left);
  yAxis(image, area, top, spec.y_label);
  xTicks(image, area, spec, low, high, width);
  for (const level of levels) drawLevel(chart, image, area, level);
  for (const line of [...lines].reverse()) drawBand(image, area, line, lines.length > 4 ? 0.06 : 0.13);
  const boxes = [];
  for (const line of [...lines].reverse()) drawLine(chart, image, area, line);
  for (const line of lines) if (line.labelled) drawLabels(image, area, line, boxes);
  return image;
}

function xTicks(image, area, spec, low, high, width) {
  if (Number.isFinite(low)) {
    if (spec.x_log2) {
      const step = Math.max(1, Math.ceil((high - low) / (width / 62)));
      for (let e = Math.ceil(low); e <= high; e += step) tick(image, area, area.x(2 ** e), 2 ** e);
    } else {
      const step = niceStep(high - low, width / 90);
      for (let v = Math.ceil(low / step) * step; v <= high; v += step) tick(image, area, area.x(v), v);
    }
  }
  image.append(svg("text", {x: (area.left + area.right) / 2, y: area.bottom + 34, "text-anchor": "middle"},
    spec.x_label));
}

function tick(image, area, x, value) {
  image.append(svg("line", {x1: x, x2: x, y1: area.bottom, y2: area.bottom + 5, stroke: tone("soft")}),
    svg("text", {x, y: area.bottom + 18, "text-anchor": "middle"}, value.toLocaleString("en-US")));
}

function drawLevel(chart, image, area, level) {
  const y = area.y(level.y);
  if (level.low !== null && level.high !== null) {
    image.append(svg("rect", {x: area.left, width: area.right - area.left, y: area.y(level.high),
      height: area.y(level.low) - area.y(level.high), fill: tone(level.colour), opacity: 0.09}));
  }
  image.append(svg("line", {x1: area.left, x2: area.right, y1: y, y2: y, stroke: tone(level.colour),
    "stroke-width": 1.4, "stroke-dasharray": "2 4"}));
  const target = svg("line", {x1: area.left, x2: area.right, y1: y, y2: y, stroke: "transparent",
    "stroke-width": 12});
  chart.hover(target, level.name, [accuracyText(level)]);
  image.append(target);
}

function ordered(line) {
  return line.marks.filter(m => m.x !== null && m.y !== null).sort((a, b) => a.x - b.x);
}

function drawBand(image, area, line, opacity) {
  const known = ordered(line).filter(m => m.low !== null && m.high !== null);
  if (!known.length) return;
  const upper = known.map(m => `${area.x(m.x)},${area.y(m.high)}`);
  const lower = known.map(m => `${area.x(m.x)},${area.y(m.low)}`).reverse();
  image.append(svg("polygon", {points: [...upper, ...lower].join(" "), fill: tone(line.colour), opacity}));
  for (const m of known) {
    image.append(svg("line", {x1: area.x(m.x), x2: area.x(m.x), y1: area.y(m.low), y2: area.y(m.high),
      stroke: tone(line.colour), opacity: 0.45}));
  }
}

function drawLine(chart, image, area, line) {
  const marks = ordered(line), grey = line.colour === "grey";
  const path = marks.map((m, i) => `${i ? "L" : "M"}${area.x(m.x)},${area.y(m.y)}`).join("");
  image.append(svg("path", {d: path, fill: "none", stroke: tone(line.colour),
    "stroke-width": grey ? 1.5 : 2.2, "stroke-dasharray": line.dashed ? "6 4" : "none",
    "stroke-linejoin": "round"}));
  for (const m of marks) {
    const at = {cx: area.x(m.x), cy: area.y(m.y)};
    image.append(svg("circle", {...at, r: grey ? 3 : 4, fill: tone(line.colour), stroke: tone("bg")}));
    const target = svg("circle", {...at, r: 13, fill: "transparent"});
    const details = [accuracyText(m), ...m.details];
    if (!m.details.length) details.push(`${fixed(m.x, 0)} tokens`);
    chart.hover(target, `${line.name}: ${m.label}`, details);
    image.append(target);
  }
}

function accuracyText(mark) {
  const interval = mark.low === null || mark.high === null ? ""
    : ` (95%: ${fixed(mark.low)} to ${fixed(mark.high)})`;
  return `${fixed(mark.y)}%${interval}`;
}

function drawLabels(image, area, line, boxes) {
  for (const m of ordered(line).reverse()) {
    const x = area.x(m.x), y = area.y(m.y), size = m.label.length * 6.3;
    const places = [[x - 7, y - 8, "end"], [x + 8, y + 15, "start"], [x - 7, y + 15, "end"]];
    for (const [px, py, anchor] of places) {
      const from = anchor === "end" ? px - size : px;
      const box = [from, py - 11, from + size, py + 3];
      if (from < area.left || from + size > area.right + 8 || py > area.bottom - 2) continue;
      if (boxes.some(b => b[0] < box[2] && box[0] < b[2] && b[1] < box[3] && box[1] < b[3])) continue;
      boxes.push(box);
      image.append(svg("text", {x: px, y: py, "text-anchor": anchor, class: "strong"}, m.label));
      break;
    }
  }
}

function drawBars(chart, width) {
  const {spec} = chart;
  const parts = spec.parts.filter(p => !chart.hidden.has(p.name));
  const lanes = spec.stacked ? 1 : Math.max(1, parts.length);
  const lane = spec.stacked ? 20 : 13, gap = 12;
  const rowHeight = lanes * lane + gap;
  const longest = Math.max(...spec.bars.map(b => b.length), 1);
  const above = width < 480 && longest > 14;
  const left = above ? 2 : Math.min(width * 0.4, longest * 6.9 + 12);
  const note = Math.max(0, ...spec.notes.map(n => n.length * 6.4 + 10));
  const row = rowHeight + (above ? 18 : 0);
  const height = spec.bars.length * row + 46;
  const image = frame(width, height);
  const sums = spec.bars.map((_, i) => parts.reduce((s, p) => s + (p.values[i] ?? 0), 0));
  const singles = spec.parts.flatMap(p => [...p.values, ...p.highs]).map(v => v ?? 0);
  const top = spec.x_max ?? Math.max(1e-9, ...(spec.stacked ? sums : singles));
  const right = width - 12 - note - (spec.stacked ? 0 : 28);
  const x = v => left + (v / top) * (right - left);
  const step = niceStep(top, Math.max(2, (right - left) / 80));
  for (let v = 0; v <= top + 1e-9; v += step) {
    image.append(svg("line", {x1: x(v), x2: x(v), y1: 0, y2: height - 40, stroke: tone("line")}),
      svg("text", {x: x(v), y: height - 24, "text-anchor": "middle"}, v.toLocaleString("en-US")));
  }
  image.append(svg("text", {x: (left + right) / 2, y: height - 6, "text-anchor": "middle"}, spec.x_label));
  spec.bars.forEach((name, i) => {
    const y0 = i * row + gap / 2 + (above ? 18 : 0);
    const label = above ? {x: 0, y: y0 - 5} : {x: left - 8, y: y0 + (lanes * lane) / 2 + 4, "text-anchor": "end"};
    image.append(svg("text", {...label, class: "strong"}, shorten(name, above ? width / 6.5 : left / 6.6)));
    let at = 0;
    parts.forEach((part, k) => {
      const value = part.values[i];
      if (value === null) return;
      const y = y0 + (spec.stacked ? 0 : k * lane);
      const bar = svg("rect", {x: x(at), y, width: Math.max(0, x(at + value) - x(at)), height: lane - 2,
        fill: tone(part.colour)});
      const low = part.lows[i] ?? null, high = part.highs[i] ?? null;
      const share = spec.stacked && sums[i] ? ` (${fixed(100 * value / sums[i])}% of ${fixed(sums[i], 0)})` : "";
      const digits = spec.x_label.startsWith("%") ? 1 : 0;
      const words = spec.x_max === 100 ? accuracyText({y: value, low, high}) : fixed(value, digits) + share;
      chart.hover(bar, `${name}: ${part.name}`, [words]);
      image.append(bar);
      if (low !== null && high !== null) {
        image.append(svg("line", {x1: x(low), x2: x(high), y1: y + lane / 2 - 1, y2: y + lane / 2 - 1,
          stroke: tone("ink"), "stroke-width": 1.3}));
      }
      if (spec.stacked) at += value;
      else if (spec.x_max === 100) {
        image.append(svg("text", {x: x(Math.max(value, high ?? 0)) + 5, y: y + lane / 2 + 3,
          "font-size": 10.5}, fixed(value)));
      }
    });
    if (spec.notes[i]) {
      const end = spec.stacked ? x(at) : right;
      image.append(svg("text", {x: end + 7, y: y0 + (lanes * lane) / 2 + 3}, spec.notes[i]));
    }
  });
  return image;
}

const shorten = (text, most) => text.length <= most ? text : text.slice(0, Math.max(3, most - 1)) + "…";

function drawHistogram(chart, width) {
  const {spec} = chart, height = 220, image = frame(width, height);
  const parts = spec.parts.filter(p => !chart.hidden.has(p.name));
  const count = spec.edges.length - 1;
  const sums = Array.from({length: count}, (_, i) => parts.reduce((s, p) => s + (p.values[i] ?? 0), 0));
  const most = Math.max(1, ...sums), top = Math.ceil(most / niceStep(most, 4)) * niceStep(most, 4);
  const area = {left: 44, right: width - 10, top: 24, bottom: height - 38};
  const low = spec.edges[0], high = spec.edges[count];
  area.y = v => area.bottom - (v / top) * (area.bottom - area.top);
  area.x = v => area.left + ((v - low) / (high - low)) * (area.right - area.left);
  yAxis(image, area, top, spec.y_label);
  const step = niceStep(high - low, width / 80);
  for (let v = Math.ceil(low / step) * step; v <= high; v += step) tick(image, area, area.x(v), v);
  image.append(svg("text", {x: (area.left + area.right) / 2, y: height - 4, "text-anchor": "middle"}, spec.x_label));
  for (let i = 0; i < count; i++) {
    let at = 0;
    const x0 = area.x(spec.edges[i]), x1 = area.x(spec.edges[i + 1]);
    for (const part of parts) {
      const value = part.values[i] ?? 0;
      if (!value) continue;
      const bar = svg("rect", {x: x0 + 0.5, width: Math.max(1, x1 - x0 - 1), y: area.y(at + value),
        height: area.y(at) - area.y(at + value), fill: tone(part.colour)});
      const last = Math.max(spec.edges[i], spec.edges[i + 1] - 1);
      chart.hover(bar, `${fixed(spec.edges[i], 0)} to ${fixed(last, 0)} tokens`, [`${part.name}: ${fixed(value, 0)}`]);
      image.append(bar);
      at += value;
    }
  }
  return image;
}

function drawForest(chart, width) {
  const {gaps, x_label} = chart.spec;
  const longest = Math.max(...gaps.map(g => g.name.length)), above = width < 480 && longest > 14;
  const row = above ? 40 : 24, height = gaps.length * row + 48;
  const image = frame(width, height);
  const left = above ? 8 : Math.min(width * 0.4, longest * 6.9 + 12), right = width - 128;
  const low = Math.min(0, ...gaps.map(g => g.low)), high = Math.max(0, ...gaps.map(g => g.high));
  const pad = Math.max(high - low, 1) * 0.04, from = low - pad, to = high + pad;
  const x = v => left + ((v - from) / (to - from)) * (right - left);
  const step = niceStep(to - from, Math.max(2, (right - left) / 70));
  for (let v = Math.ceil(from / step) * step; v <= to; v += step) {
    image.append(svg("line", {x1: x(v), x2: x(v), y1: 0, y2: height - 40, stroke: tone("line")}),
      svg("text", {x: x(v), y: height - 24, "text-anchor": "middle"}, v.toLocaleString("en-US")));
  }
  image.append(svg("line", {x1: x(0), x2: x(0), y1: 0, y2: height - 40, stroke: tone("soft"), "stroke-width": 1.5}),
    svg("text", {x: (left + right) / 2, y: height - 6, "text-anchor": "middle"}, x_label));
  const signed = v => (v > 0 ? "+" : "") + fixed(v);
  gaps.forEach((gap, i) => {
    const y = i * row + (above ? 30 : 14), colour = tone(gap.clear ? "fine_tuned" : "soft");
    const label = above ? {x: 0, y: y - 13} : {x: left - 8, y: y + 4, "text-anchor": "end"};
    image.append(svg("text", {...label, class: "strong"}, shorten(gap.name, above ? width / 6.5 : left / 6.6)),
      svg("line", {x1: x(gap.low), x2: x(gap.high), y1: y, y2: y, stroke: colour, "stroke-width": 2}),
      svg("circle", {cx: x(gap.value), cy: y, r: 4.5, fill: colour}),
      svg("text", {x: right + 8, y: y + 4}, `${signed(gap.value)} (${signed(gap.low)} to ${signed(gap.high)})`));
  });
  return image;
}

function drawFrames(figure, spec) {
  const select = html("select", {"aria-label": spec.choose});
  spec.frames.forEach(([name], i) => select.append(html("option", {value: i}, name)));
  select.value = spec.first;
  const holder = html("div", {class: "chart"});
  const bar = html("p", {class: "small"}, `${spec.choose} `, select);
  figure.append(bar, holder);
  const show = () => { holder.replaceChildren(); new Chart(holder, spec.frames[select.value][1]).draw(); };
  select.addEventListener("change", show);
  show();
}
