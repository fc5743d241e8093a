// The browser of pairs. Whatever models wrote is shown by textContent, so that it stays text.
"use strict";
(() => {
  const form = document.getElementById("filters");
  if (!form) return;
  const PAGE = 20;
  const at = (id) => document.getElementById(id);
  const all = JSON.parse(at("data-samples").textContent);
  const sides = (pair) => [pair.chosen, pair.rejected];
  const verdicts = (pair) => sides(pair).flatMap((side) => side.verdicts);
  const margin = (pair) => pair.chosen.score - pair.rejected.score;
  const length = (pair) => Math.max(...sides(pair).map((side) => side.length ?? 0));
  const texts = (pair) => [pair.prompt, ...sides(pair).map((side) => side.text), ...verdicts(pair).map((one) => one.text)];
  // Made when they are first searched: lower case, a character between texts that nobody types.
  const searchable = (pair) => (pair.searchable ??= texts(pair).join("\u0000").toLowerCase());
  const number = (value) => value.toLocaleString("en");
  const two = (value) => value.toFixed(2);

  const orders = {
    file: null,
    "margin-down": (a, b) => margin(b) - margin(a),
    "margin-up": (a, b) => margin(a) - margin(b),
    "length-down": (a, b) => length(b) - length(a),
  };
  const within = (value, from, to) => (from === "" || value >= Number(from)) && (to === "" || value <= Number(to));
  const outcomeFits = (pair, wanted) => {
    const outcomes = verdicts(pair).map((one) => one.outcome);
    if (wanted === "scored") return outcomes.every((one) => one === "scored");
    if (wanted === "unscored") return outcomes.some((one) => one !== "scored");
    return outcomes.includes(wanted);
  };

  const fits = (pair, by) =>
    (by.iteration === "" || pair.model === Number(by.iteration)) &&
    (by.outcome === "" || outcomeFits(pair, by.outcome)) &&
    within(pair.chosen.score, by["score-from"], by["score-to"]) &&
    within(length(pair), by["length-from"], by["length-to"]) &&
    (by.search === "" || searchable(pair).includes(by.search.toLowerCase()));

  let found = all;
  let page = 0;

  const select = () => {
    const by = Object.fromEntries(new FormData(form));
    found = all.filter((pair) => fits(pair, by));
    if (orders[by.sort]) found.sort(orders[by.sort]);
    page = 0;
    show();
  };

  const verdict = (one) => {
    const item = document.createElement("li");
    const score = document.createElement("b");
    score.textContent = one.outcome === "scored" ? one.score : one.outcome.replaceAll("_", " ");
    const text = document.createElement("span");
    text.className = "text";
    text.textContent = one.text;
    item.append(score, text);
    return item;
  };

  const fillSide = (box, side, name) => {
    const tokens = side.length === null ? "" : `, ${number(side.length)} tokens`;
    box.querySelector(".facts").textContent = `score ${two(side.score)}${tokens}`;
    const text = box.querySelector(".text");
    text.textContent = side.text;
    text.setAttribute("role", "region");
    text.setAttribute("aria-label", `${name} answer`);
    box.querySelector("ol").append(...side.verdicts.map(verdict));
    const scores = side.verdicts.map((one) => (one.outcome === "scored" ? one.score : "–")).join(", ");
    box.querySelector("summary").textContent = `${side.verdicts.length === 1 ? "1 verdict" : `${side.verdicts.length} verdicts`}: ${scores}`;
    box.querySelector("details").hidden = side.verdicts.length === 0;
  };

  const row = (pair) => {
    const part = at("pair").content.cloneNode(true);
    part.querySelector(".facts").textContent = `for M${pair.model}, margin ${two(margin(pair))}`;
    part.querySelector("h3").textContent = pair.prompt;
    fillSide(part.querySelector(".chosen"), pair.chosen, "Chosen");
    fillSide(part.querySelector(".rejected"), pair.rejected, "Rejected");
    return part;
  };

  const show = () => {
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    const start = page * PAGE;
    const rows = found.slice(start, start + PAGE);
    at("pairs").replaceChildren(...rows.map(row));
    at("count").textContent = rows.length
      ? `Showing ${number(start + 1)} to ${number(start + rows.length)} of ${number(found.length)} pairs` +
        (found.length < all.length ? ` that fit, out of ${number(all.length)}.` : ".")
      : "No pair fits.";
    at("page").textContent = `Page ${number(page + 1)} of ${number(pages)}`;
    at("earlier").disabled = page === 0;
    at("later").disabled = page + 1 >= pages;
  };

  let waiting;
  // A search that waits for more to be typed is done before anything else is: done late, it would turn the page back.
  const settle = () => {
    if (waiting === undefined) return;
    clearTimeout(waiting);
    waiting = undefined;
    select();
  };

  const turn = (by) => {
    settle();
    page += by;
    show();
    at("count").scrollIntoView({ block: "start" });
  };

  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(settle, 150);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    select();
  });
  // The fields have their first values only after this event.
  form.addEventListener("reset", () => setTimeout(select));
  at("earlier").addEventListener("click", () => turn(-1));
  at("later").addEventListener("click", () => turn(1));
  show();
})();
