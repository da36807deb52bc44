// One page on the screen: its picture, outlines and words over it, its text, its table.
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const DOUBTFUL = 0.7; // words under this are marked in the text
const pen = document.createElement("canvas").getContext("2d");

// Red at 0, yellow at 0.5, green at 1, as in the overlay pictures of `clip4str read --overlay`.
function color(confidence) {
  const red = Math.round(220 * Math.min(1, 2 - 2 * confidence));
  return `rgb(${red} ${Math.round(160 * Math.min(1, 2 * confidence))} 0)`;
}

const percent = (confidence) => `${Math.floor(confidence * 100)} %`;

// The words of a page, in lines: [[word, ...], ...].
function group(page) {
  const lines = [];
  let last = null;
  for (const word of page.words ?? []) {
    if (word.line !== last) lines.push([]);
    last = word.line;
    lines.at(-1).push(word);
  }
  return lines;
}

export const fill = (page) => group(page).map((line) => line.map((word) => word.text).join(" "));

function element(name, attributes = {}, ...children) {
  const made = Object.assign(document.createElement(name), attributes);
  made.append(...children);
  return made;
}

// Everything that stands for the same word lights up together.
function tie(parts) {
  for (const part of parts) {
    part.addEventListener("pointerenter", () => parts.forEach((other) => other.classList.add("lit")));
    part.addEventListener("pointerleave", () => parts.forEach((other) => other.classList.remove("lit")));
  }
}

function outline(word) {
  const polygon = document.createElementNS(SVG, "polygon");
  polygon.setAttribute("points", word.polygon.map((point) => point.join()).join(" "));
  polygon.style.stroke = color(word.confidence);
  return polygon;
}

// A word where it stands: as high and as long as its polygon, at its angle. Lengths are in parts of the page's width
// (cqw), so that the words grow and shrink with the picture.
function label(word, page) {
  const points = word.polygon;
  const half = points.length / 2;
  const [a, b, c, d] = [points[0], points[half - 1], points[half], points.at(-1)];
  const along = [(b[0] + c[0] - a[0] - d[0]) / 2, (b[1] + c[1] - a[1] - d[1]) / 2];
  const length = Math.hypot(...along);
  const height = Math.hypot(d[0] - a[0] + c[0] - b[0], d[1] - a[1] + c[1] - b[1]) / 2;
  const span = element("span", { textContent: word.text, title: `${word.text}: ${percent(word.confidence)} sure` });
  pen.font = `100px ${getComputedStyle($("words")).fontFamily}`;
  const natural = (pen.measureText(word.text).width / 100) * height;
  const unit = (pixels) => `${(100 * pixels) / page.width}cqw`;
  const angle = Math.atan2(along[1], along[0]);
  span.style.fontSize = unit(height);
  span.style.transform =
    `translate(${unit(a[0])}, ${unit(a[1])}) rotate(${angle}rad) scaleX(${length / Math.max(natural, 1e-6)})`;
  return span;
}

function row(word) {
  const sure = element("td", { className: "number", textContent: percent(word.confidence) });
  sure.style.setProperty("--sure", color(word.confidence));
  return element("tr", {}, element("td", { textContent: word.text }),
    element("td", { textContent: word.line + 1 }), sure);
}

function inText(word) {
  const span = element("span", { textContent: word.text, title: `${percent(word.confidence)} sure` });
  if (word.confidence < DOUBTFUL) {
    span.className = "doubtful";
    span.style.textDecorationColor = color(word.confidence);
  }
  return span;
}

export function show(page) {
  const lines = group(page);
  const [polygons, labels, paragraphs, rows] = [[], [], [], []];
  for (const line of lines) {
    const paragraph = element("p");
    const layer = element("div");
    for (const word of line) {
      const parts = [outline(word), label(word, page), inText(word), row(word)];
      tie(parts);
      polygons.push(parts[0]);
      // A blank between words and an end after each line, so that what is copied reads as it stands.
      layer.append(parts[1], word === line.at(-1) ? "" : " ");
      paragraph.append(parts[2], word === line.at(-1) ? "" : " ");
      rows.push(parts[3]);
    }
    labels.push(layer);
    paragraphs.push(paragraph);
  }
  $("picture").src = page.preview ?? "";
  $("picture").alt = `Page ${(page.page ?? 0) + 1} of ${page.image}`;
  $("picture").hidden = !page.preview;
  $("stage").style.maxWidth = page.width ? `min(100%, calc(78vh * ${page.width / page.height}))` : "";
  $("outlines").setAttribute("viewBox", `0 0 ${page.width ?? 1} ${page.height ?? 1}`);
  $("outlines").replaceChildren(...polygons);
  $("words").replaceChildren(...labels);
  const nothing = element("p", { className: "nothing", textContent: page.error ?? "No text was found on this page." });
  $("text").replaceChildren(...(paragraphs.length ? paragraphs : [nothing]));
  $("table").replaceChildren(...rows);
  const seconds = Object.values(page.seconds ?? {}).reduce((sum, value) => sum + value, 0);
  const count = page.words?.length ?? 0;
  $("caption").textContent = page.error
    ? page.image
    : `${page.image}: ${count} ${count === 1 ? "word" : "words"} in ${seconds.toFixed(1)} s`;
}
