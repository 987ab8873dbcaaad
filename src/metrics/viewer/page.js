"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const find = (id) => document.getElementById(id);
const [task, verdict, group, run, search] = ["task", "verdict", "group", "run", "search"].map(find);
const words = { right: "right", partly: "partly", wrong: "wrong" };
const STEP = 100;
let shown = [];
let drawn = 0;

// Everything is made of text: nothing that a model wrote is read as a page.
function make(tag, name, text) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined && text !== null) node.textContent = text;
  return node;
}
function add(parent, ...children) {
  for (const child of children) if (child) parent.append(child);
  return parent;
}
function options(select, all, values) {
  select.replaceChildren();
  if (all) add(select, new Option(all, ""));
  for (const value of values) add(select, new Option(value, value));
}
const plain = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 1));
const number = (value, digits = 3) => (typeof value === "number" ? value.toFixed(digits) : "–");
const count = (value) => value.toLocaleString("en");

function current() {
  return data.tasks[task.selectedIndex] || { rows: [], runs: 1 };
}
function opened() {
  const { rows, runs } = current();
  const groups = [...new Set(rows.map((row) => row.group).filter((name) => name !== undefined))].sort();
  options(group, "all", groups);
  find("of-group").hidden = groups.length === 0;
  options(run, "all", Array.from({ length: runs }, (_, i) => String(i + 1)));
  find("of-run").hidden = runs < 2;
  filter();
}
function texts(row) {
  const choices = (row.choices || []).map((choice) => choice.text);
  return [row.prompt, ...choices, ...(row.answers || []).map((answer) => answer.text), plain(row.gold)];
}
function filter() {
  const wanted = search.value.toLowerCase();
  shown = current().rows.filter(
    (row) =>
      (!verdict.value || row.verdict === verdict.value) &&
      (!group.value || row.group === group.value) &&
      (!run.value || row.run === Number(run.value)) &&
      (!wanted || texts(row).some((text) => text && text.toLowerCase().includes(wanted))),
  );
  drawn = 0;
  find("rows").replaceChildren();
  find("count").textContent = `${count(shown.length)} of ${count(current().rows.length)} rows`;
  more();
}
function more() {
  add(find("rows"), ...shown.slice(drawn, drawn + STEP).map(summary));
  drawn = Math.min(drawn + STEP, shown.length);
  find("more").hidden = drawn === shown.length;
}

function peek(row) {
  if (row.answers && row.answers.length) return row.answers[0].text;
  if (row.prompt) return row.prompt.slice(-400);
  return row.choices && row.choices.length ? row.choices[0].text : "";
}
function summary(row) {
  const node = make("details", "row");
  const head = make("summary");
  const { metric, runs } = current();
  const label = `row ${row.row + 1}${runs > 1 ? `, run ${row.run}` : ""}`;
  add(head, make("span", `verdict ${row.verdict || ""}`, words[row.verdict] || "–"), make("span", "number", label));
  add(head, make("span", "value", metric ? number(row.values[metric]) : ""));
  add(head, make("span", "peek", peek(row).replace(/\s+/g, " ").trim().slice(0, 300)));
  add(node, head);
  node.addEventListener("toggle", () => {
    if (node.open && node.childElementCount === 1) add(node, body(row));
  });
  return node;
}

function block(title, text, parent) {
  add(parent, make("h3", "", title), make("pre", "", text));
}
function body(row) {
  const node = make("div", "body");
  const facts = [row.group && `group ${row.group}`, row.cluster && `cluster ${row.cluster}`];
  if (row.truncated) facts.push("the beginning of the prompt was cut off");
  if (facts.some(Boolean)) add(node, make("p", "soft", facts.filter(Boolean).join(" · ")));
  if (row.prompt) block(`Prompt, ${count(row.prompt_tokens)} tokens`, row.prompt, node);
  if (row.choices) choices(row, node);
  (row.answers || []).forEach((answer, i) => written(row, answer, i, node));
  if (!row.choices && row.gold !== null) block("Reference", plain(row.gold), node);
  judged(row, node);
  if (row.columns && Object.keys(row.columns).length) block("Columns of the row", plain(row.columns), node);
  return node;
}
function written(row, answer, i, node) {
  (answer.before || []).forEach((text, turn) => block(`Answer to question ${turn + 1}`, text, node));
  const which = row.answers.length > 1 ? ` ${i + 1} of ${row.answers.length}` : "";
  const end = answer.finish_reason === "length" ? "cut off at the limit" : "came to an end";
  block(`Answer${which}, ${count(answer.tokens)} tokens, ${end}`, answer.text || "(empty)", node);
}
function choices(row, node) {
  const table = make("table");
  const per = (choice, size) => (choice.sum === null || !size ? null : choice.sum / size);
  const of = [
    ["log-likelihood", (choice) => choice.sum],
    ["a token", (choice) => per(choice, choice.tokens)],
    ["a character", (choice) => per(choice, [...choice.text].length)],
  ];
  if (row.choices.some((choice) => typeof choice.alone === "number"))
    of.push(["above alone", (choice) => (choice.sum === null ? null : choice.sum - choice.alone)]);
  const best = of.map(([, value]) => Math.max(...row.choices.map((choice) => value(choice) ?? -Infinity)));
  const head = add(make("tr"), make("th", "", ""), make("th", "left", "choice"));
  for (const [name] of of) add(head, make("th", "", name));
  add(head, make("th", "", "tokens"), make("th", "", "likeliest tokens"));
  add(table, add(make("thead"), head));
  const rows = make("tbody");
  row.choices.forEach((choice, i) => {
    const right = row.right.includes(i);
    const line = add(make("tr"), make("td", right ? "right" : "", right ? "✓ right" : ""), make("td", "text", choice.text));
    of.forEach(([, value], at) => {
      const is = value(choice);
      add(line, make("td", row.choices.length > 1 && is === best[at] ? "top" : "", number(is, 4)));
    });
    add(rows, add(line, make("td", "", choice.tokens), make("td", "", choice.greedy ? "all" : "")));
  });
  add(node, make("h3", "", "Choices"), add(make("div", "scroll"), add(table, rows)));
}
function judged(row, node) {
  const table = make("table");
  const head = add(make("tr"), make("th", "", "score"), make("th", "left", "value"));
  const rows = make("tbody");
  if (row.extracted) add(head, make("th", "left", "extracted"), make("th", "left", "compared with"));
  const names = [...new Set([...Object.keys(row.values), ...Object.keys(row.extracted || {})])];
  for (const name of names) {
    const taken = (row.extracted || {})[name] || {};
    const ids = (row.columns || {}).instruction_id_list;
    const line = add(make("tr"), make("th", "", name), make("td", "left", number(row.values[name], 4)));
    if (Array.isArray(taken.strict) && Array.isArray(ids)) {
      const mark = (list, i) => (Array.isArray(list[0]) ? "" : list[i] ? "✓" : "✗");
      const text = ids.map((id, i) => `${mark(taken.strict, i)} strict ${mark(taken.loose, i)} loose  ${id}`).join("\n");
      add(line, make("td", "text", text), make("td", "text", ""));
    } else if (row.extracted) {
      const text = (value) => (value === undefined || value === null ? "" : plain(value));
      add(line, make("td", "text", text(taken.predicted)), make("td", "text", text(taken.expected)));
    }
    add(rows, line);
  }
  add(node, make("h3", "", "Verdict"), add(make("div", "scroll"), add(table, add(make("thead"), head), rows)));
}

let waiting;
search.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(filter, 150);
});
for (const select of [verdict, group, run]) select.addEventListener("change", filter);
task.addEventListener("change", opened);
find("more").addEventListener("click", more);
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
if ("IntersectionObserver" in window)
  new IntersectionObserver((seen) => {
    if (seen.some((entry) => entry.isIntersecting) && drawn < shown.length) more();
  }, { rootMargin: "600px" }).observe(find("more"));
options(task, "", data.tasks.map((one) => one.name));
task.parentElement.hidden = data.tasks.length < 2;
const empty = find("verdict").querySelector('option[value="partly"]');
empty.hidden = !data.tasks.some((one) => one.rows.some((row) => row.verdict === "partly"));
opened();
