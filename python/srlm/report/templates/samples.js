// The browser of preference pairs. Text written by models is shown by textContent, so that it stays text.
"use strict";
(() => {
  const form = document.getElementById("filters");
  if (!form) return;
  const PAGE = 20;
  const byId = (id) => document.getElementById(id);
  const all = JSON.parse(byId("data-samples").textContent);
  const sides = (pair) => [pair.chosen, pair.rejected];
  const verdicts = (pair) => sides(pair).flatMap((side) => side.verdicts);
  const margin = (pair) => pair.chosen.score - pair.rejected.score;
  const length = (pair) => Math.max(...sides(pair).map((side) => side.length ?? 0));
  const texts = (pair) => [pair.prompt, ...sides(pair).map((side) => side.text), ...verdicts(pair).map((verdict) => verdict.text)];
  // Built at the first search: lower case, joined by a character that no query contains.
  const searchable = (pair) => (pair.searchable ??= texts(pair).join("\u0000").toLowerCase());
  const number = (value) => value.toLocaleString("en");
  const twoDecimals = (value) => value.toFixed(2);

  const orders = {
    file: null,
    "margin-down": (a, b) => margin(b) - margin(a),
    "margin-up": (a, b) => margin(a) - margin(b),
    "length-down": (a, b) => length(b) - length(a),
  };
  const within = (value, from, to) => (from === "" || value >= Number(from)) && (to === "" || value <= Number(to));
  const outcomeMatches = (pair, wanted) => {
    const outcomes = verdicts(pair).map((verdict) => verdict.outcome);
    if (wanted === "scored") return outcomes.every((outcome) => outcome === "scored");
    if (wanted === "unscored") return outcomes.some((outcome) => outcome !== "scored");
    return outcomes.includes(wanted);
  };

  const matches = (pair, by) =>
    (by.iteration === "" || pair.model === Number(by.iteration)) &&
    (by.outcome === "" || outcomeMatches(pair, by.outcome)) &&
    within(pair.chosen.score, by["score-from"], by["score-to"]) &&
    within(length(pair), by["length-from"], by["length-to"]) &&
    (by.search === "" || searchable(pair).includes(by.search.toLowerCase()));

  let matching = all;
  let page = 0;

  const applyFilters = () => {
    const by = Object.fromEntries(new FormData(form));
    matching = all.filter((pair) => matches(pair, by));
    if (orders[by.sort]) matching.sort(orders[by.sort]);
    page = 0;
    show();
  };

  const verdictItem = (verdict) => {
    const item = document.createElement("li");
    const score = document.createElement("b");
    score.textContent = verdict.outcome === "scored" ? verdict.score : verdict.outcome.replaceAll("_", " ");
    const text = document.createElement("span");
    text.className = "text";
    text.textContent = verdict.text;
    item.append(score, text);
    return item;
  };

  const fillSide = (box, side, name) => {
    const tokens = side.length === null ? "" : `, ${number(side.length)} tokens`;
    box.querySelector(".facts").textContent = `score ${twoDecimals(side.score)}${tokens}`;
    const text = box.querySelector(".text");
    text.textContent = side.text;
    text.setAttribute("role", "region");
    text.setAttribute("aria-label", `${name} answer`);
    box.querySelector("ol").append(...side.verdicts.map(verdictItem));
    const scores = side.verdicts.map((verdict) => (verdict.outcome === "scored" ? verdict.score : "–")).join(", ");
    box.querySelector("summary").textContent = `${side.verdicts.length === 1 ? "1 verdict" : `${side.verdicts.length} verdicts`}: ${scores}`;
    box.querySelector("details").hidden = side.verdicts.length === 0;
  };

  const row = (pair) => {
    const part = byId("pair").content.cloneNode(true);
    part.querySelector(".facts").textContent = `for M${pair.model}, margin ${twoDecimals(margin(pair))}`;
    part.querySelector("h3").textContent = pair.prompt;
    fillSide(part.querySelector(".chosen"), pair.chosen, "Chosen");
    fillSide(part.querySelector(".rejected"), pair.rejected, "Rejected");
    return part;
  };

  const show = () => {
    const pages = Math.max(1, Math.ceil(matching.length / PAGE));
    const start = page * PAGE;
    const rows = matching.slice(start, start + PAGE);
    byId("pairs").replaceChildren(...rows.map(row));
    byId("count").textContent = rows.length
      ? `Showing ${number(start + 1)} to ${number(start + rows.length)} of ${number(matching.length)} pairs` +
        (matching.length < all.length ? ` that match, out of ${number(all.length)}.` : ".")
      : "No pair matches.";
    byId("page").textContent = `Page ${number(page + 1)} of ${number(pages)}`;
    byId("earlier").disabled = page === 0;
    byId("later").disabled = page + 1 >= pages;
  };

  let pending;
  // Run a pending search before turning the page: if it ran later, it would reset the page number.
  const applyPendingSearch = () => {
    if (pending === undefined) return;
    clearTimeout(pending);
    pending = undefined;
    applyFilters();
  };

  const turn = (by) => {
    applyPendingSearch();
    page += by;
    show();
    byId("count").scrollIntoView({ block: "start" });
  };

  form.addEventListener("input", () => {
    clearTimeout(pending);
    pending = setTimeout(applyPendingSearch, 150);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    applyFilters();
  });
  // The fields get their initial values only after this event.
  form.addEventListener("reset", () => setTimeout(applyFilters));
  byId("earlier").addEventListener("click", () => turn(-1));
  byId("later").addEventListener("click", () => turn(1));
  show();
})();
