"use strict";
// The trace viewer: an index of all traces, texts unpacked from compressed blocks when they are read.
const PAGE_SIZE = 50;
const ANY = "";

async function unpack(id) {
  const packed = document.getElementById(id).textContent;
  const bytes = Uint8Array.from(atob(packed), c => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

class Viewer {
  constructor(root, index) {
    this.root = root;
    this.names = index.names;
    this.columns = index.columns;
    this.size = index.columns.block.length;
    this.blocks = new Map();
    this.page = 0;
    this.build();
    this.filter();
  }

  name(column, i) { return this.names[column][this.columns[column][i]]; }

  block(number) {
    if (!this.blocks.has(number)) {
      if (this.blocks.size > 40) this.blocks.delete(this.blocks.keys().next().value);
      this.blocks.set(number, unpack(`traces-${number}`));
    }
    return this.blocks.get(number);
  }

  build() {
    this.filters = {};
    const bar = html("div", {class: "filters"});
    const words = {benchmark: "benchmark", series: "model", setting: "budget", verdict: "verdict",
      flip: "flipped", end: "thinking ended", level: "level", domain: "domain"};
    for (const [column, label] of Object.entries(words)) {
      const values = this.names[column].filter(v => v !== "");
      if (!values.length || (values.length < 2 && column !== "flip")) continue;
      const select = html("select", {name: column}, html("option", {value: ANY}, "any"));
      if (column === "flip") select.append(html("option", {value: "*"}, "flipped either way"));
      for (const value of values) select.append(html("option", {value}, value));
      select.addEventListener("change", () => this.filter());
      this.filters[column] = select;
      bar.append(html("label", {}, label, select));
    }
    this.search = html("input", {type: "search", name: "problem", placeholder: "part of its id"});
    this.search.addEventListener("input", () => this.filter());
    const math = html("select", {name: "math"}, html("option", {value: "1"}, "set as math"),
      html("option", {value: ""}, "as written"));
    math.addEventListener("change", () => { showMath = Boolean(math.value); this.read(); });
    bar.append(html("label", {}, "problem", this.search), html("label", {}, "TeX", math));
    this.count = html("p", {class: "count", "aria-live": "polite"});
    this.list = html("div", {class: "list"});
    this.pager = html("div", {class: "pager"});
    this.pair = html("div", {class: "pair"});
    this.root.append(bar, this.count, this.list, this.pager, this.pair);
  }

  filter() {
    const tests = [];
    for (const [column, select] of Object.entries(this.filters)) {
      if (select.value === ANY) continue;
      const codes = this.columns[column];
      if (select.value === "*") {
        const none = this.names[column].indexOf("");
        tests.push(i => codes[i] !== none);
      } else {
        const wanted = this.names[column].indexOf(select.value);
        tests.push(i => codes[i] === wanted);
      }
    }
    const part = this.search.value.trim().toLowerCase();
    if (part) {
      const fits = this.names.problem.map(id => id.toLowerCase().includes(part));
      tests.push(i => fits[this.columns.problem[i]]);
    }
    this.found = [];
    for (let i = 0; i < this.size; i++) if (tests.every(test => test(i))) this.found.push(i);
    this.page = 0;
    this.showList();
  }

  showList() {
    const total = this.found.length, pages = Math.max(1, Math.ceil(total / PAGE_SIZE));
    this.count.textContent = `${total.toLocaleString("en-US")} of ${this.size.toLocaleString("en-US")} traces`;
    const start = this.page * PAGE_SIZE;
    this.list.replaceChildren(...this.found.slice(start, start + PAGE_SIZE).map(i => this.row(i)));
    const move = (text, by) => {
      const button = html("button", {type: "button"}, text);
      button.disabled = this.page + by < 0 || this.page + by >= pages;
      button.addEventListener("click", () => { this.page += by; this.showList(); });
      return button;
    };
    this.pager.replaceChildren(move("← before", -1), `page ${this.page + 1} of ${pages}`, move("next →", 1));
  }

  row(i) {
    const benchmark = this.name("benchmark", i), problem = this.name("problem", i);
    const button = html("button", {type: "button"}, badge(this.name("verdict", i)),
      html("span", {}, problem.startsWith(benchmark) ? problem : `${benchmark} ${problem}`),
      html("span", {}, this.name("series", i)), html("span", {}, this.name("setting", i)),
      html("span", {}, this.name("flip", i) || `${this.columns.tokens[i] ?? "?"} tokens`));
    if (i === this.chosen) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => {
      this.chosen = i;
      this.other = this.neighbour(i);
      for (const row of this.list.children) row.removeAttribute("aria-current");
      button.setAttribute("aria-current", "true");
      this.read();
      this.pair.scrollIntoView({block: "nearest", behavior: "smooth"});
    });
    return button;
  }

  relatives(i) {
    const {benchmark, problem} = this.columns, all = [];
    for (let j = 0; j < this.size; j++) {
      if (problem[j] === problem[i] && benchmark[j] === benchmark[i]) all.push(j);
    }
    return all;
  }

  neighbour(i) {
    const same = this.relatives(i).filter(j => this.columns.series[j] === this.columns.series[i]
      && this.columns.sample[j] === this.columns.sample[i]);
    const at = same.indexOf(i);
    return same[at - 1] ?? same[at + 1] ?? null;
  }

  async read() {
    if (this.chosen === undefined) return;
    const wanted = [this.chosen, ...(this.other === null ? [] : [this.other])];
    const turn = this.turn = (this.turn ?? 0) + 1;
    const texts = await Promise.all(wanted.map(async i => {
      const block = await this.block(this.columns.block[i]);
      const trace = block.traces[this.columns.place[i]];
      return {i, trace, question: block.questions[trace[0]]};
    }));
    if (turn !== this.turn) return;
    const shared = texts.length > 1 ? common(texts[0].trace[1].join(""), texts[1].trace[1].join("")) : 0;
    const question = html("p", {class: "question"});
    writeText(question, texts[0].question[0]);
    this.pair.replaceChildren(...texts.map((text, side) => this.article(text, side, shared)));
    this.pair.prepend(wide(question, html("p", {class: "small"},
      `reference answer ${texts[0].question[1]}`)));
  }

  article({i, trace}, side, shared) {
    const [, thinking, answer, extracted, rule, reason, answerTokens, branches] = trace;
    const head = html("header", {}, badge(this.name("verdict", i)));
    if (side === 0) head.append(this.title(i)); else head.append(this.chooser(i));
    const facts = [`${this.columns.tokens[i] ?? "?"} thinking tokens, ended ${this.name("end", i) || "?"}`,
      `${answerTokens ?? "?"} answer token${answerTokens === 1 ? "" : "s"}`, `extracted ${extracted ?? "nothing"} (${rule ?? "no rule"})`];
    if (this.columns.waits[i]) facts.push(`${this.columns.waits[i]} wait${this.columns.waits[i] > 1 ? "s" : ""}`);
    if (reason) facts.push(`ungraded: ${reason}`);
    return html("article", {}, head, html("p", {class: "small"}, facts.join(" · ")),
      ...(branches?.length > 1 ? [searchTree(branches)] : []), spans(thinking, "said", shared), spans(answer, "said answer", 0));
  }

  title(i) {
    return html("span", {}, `${this.name("series", i)}, ${this.name("setting", i)}`
      + (this.columns.sample[i] ? `, sample ${this.columns.sample[i]}` : ""));
  }

  chooser(i) {
    const select = html("select", {"aria-label": "compare with"});
    for (const j of this.relatives(this.chosen)) {
      if (j === this.chosen) continue;
      const option = html("option", {value: j}, this.title(j).textContent);
      if (j === i) option.selected = true;
      select.append(option);
    }
    select.addEventListener("change", () => { this.other = Number(select.value); this.read(); });
    return select;
  }
}

function badge(verdict) {
  const known = ["correct", "wrong"].includes(verdict) ? ` ${verdict}` : "";
  return html("span", {class: `verdict${known}`}, verdict);
}

function wide(...children) {
  const node = html("div", {}, ...children);
  node.style.gridColumn = "1 / -1";
  return node;
}
