"use strict";
// The chart: which box is told of, and how wide they are. Without this, titles and tables tell all.
document.addEventListener("DOMContentLoaded", () => {
  const chart = document.querySelector(".flame");
  const told = document.getElementById("told");
  const READABLE = 34; // pixels
  const boxes = Array.from(chart.querySelectorAll(".box"), (node) => ({
    node,
    level: Number(node.getAttribute("aria-level")),
    start: Number(node.dataset.start),
    share: Number(node.dataset.share),
    text: node.querySelector("text"),
  }));
  const byNode = new Map(boxes.map((box) => [box.node, box]));
  const last = []; // of each level: a box comes before those that it holds
  boxes.forEach((box, index) => {
    box.index = index;
    box.parent = last[box.level - 1] ?? null;
    last[box.level] = box;
  });
  let wide = boxes[0];
  let current = boxes[0];

  const tell = (box) => { told.textContent = box.node.querySelector("title").textContent; };

  const draw = () => {
    const width = chart.getBoundingClientRect().width;
    const above = new Set();
    for (let at = wide.parent; at; at = at.parent) above.add(at);
    for (const box of boxes) {
      // those that hold the widened one are as wide as the chart
      const start = above.has(box) ? 0 : (box.start - wide.start) / wide.share;
      const share = above.has(box) ? 1 : box.share / wide.share;
      const seen = start < 1 - 1e-9 && start + share > 1e-9;
      box.node.setAttribute("x", `${100 * start}%`);
      box.node.setAttribute("width", `${100 * share}%`);
      box.node.setAttribute("display", seen ? "inline" : "none");
      box.text.classList.toggle("small", share * width < READABLE);
      box.seen = seen;
    }
  };

  const go = (box) => {
    if (!box) return;
    current.node.setAttribute("tabindex", "-1");
    current = box;
    box.node.setAttribute("tabindex", "0");
    box.node.focus();
    tell(box);
  };

  const widen = (box) => {
    wide = box.share > 0 ? box : wide;
    draw();
  };

  const beside = (step) => {
    for (let at = current.index + step; at >= 0 && at < boxes.length; at += step) {
      if (boxes[at].level === current.level && boxes[at].seen) return boxes[at];
    }
    return null;
  };

  const keys = {
    ArrowRight: () => go(beside(1)),
    ArrowLeft: () => go(beside(-1)),
    ArrowUp: () => go(current.parent),
    ArrowDown: () => go(boxes.find((box) => box.parent === current)),
    Home: () => go(boxes[0]),
    Enter: () => widen(current),
    Escape: () => { widen(boxes[0]); go(current); },
  };
  chart.addEventListener("keydown", (event) => {
    if (event.key in keys) {
      event.preventDefault();
      keys[event.key]();
    }
  });
  const under = (event) => byNode.get(event.target.closest(".box"));
  chart.addEventListener("click", (event) => {
    const box = under(event);
    if (box) { go(box); widen(box === wide ? boxes[0] : box); }
  });
  chart.addEventListener("mouseover", (event) => { if (under(event)) tell(under(event)); });
  chart.addEventListener("mouseleave", () => tell(current));
  window.addEventListener("resize", draw);
  draw();
});
