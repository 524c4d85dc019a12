// Sorts tables by a click on a heading, and reads out charts and heatmaps under the pointer or the arrow keys.
// All text that it shows comes from the page by textContent: nothing of a model's or of data is ever markup or code here.
(() => {
  "use strict";

  const numberIn = (text) => {
    const match = /[-+\u2212]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e[-+]?\d+)?/i.exec(text);
    return match ? parseFloat(match[0].replace(/,/g, "").replace("\u2212", "-")) : NaN;
  };

  const sort = (table, heads, column) => {
    const rows = [...table.rows].filter((row) => row !== heads[0].parentElement);
    const up = heads[column].getAttribute("aria-sort") !== "ascending";
    const texts = new Map(rows.map((row) => [row, (row.cells[column]?.textContent ?? "").trim()]));
    const numbers = new Map(rows.map((row) => [row, numberIn(texts.get(row))]));
    const numeric = rows.filter((row) => /^[^a-z]*\d/i.test(texts.get(row))).length * 2 > rows.length;
    const compare = (a, b) => {
      if (!numeric) return texts.get(a).localeCompare(texts.get(b)) * (up ? 1 : -1);
      const [x, y] = [numbers.get(a), numbers.get(b)];
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
      return (x - y) * (up ? 1 : -1);
    };
    for (const row of rows.sort(compare)) row.parentElement.append(row);
    for (const head of heads) head.removeAttribute("aria-sort");
    heads[column].setAttribute("aria-sort", up ? "ascending" : "descending");
  };

  for (const table of document.querySelectorAll("table:not(.cells)")) {
    const heads = [...(table.rows[0]?.cells ?? [])];
    if (heads.length < 2 || table.rows.length < 3 || heads.some((head) => head.tagName !== "TH")) continue;
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sort(table, heads, column));
      head.append(button);
    });
  }

  const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  const within = (value, count) => Math.max(0, Math.min(count - 1, value));

  for (const figure of document.querySelectorAll("figure.heat")) {
    const out = figure.querySelector("output");
    const cells = [...figure.querySelectorAll("tbody tr")].map((row) => [...row.querySelectorAll("td")]);
    const rows = [...figure.querySelectorAll("tbody th")].map((head) => head.textContent);
    const columns = [...figure.querySelectorAll("thead th")].slice(1).map((head) => head.textContent);
    let here = [0, 0];
    const show = (row, column) => {
      cells[here[0]][here[1]].classList.remove("here");
      here = [within(row, cells.length), within(column, columns.length)];
      const cell = cells[here[0]][here[1]];
      cell.classList.add("here");
      out.textContent = `${rows[here[0]]} \u00b7 ${columns[here[1]]}  ${cell.dataset.v ?? "none"}`;
    };
    figure.addEventListener("pointerover", (event) => {
      const cell = event.target.closest("td");
      if (cell) show(cells.findIndex((row) => row.includes(cell)), cell.cellIndex - 1);
    });
    figure.addEventListener("keydown", (event) => {
      const step = STEPS[event.key];
      if (step) { event.preventDefault(); show(here[0] + step[0], here[1] + step[1]); }
    });
  }

  for (const figure of document.querySelectorAll("figure.chart")) {
    const svg = figure.querySelector("svg"), out = figure.querySelector("output"), line = figure.querySelector(".cursor");
    const points = JSON.parse(svg.dataset.points);
    let here = 0;
    const show = (place) => {
      here = within(place, points.length);
      const [x, y, half, pixel] = points[here];
      line.setAttribute("x1", pixel);
      line.setAttribute("x2", pixel);
      line.classList.add("shown");
      out.textContent = `${svg.dataset.axis} ${x}  ${y}${half === null ? "" : ` \u00b1 ${half}`}`;
    };
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const pixel = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
      let nearest = 0;
      points.forEach((point, place) => {
        if (Math.abs(point[3] - pixel) < Math.abs(points[nearest][3] - pixel)) nearest = place;
      });
      show(nearest);
    });
    svg.addEventListener("keydown", (event) => {
      const step = STEPS[event.key];
      if (step) { event.preventDefault(); show(here + step[1] - step[0]); }
    });
  }

  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const part of opened) part.open = true;
  });
  addEventListener("afterprint", () => {
    for (const part of opened) part.open = false;
  });
})();
