// The page's states and what leads from one to the next. What a page looks like is in view.js.
import { fill, show } from "./view.js";

const PREVIEW = 1800; // pixels of the longer side of a page's picture
const $ = (id) => document.getElementById(id);
const state = { file: null, pages: [], current: 0, request: null, limits: null, local: null };

function enter(name) {
  document.body.dataset.state = name;
  $("choose").hidden = name === "busy" || name === "result";
  $("busy").hidden = name !== "busy";
  $("result").hidden = !state.pages.some((page) => page.words) || name === "empty" || name === "error";
  $("error").hidden = name !== "error";
  const done = name === "result";
  for (const id of ["copy", "json", "pdf", "again"]) $(id).disabled = !done;
}

function say(text) {
  $("status").textContent = text;
}

function fail(message) {
  $("error").textContent = message;
  enter("error");
  $("pick").focus();
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toLocaleString("en", { maximumFractionDigits: 1 })} MB`;
}

async function problem(response) {
  try {
    return (await response.json()).error;
  } catch {
    return `The service answered ${response.status}. Try again later.`;
  }
}

function post(file, format, extra, signal) {
  const query = new URLSearchParams({ format, name: file.name || "picture", ...extra });
  // The type as it is; without one a browser would send none, which is as good.
  return fetch(`read?${query}`, { method: "POST", body: file, signal });
}

async function* lines(stream) {
  const decoder = new TextDecoder();
  const reader = stream.getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    rest += decoder.decode(value, { stream: !done });
    const parts = rest.split("\n");
    rest = parts.pop();
    yield* parts.filter(Boolean);
    if (done) return;
  }
}

function clock(request) {
  const begin = Date.now();
  const tick = () => {
    const seconds = Math.round((Date.now() - begin) / 1000);
    const count = state.pages.length;
    const what = count ? `Read ${count} ${count === 1 ? "page" : "pages"}, going on …` : `Reading ${state.file.name} …`;
    $("progress").textContent = seconds > 1 ? `${what} ${seconds} s` : what;
  };
  tick();
  const timer = setInterval(tick, 500);
  request.signal.addEventListener("abort", () => clearInterval(timer));
  return () => clearInterval(timer);
}

async function read(file) {
  state.request?.abort();
  const request = (state.request = new AbortController());
  Object.assign(state, { file, pages: [], current: 0 });
  if (state.local) URL.revokeObjectURL(state.local);
  state.local = null;
  if (!file.size) return fail(`${file.name} is empty (0 bytes). Choose another file.`);
  const most = state.limits?.upload_bytes;
  if (most && file.size > most) {
    return fail(`${file.name} has ${megabytes(file.size)}, more than the ${megabytes(most)} taken here. Shrink it first.`);
  }
  state.local = URL.createObjectURL(file);
  $("waiting").hidden = true; // until it turns out to be a picture that the browser can show
  $("waiting").src = state.local;
  enter("busy");
  say(`Reading ${file.name}`);
  $("cancel").focus();
  const stop = clock(request);
  try {
    const response = await post(file, "jsonl", { preview: PREVIEW }, request.signal);
    if (!response.ok) return fail(await problem(response));
    for await (const line of lines(response.body)) {
      state.pages.push(JSON.parse(line));
      $("waiting").hidden = true;
      if (state.pages.length === 1) turn(0);
      else place();
      enter("busy");
    }
    enter("result");
    const words = state.pages.reduce((sum, page) => sum + (page.words?.length ?? 0), 0);
    say(`Done: ${words} words on ${state.pages.length} pages`);
    $("again").focus({ preventScroll: true });
  } catch (error) {
    if (request.signal.aborted) return;
    fail(`${file.name}: the service cannot be reached or broke off. Check that it runs, then try again.`);
  } finally {
    stop();
  }
}

function place() {
  $("pager").hidden = state.pages.length < 2;
  $("place").textContent = `Page ${state.current + 1} of ${state.pages.length}`;
  $("previous").disabled = state.current === 0;
  $("next").disabled = state.current === state.pages.length - 1;
}

function turn(index) {
  state.current = Math.min(Math.max(index, 0), state.pages.length - 1);
  show(state.pages[state.current]);
  place();
}

function reset() {
  state.request?.abort();
  state.pages = [];
  enter("empty");
  say("");
  $("pick").focus();
}

function save(blob, suffix) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = state.file.name.replace(/\.[^.]*$/, "") + suffix;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function text(pages) {
  return pages.map((page) => fill(page).join("\n")).filter(Boolean).join("\n\n");
}

async function flash(button, words) {
  const before = button.textContent;
  button.textContent = words;
  say(words);
  setTimeout(() => (button.textContent = before), 1500);
}

async function copy() {
  const words = text(state.pages);
  try {
    await navigator.clipboard.writeText(words);
  } catch { // no clipboard over plain HTTP: the old way
    const area = Object.assign(document.createElement("textarea"), { value: words });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  flash($("copy"), "Copied");
}

async function pdf() {
  const button = $("pdf");
  button.disabled = true;
  button.textContent = "Making the PDF …";
  say("Making the PDF");
  try {
    const response = await post(state.file, "pdf", {});
    if (!response.ok) throw new Error(await problem(response));
    save(await response.blob(), ".ocr.pdf");
    say("The PDF is ready");
  } catch (error) {
    $("error").textContent = error instanceof TypeError ? "The service cannot be reached. Try again." : error.message;
    $("error").hidden = false;
  } finally {
    button.textContent = "Searchable PDF";
    button.disabled = false;
  }
}

$("waiting").onload = () => ($("waiting").hidden = state.pages.length > 0);
$("pick").onclick = () => $("file").click();
$("snap").onclick = () => $("camera").click();
for (const id of ["file", "camera"]) {
  $(id).onchange = ({ target }) => {
    const [file] = target.files;
    target.value = ""; // so that the same file can be chosen again
    if (file) read(file);
  };
}
$("cancel").onclick = reset;
$("again").onclick = reset;
$("copy").onclick = copy;
$("pdf").onclick = pdf;
$("json").onclick = () => {
  const pages = state.pages.map(({ preview, ...page }) => page);
  save(new Blob([JSON.stringify(pages, null, 1)], { type: "application/json" }), ".json");
};
$("previous").onclick = () => turn(state.current - 1);
$("next").onclick = () => turn(state.current + 1);
for (const radio of document.getElementsByName("layer")) {
  radio.onchange = () => (document.body.dataset.layer = radio.value);
}
document.body.dataset.layer = "words";

addEventListener("paste", (event) => {
  const [file] = event.clipboardData.files;
  if (file) read(file);
});
let depth = 0;
addEventListener("dragenter", (event) => {
  event.preventDefault();
  depth += 1;
  document.body.classList.add("dragging");
});
addEventListener("dragleave", () => {
  depth -= 1;
  if (depth <= 0) document.body.classList.remove("dragging");
});
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  document.body.classList.remove("dragging");
  const [file] = event.dataTransfer.files;
  if (file) read(file);
});

enter("empty");
fetch("health").then((response) => response.json()).then(({ limits }) => {
  state.limits = limits;
  $("limits").textContent = `Up to ${megabytes(limits.upload_bytes)}, ${limits.pages} pages.`;
}).catch(() => {});
