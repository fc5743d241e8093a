// Renders each chart shortly before it scrolls into view, all charts before printing, and again when the colour scheme changes.
"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("data-figures").textContent);
  const config = { displayModeBar: false, displaylogo: false, responsive: true, showTips: false };
  const containers = [...document.querySelectorAll("[data-figure]")];
  const rendered = new Set();

  // Figures name colours by CSS variables; replace these by their values.
  const resolveColours = (value, style) => {
    if (typeof value === "string") {
      const name = /^var\((--[\w-]+)\)$/.exec(value);
      return name ? style.getPropertyValue(name[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map((item) => resolveColours(item, style));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, resolveColours(item, style)]));
  };

  const render = (container) => {
    const { data, layout } = resolveColours(figures[container.dataset.figure], getComputedStyle(document.documentElement));
    Plotly.react(container, data, layout, config);
    rendered.add(container);
    observer.unobserve(container);
  };

  const observer = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => render(entry.target)),
    { rootMargin: "600px" },
  );
  containers.forEach((container) => observer.observe(container));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => rendered.forEach(render));
  addEventListener("beforeprint", () => containers.filter((container) => !rendered.has(container)).forEach(render));
})();
