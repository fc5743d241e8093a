// Draws each chart when it is about to be seen, all of them for print, and anew when the colour scheme changes.
"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("data-figures").textContent);
  const config = { displayModeBar: false, displaylogo: false, responsive: true, showTips: false };
  const places = [...document.querySelectorAll("[data-figure]")];
  const drawn = new Set();

  // Colours stand in figures by the names of the style's variables.
  const coloured = (value, style) => {
    if (typeof value === "string") {
      const name = /^var\((--[\w-]+)\)$/.exec(value);
      return name ? style.getPropertyValue(name[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map((item) => coloured(item, style));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, coloured(item, style)]));
  };

  const draw = (place) => {
    const { data, layout } = coloured(figures[place.dataset.figure], getComputedStyle(document.documentElement));
    Plotly.react(place, data, layout, config);
    drawn.add(place);
    near.unobserve(place);
  };

  const near = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => draw(entry.target)),
    { rootMargin: "600px" },
  );
  places.forEach((place) => near.observe(place));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach(draw));
  addEventListener("beforeprint", () => places.filter((place) => !drawn.has(place)).forEach(draw));
})();
