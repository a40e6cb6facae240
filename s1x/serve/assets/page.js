"use strict";
// One question under one budget or two: controls above, thinking as it streams below.
const facts = JSON.parse(document.getElementById("facts").textContent);
const [ask, question, lanes, answers] = ["ask", "question", "lanes", "answers"].map(id => document.getElementById(id));
const [go, stop, again, compare] = ["go", "stop", "again", "compare"].map(id => document.getElementById(id));
const REASONS = {natural: "The model ended its thinking by itself", cut: "Thinking was cut at its budget",
  truncated: "Thinking was cut at the end of the context", loop: "Thinking went round in circles and was cut"};
const amount = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;

// Budgets on a log scale, four steps an octave; where a setting may be left open, "natural" ends it.
function ladder(control) {
  const first = Math.max(8, 2 ** Math.floor(Math.log2(facts.context_tokens / 512)));
  const steps = control.least > 0 ? [] : [0];
  for (let i = 0, n = first; n < facts.context_tokens; n = Math.round(first * 2 ** (++i / 4))) {
    if (n >= control.least) steps.push(n);
  }
  return control.optional ? [...steps, null] : steps;
}

function nearest(steps, value) {
  if (value === null) return steps.length - 1;
  const far = n => n === null ? Infinity : Math.abs(Math.log((n + 1) / (value + 1)));
  return steps.reduce((best, n, i) => far(n) < far(steps[best]) ? i : best, 0);
}

// A control is a label with an element in it, and `value`: what is asked of the setting.
function slider(control, value) {
  const steps = ladder(control);
  if (value !== null && !steps.includes(value)) steps.splice(steps.filter(n => n !== null && n < value).length, 0, value);
  const input = html("input", {type: "range", min: 0, max: steps.length - 1, name: control.name});
  const shown = html("output");
  const chosen = () => steps[Number(input.value)];
  const show = () => {
    const words = chosen() === null ? "natural: no limit" : chosen() === 0 ? "no thinking" : amount(chosen(), "token");
    shown.textContent = words;
    input.setAttribute("aria-valuetext", words);
  };
  input.value = nearest(steps, value);
  input.addEventListener("input", show);
  show();
  return {value: chosen, node: html("label", {class: "wide", title: control.doc}, html("span", {}, control.label, shown), input)};
}

function counter(control, value) {
  const input = html("input", {type: "number", name: control.name, min: control.least, step: control.whole ? 1 : "any", inputmode: "decimal"});
  if (control.optional) input.placeholder = "open"; else input.required = true;
  input.value = value ?? "";
  const step = (text, words, by) => {
    const button = html("button", {type: "button", "aria-label": `${words} ${control.label.toLowerCase()}`}, text);
    button.addEventListener("click", () => { input.value = Math.max(control.least, Number(input.value) + by); });
    return button;
  };
  const field = html("span", {class: "stepper"}, step("−", "fewer", -1), input, step("+", "more", 1));
  return {value: () => input.value === "" ? null : Number(input.value),
    node: html("label", {title: control.doc}, html("span", {}, control.label), field)};
}

function choice(control, value) {
  const select = html("select", {name: control.name});
  for (const text of control.choices) select.append(html("option", {value: text}, text));
  select.value = value;
  return {value: () => select.value, node: html("label", {title: control.doc}, html("span", {}, control.label), select)};
}

// A budget: the policy, and its swept settings.
class Budget {
  constructor(values = {}) {
    this.policy = html("select", {name: "policy"});
    for (const {name} of facts.policies) this.policy.append(html("option", {value: name}, name.replaceAll("_", " ")));
    this.policy.value = values.policy ?? facts.policies[0].name;
    this.fields = html("div", {class: "fields"});
    this.node = html("fieldset", {}, html("label", {class: "policy"}, html("span", {}, "Budget policy"), this.policy), this.fields);
    this.policy.addEventListener("change", () => this.build({}));
    this.build(values);
  }

  build(values) {
    const {controls} = facts.policies.find(policy => policy.name === this.policy.value);
    this.controls = Object.fromEntries(controls.map(control => {
      const value = control.name in values ? values[control.name] : control.value;
      const make = control.choices.length ? choice : control.tokens ? slider : counter;
      return [control.name, make(control, value)];
    }));
    this.fields.replaceChildren(...Object.values(this.controls).map(control => control.node));
  }

  value() {
    const values = Object.entries(this.controls).map(([name, control]) => [name, control.value()]);
    return {policy: this.policy.value, ...Object.fromEntries(values)};
  }
}

// An answer as it comes. Texts alternate as the report's do: the model's, forced, the model's, ...
class Answer {
  constructor(budget, text, seed) {
    this.request = {messages: [{role: "user", content: text}], stream: true, seed, budget, reasoning_format: "reasoning_content"};
    this.texts = {thinking: [], answer: []};
    this.runs = [];
    this.tokens = {thinking: 0, forced: 0, answer: 0};
    this.begun = performance.now();
    this.running = true;
    this.title = html("h2", {}, budget.policy.replaceAll("_", " "));
    this.figures = html("p", {class: "figures"});
    this.track = html("div", {class: "track", "aria-hidden": "true"});
    this.boxes = {thinking: html("div", {class: "said"}), answer: html("div", {class: "said answer"})};
    this.end = html("p", {class: "small", role: "status"});
    this.node = html("article", {}, this.title, this.figures, this.track, html("h3", {}, "Thinking"), this.boxes.thinking,
      html("h3", {}, "Answer"), this.boxes.answer, this.end);
  }

  async run(signal) {
    try {
      const key = document.getElementById("key")?.value;
      const headers = {"content-type": "application/json", ...(key && {authorization: `Bearer ${key}`})};
      const reply = await fetch("v1/chat/completions", {method: "POST", headers, body: JSON.stringify(this.request), signal});
      if (!reply.ok) throw new Error((await reply.json()).error.message);
      for await (const chunk of events(reply.body)) this.take(chunk);
      if (!this.facts) throw new Error("The connection ended before the answer did.");
      this.finish();
    } catch (error) {
      this.fail(signal.aborted ? "Stopped." : error instanceof TypeError ? "The server can't be reached." : error.message, signal.aborted);
    } finally {
      this.running = false;
      this.show();
    }
  }

  take(chunk) {
    if (chunk.error) throw new Error(chunk.error.message);
    const choice = chunk.choices[0], said = chunk.s1x ?? {};
    if (!choice) return;
    if (choice.finish_reason) this.facts = {...said, finish: choice.finish_reason};
    if (said.part === "thinking") this.count(said);
    if (said.part === "answer" || said.part === "cue") this.tokens.answer += said.tokens;
    this.write("thinking", choice.delta.reasoning_content, said.forced);
    this.write("answer", choice.delta.content, said.forced);
  }

  count({tokens, forced}) {
    this.tokens.thinking += tokens;
    if (forced) this.tokens.forced += tokens;
    const last = this.runs.at(-1);
    if (last && last.forced === forced) last.tokens += tokens;
    else this.runs.push({forced, tokens, node: this.track.appendChild(html("i", {class: forced ? "forced" : ""}))});
  }

  write(part, text, forced) {
    if (!text) return;
    const texts = this.texts[part], box = this.boxes[part];
    if (texts.length % 2 === (forced ? 0 : 1) && texts.length) {
      texts[texts.length - 1] += text;
      box.lastChild.firstChild.appendData(text);
      return;
    }
    if (texts.length % 2 !== (forced ? 1 : 0)) texts.push("");
    texts.push(text);
    box.append(forced ? html("mark", {class: "forced", title: "forced by the policy"}, text) : html("span", {}, text));
  }

  // What moves while it streams; called once a frame.
  show(scale = this.tokens.thinking) {
    const seconds = this.facts?.seconds.total ?? (performance.now() - this.begun) / 1000;
    if (this.running || !this.figures.dataset.done) {
      this.figures.replaceChildren(...[[this.tokens.thinking.toLocaleString("en"), "thinking tokens"],
        [this.tokens.forced.toLocaleString("en"), "of them forced"], [`${seconds.toFixed(seconds < 10 ? 2 : 1)} s`, "in all"],
      ].map(([value, words]) => html("span", {}, html("b", {}, value), ` ${words}`)));
      if (!this.running) this.figures.dataset.done = "1";
    }
    for (const {tokens, node} of this.runs) node.style.width = `${100 * tokens / Math.max(1, scale)}%`;
    const box = this.boxes.thinking;
    if (this.running && box.scrollHeight - box.scrollTop - box.clientHeight < 80) box.scrollTop = box.scrollHeight;
  }

  finish() {
    const {budget, end_reason: reason, num_waits: waits, num_tries: tries, num_traces: traces, finish} = this.facts;
    this.title.textContent = `${budget.label}`;
    const words = [reason === "cut" && budget.limited_by !== "budget" ? REASONS.truncated : REASONS[reason] ?? reason];
    if (reason === "cut" && budget.limited_by === "budget") words[0] += ` of ${amount(budget.thinking_limit_tokens, "token")}`;
    if (waits) words.push(`its end was put off ${["", "once", "twice"][waits] ?? `${waits} times`}`);
    if (traces > 1) words.push(`chosen out of ${traces} traces`);
    if (tries > 1) words.push(`it took ${tries} tries`);
    if (finish === "length") words.push("the answer was cut");
    this.end.textContent = `${words.join("; ")}.`;
    this.set(0);
  }

  // Writes the texts anew: math is set, and what the other trace begins with too is grey.
  set(shared) {
    for (const [part, box] of Object.entries(this.boxes)) {
      box.replaceChildren(...spans(this.texts[part], "", part === "thinking" ? shared : 0).childNodes);
    }
  }

  fail(text, stopped) {
    this.end.textContent = text;
    this.end.className = stopped ? "small" : "failed";
    if (!stopped) this.end.setAttribute("role", "alert");
  }
}

// The objects of a stream of server-sent events.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const {value, done} = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (line === "data: [DONE]") return;
        if (line.startsWith("data: ")) yield JSON.parse(line.slice(6));
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

const budgets = [new Budget()];
let running = null, seed = null, asked = null;

// The same question and seed are the same trace: a larger budget goes on with it.
async function start(fresh) {
  const text = question.value.trim();
  if (running || !ask.reportValidity()) return;
  if (fresh || text !== asked) seed = Math.floor(Math.random() * 2 ** 48);
  asked = text;
  running = new AbortController();
  const all = budgets.map(budget => new Answer(budget.value(), text, seed));
  answers.replaceChildren(...all.map(answer => answer.node));
  answers.hidden = false;
  answers.scrollIntoView({behavior: "smooth", block: innerWidth < 760 ? "start" : "nearest"});
  [go.hidden, stop.hidden, again.hidden] = [true, false, true];
  const frame = () => {
    const scale = Math.max(...all.map(answer => answer.tokens.thinking));
    for (const answer of all) answer.show(scale);
    if (running) requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  await Promise.all(all.map(answer => answer.run(running.signal)));
  running = null;
  frame();
  if (all.length === 2 && all.every(answer => answer.facts)) shade(all);
  [go.hidden, stop.hidden, again.hidden] = [false, true, !facts.sampled];
}

function shade(all) {
  const [short, long] = [...all].sort((a, b) => a.tokens.thinking - b.tokens.thinking);
  const shared = common(short.texts.thinking.join(""), long.texts.thinking.join(""));
  if (!shared || short.tokens.thinking === long.tokens.thinking) return;
  long.set(shared);
  long.end.append(" Grey: what both traces begin with.");
}

function arrange() {
  if (compare.checked && budgets.length === 1) budgets.push(new Budget(budgets[0].value()));
  if (!compare.checked) budgets.length = 1;
  lanes.replaceChildren(...budgets.map(budget => budget.node));
}

ask.addEventListener("submit", event => { event.preventDefault(); start(false); });
again.addEventListener("click", () => start(true));
stop.addEventListener("click", () => running?.abort());
compare.addEventListener("change", arrange);
question.addEventListener("keydown", event => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  start(false);
});
for (const button of document.querySelectorAll(".examples button")) {
  button.addEventListener("click", () => { question.value = button.textContent; question.focus(); });
}
arrange();
