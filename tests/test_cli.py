import json
import os
import pty
import subprocess
import sys
import termios

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from clip4str_plugin.cli import COMMANDS, main, options
from clip4str_plugin.reading.detectors import Detections
from clip4str_plugin.reading.recognizer import Recognition
from tests.test_images import png_header

COMMAND = [sys.executable, "-m", "clip4str_plugin.cli"]


class WholePageDetector:
    """Takes a page for one word, and fails on pages of 13 pixels' width."""

    def __call__(self, pages):
        if any(page.shape[1] == 13 for page in pages):
            raise RuntimeError("thirteen")
        corners = [(0, 0), (1, 0), (1, 1), (0, 1)]
        polygons = [np.array(corners, np.float32) * page.shape[1::-1] for page in pages]
        return [Detections([polygon], [0.5]) for polygon in polygons]


class SizeRecognizer:
    """Reads a crop as its size."""

    def stream(self, crops, color="rgb"):
        return (Recognition(f"{crop.shape[1]}x{crop.shape[0]}", 0.75, (0.9,)) for crop in crops)

    def __call__(self, crops, color="rgb"):
        return list(self.stream(crops))


@pytest.fixture
def fakes(monkeypatch):
    """Replace detector and recognizer, whose quality is tested elsewhere."""
    monkeypatch.setattr(options, "build_detector", lambda args: WholePageDetector())
    monkeypatch.setattr(options, "build_recognizer", lambda args: SizeRecognizer())


@pytest.fixture
def run(fakes, capfdbinary):
    """Run a command line; gives exit status, output, errors."""

    def run(*arguments):
        status = main([str(argument) for argument in arguments])
        output, errors = capfdbinary.readouterr()
        return status, output.decode(errors="replace"), errors.decode()

    return run


@pytest.fixture
def photos(tmp_path):
    """Three photos, in a folder, of different widths."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, width in (("b.jpg", 20), ("a.png", 30), ("c.png", 40)):
        Image.new("RGB", (width, 10)).save(folder / name)
    return folder


@pytest.fixture
def hostile(tmp_path, photos):
    """Good and bad files in turn: (path, what is said about it or None)."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    content = (photos / "b.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(content[:-20])
    (folder / "zero.png").touch()
    (folder / "text.png").write_text("no picture\n" * 99)
    (folder / "bomb.png").write_bytes(png_header(20_000, 20_000))
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("CMYK", (21, 10)).save(folder / "cmyk.jpg")
    Image.fromarray(np.zeros((10, 22), np.uint16)).save(folder / "deep.png")
    frames = [Image.new("RGB", (23, 10), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (tmp_path / "empty").mkdir()
    return [
        (folder / "truncated.jpg", "is damaged"),
        (photos / "a.png", None),
        (folder / "zero.png", "empty (0 bytes)"),
        (folder / "text.png", "neither an image nor a PDF"),
        (folder / "dot.png", None),
        (folder / "bomb.png", "--max-pixels"),
        (folder / "cmyk.jpg", None),
        (folder / "deep.png", None),
        (folder / "moving.gif", None),
        (folder / "loop.png", "cannot be opened"),
        (folder / "missing.png", "there is no such file"),
        (tmp_path / "empty", "holds no image or PDF"),
        (photos / "c.png", None),
    ]


# ---------------------------------------------------------------- read


def test_read_json_lines(run, photos):
    status, output, errors = run("read", photos, "--format", "jsonl")
    records = [json.loads(line) for line in output.splitlines()]
    assert (status, errors) == (0, "")
    assert [record["image"] for record in records] == [str(photos / name) for name in ("a.png", "b.jpg", "c.png")]
    assert list(records[0]) == ["image", "page", "width", "height", "words", "left_out", "seconds"]
    assert list(records[0]["seconds"]) == ["detect", "rectify", "recognize"]
    assert records[0]["words"] == [
        {"text": "30x10", "confidence": 0.75, "polygon": [[0, 0], [30, 0], [30, 10], [0, 10]], "line": 0}
    ]


def test_doubtful_words_are_counted_listed_and_kept_on_demand(run, photos):
    status, output, errors = run("read", photos, "--format", "json", "--min-confidence", 0.8)
    assert status == 0
    assert [(len(page["words"]), [word["text"] for word in page["left_out"]]) for page in json.loads(output)] == [
        (0, ["30x10"]), (0, ["20x10"]), (0, ["40x10"])
    ]  # fmt: skip
    assert errors.startswith("3 pages read, 0 words; 3 more left out")
    assert errors.count("\n") == 1
    status, output, errors = run("read", photos, "--format", "json", "--min-confidence", 0.8, "--keep-doubtful")
    assert (status, errors) == (0, "")
    assert [[word["doubtful"] for word in page["words"]] for page in json.loads(output)] == [[True]] * 3
    assert not any(page["left_out"] for page in json.loads(output))


def test_read_text_is_the_default(run, photos):
    assert run("read", photos / "b.jpg", photos / "a.png") == (0, "20x10\n\n30x10\n", "")


def test_paths_come_back_as_they_were_given(run, photos, monkeypatch):
    monkeypatch.chdir(photos.parent)
    _, output, _ = run("read", "photos/../photos/a.png", "./photos", "--format", "jsonl")
    images = [json.loads(line)["image"] for line in output.splitlines()]
    assert images == ["photos/../photos/a.png", "./photos/a.png", "./photos/b.jpg", "./photos/c.png"]


@pytest.mark.parametrize("command", ["read", "recognize"])
def test_hostile_files_cost_nothing_but_themselves(run, hostile, command):
    status, output, errors = run(command, *[path for path, _ in hostile], "--format", "jsonl")
    assert status == 1
    records = [json.loads(line) for line in output.splitlines()]
    assert [record["image"] for record in records] == [str(path) for path, _ in hostile]
    for record, (path, problem) in zip(records, hostile):
        if problem is None:
            assert "error" not in record
        else:
            assert set(record) == {"image", "error"}
            assert record["error"].startswith(f"{path}: ")
            assert problem in record["error"]
    problems = [record["error"] for record in records if "error" in record]
    assert errors.splitlines() == [f"error: {problem}" for problem in problems]


def test_the_pixel_limit_can_be_raised(run, tmp_path):
    Image.new("L", (100, 50)).save(tmp_path / "a.png")
    assert run("read", tmp_path / "a.png", "--max-pixels", "4999")[0] == 1
    assert run("read", tmp_path / "a.png", "--max-pixels", "5_000")[:2] == (0, "100x50\n")


def test_a_page_that_cannot_be_read(run, tmp_path):
    frames = [Image.new("RGB", (width, 10)) for width in (12, 13, 14)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    status, output, errors = run("read", tmp_path / "a.tif", "--format", "jsonl")
    records = [json.loads(line) for line in output.splitlines()]
    assert status == 1
    assert [record["page"] for record in records] == [0, 1, 2]
    assert [record["words"][0]["text"] for record in records[::2]] == ["12x10", "14x10"]
    error = f"{tmp_path / 'a.tif'}: page 2: no text could be detected: RuntimeError: thirteen"
    assert records[1] == {"image": str(tmp_path / "a.tif"), "page": 1, "error": error}
    assert errors == f"error: {error}\n"


def test_pdf_pages(run, tmp_path):
    frames = [Image.new("RGB", (72, height)) for height in (36, 72)]
    frames[0].save(tmp_path / "a.pdf", save_all=True, append_images=frames[1:], resolution=72)
    assert run("read", tmp_path / "a.pdf", "--dpi", "144")[1] == "144x72\n\n144x144\n"


@pytest.mark.parametrize(
    ("format", "start"),
    [("json", "[\n{"), ("csv", "image,page"), ("hocr", "<?xml"), ("alto", "<?xml"), ("page", "<?xml"), ("pdf", "%PDF")],
)
def test_other_formats(run, photos, tmp_path, format, start):
    status, output, _ = run("read", photos / "a.png", "--format", format)
    assert status == 0
    assert output.startswith(start)
    target = tmp_path / "out"
    assert run("read", photos / "a.png", "--format", format, "--output", target)[:2] == (0, "")
    assert target.read_bytes().startswith(start.encode())


def test_the_suffix_of_the_output_names_the_format(run, photos, tmp_path):
    starts = {
        "a.PDF": b"%PDF",
        "a.json": b"[\n{",
        "a.csv": b"image,page",
        "a.xml": b"<?xml",
        "a.txt": b"30x10",
        "a": b"30x10",
    }
    for name, start in starts.items():
        assert run("read", photos / "a.png", "-o", tmp_path / name)[0] == 0
        assert (tmp_path / name).read_bytes().startswith(start)
    assert run("read", photos / "a.png", "-f", "jsonl", "-o", tmp_path / "b.pdf")[0] == 0  # what is said counts
    assert (tmp_path / "b.pdf").read_bytes().startswith(b'{"image"')
    assert run("recognize", photos / "a.png", "-o", tmp_path / "c.jsonl")[0] == 0
    assert (tmp_path / "c.jsonl").read_bytes().startswith(b'{"image"')


def test_an_unknown_option_gets_the_usage_of_its_command(run, photos):
    status, _, errors = run("read", photos, "--nope")
    assert status == 2
    assert "usage: clip4str read" in errors
    assert "--nope" in errors


def test_a_folder_gets_a_file_for_each_input(run, photos, tmp_path):
    frames = [Image.new("RGB", (width, 10)) for width in (12, 14)]
    frames[0].save(photos / "a.tif", save_all=True, append_images=frames[1:])
    out = tmp_path / "new" / "folder"
    assert run("read", photos, "--output", f"{out}/")[0] == 0
    assert {path.name: path.read_text() for path in out.iterdir()} == {
        "a.txt": "30x10\n",
        "a-2.txt": "12x10\n\n14x10\n",
        "b.txt": "20x10\n",
        "c.txt": "40x10\n",
    }
    assert run("read", photos, "--format", "page", "--output", out)[0] == 0
    names = {path.name for path in out.glob("*.xml")}
    assert names == {f"{name}.page.xml" for name in ("a", "a-2", "a-2-2", "b", "c")}


def test_overlays(run, photos, tmp_path):
    Image.new("RGB", (50, 10)).save(photos / "a.gif")
    Image.new("RGB", (13, 10)).save(photos / "fails.png")
    status, _, _ = run("read", photos, photos / "missing.png", "--overlay", tmp_path / "seen")
    assert status == 1
    drawn = {path.name for path in (tmp_path / "seen").iterdir()}
    assert drawn == {f"{name}.overlay.jpg" for name in ("a", "a-2", "b", "c", "fails")}
    with Image.open(tmp_path / "seen" / "b.overlay.jpg") as image:
        assert image.size[0] > 2 * 20


def test_page_xml_needs_a_folder_for_several_pages(run, photos, tmp_path):
    status, _, errors = run("read", photos / "a.png", photos / "b.jpg", "--format", "page")
    assert status == 2
    assert "--output" in errors
    status, _, errors = run("read", photos, "--format", "page")
    assert status == 2
    assert "one page a file" in errors


# ---------------------------------------------------------------- recognize


def test_recognize(run, photos):
    status, output, errors = run("recognize", photos / "c.png", photos, "--format", "jsonl")
    assert (status, errors) == (0, "")
    records = [json.loads(line) for line in output.splitlines()]
    assert records[0] == {"image": str(photos / "c.png"), "text": "40x10", "confidence": 0.75}
    assert [record["text"] for record in records] == ["40x10", "30x10", "20x10", "40x10"]


def test_recognize_text_keeps_line_and_image_together(run, photos, tmp_path):
    status, output, errors = run("recognize", photos / "a.png", tmp_path / "missing.png", photos / "b.jpg")
    assert (status, output) == (1, "30x10\n\n20x10\n")
    assert "there is no such file" in errors


# ---------------------------------------------------------------- the command line itself


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["read"],
        ["recognize"],
        ["write", "a.png"],
        ["read", "a.png", "--format", "docx"],
        ["read", "a.png", "--batch-size", "0"],
        ["read", "a.png", "--threads", "-1"],
        ["read", "a.png", "--nonsense"],
        ["recognize", "a.png", "--format", "hocr"],
        ["recognize", "a.png", "--detector", "rapidocr"],
    ],
)
def test_usage_errors(run, arguments):
    status, output, errors = run(*arguments)
    assert (status, output) == (2, "")
    assert errors.startswith("usage: clip4str")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--detector", "telescope"], "no detector is called 'telescope'"),
        (["--model", "no-such-model"], "'no-such-model' is neither a file nor a known model"),
        (["--device", "abacus"], "the device 'abacus' cannot be used"),
        (["--detector-option", "max_side"], "KEY=VALUE"),
        (["--detector-option", "min_side=9999"], "min_side=9999"),
    ],
)
def test_what_does_not_exist_is_a_usage_error(capfd, photos, arguments, message):
    assert main(["read", str(photos), *arguments]) == 2
    output, errors = capfd.readouterr()
    assert output == ""
    assert message in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("output", ["no/such/folder/out.txt", "photos/a.png", "photos/a.png/"])
def test_outputs_that_cannot_be(run, photos, monkeypatch, output):
    monkeypatch.chdir(photos.parent)
    before = (photos / "a.png").read_bytes()
    status, _, errors = run("read", "photos/a.png", "--output", output)
    assert status == 2
    assert "Traceback" not in errors
    assert (photos / "a.png").read_bytes() == before


def test_help_names_every_command(run):
    status, output, _ = run("--help")
    assert status == 0
    for name, (_, summary) in COMMANDS.items():
        assert name in output
        assert summary.split(",")[0].split()[0] in output


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(run, command):
    status, output, _ = run(command, "--help")
    assert status == 0
    assert output.startswith(f"usage: clip4str {command}")


def test_version(run):
    from clip4str_plugin import __version__

    assert run("--version")[:2] == (0, f"clip4str-plugin {__version__}\n")


@pytest.mark.parametrize("arguments", [["--help"], ["read", "--help"], ["--version"]])
def test_nothing_heavy_is_imported_to_answer_a_question(arguments):
    script = (
        "import sys\n"
        "from clip4str_plugin.cli import main\n"
        "main(sys.argv[1:])\n"
        "print([name for name in ('torch', 'doctr', 'cv2', 'lightning', 'rapidocr') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_goes_away(photos, fakes, monkeypatch):
    read, written = os.pipe()
    os.close(read)
    keep = os.dup(1)
    try:
        sys.stdout.flush()
        os.dup2(written, 1)
        with os.fdopen(1, "w", closefd=False) as stdout:
            monkeypatch.setattr(sys, "stdout", stdout)
            assert main(["read", str(photos)]) == 1
    finally:
        os.dup2(keep, 1)
        os.close(keep)
        os.close(written)


def test_interrupt(run, photos, monkeypatch):
    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(options, "build_recognizer", interrupted)
    status, _, errors = run("read", photos)
    assert (status, errors) == (130, "interrupted\n")


@pytest.mark.parametrize(("to_file", "shown"), [(True, True), (False, False)])
def test_progress_bar_only_on_a_terminal(fakes, photos, tmp_path, monkeypatch, to_file, shown):
    main_end, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    with os.fdopen(terminal, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        if not to_file:
            monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        arguments = ["--output", str(tmp_path / "out")] if to_file else []
        assert main(["read", str(photos), *arguments]) == 0
        print("end", file=stderr, flush=True)
        shown_text = os.read(main_end, 65536).decode()
    os.close(main_end)
    assert ("3/3" in shown_text or "0/3" in shown_text) == shown
    if to_file:
        assert "%" not in (tmp_path / "out").read_text()


# ---------------------------------------------------------------- models and plugins


def test_models(run):
    status, output, _ = run("models")
    assert status == 0
    for name in ("tiny", "base16-real", "large14-rbu", "huge14-dfn-rbu"):
        assert name in output
    records = {record["name"]: record for record in json.loads(run("models", "--format", "json")[1])}
    assert len(records) == 9
    assert records["tiny"]["here"] is True
    assert records["base16-real"]["url"].startswith("https://")
    assert records["base16-real"]["accuracy"]["IIIT5k"] == 99.2
    assert records["base16-rbu"]["aliases"] == ["base16"]


def test_models_knows_what_was_downloaded(run, monkeypatch, tmp_path):
    monkeypatch.setenv("CLIP4STR_CACHE", str(tmp_path))
    (tmp_path / "clip4str_base16x16_d70bde1f2d.ckpt").touch()
    records = {record["name"]: record for record in json.loads(run("models", "--format", "json")[1])}
    assert [name for name, record in records.items() if record["here"]] == ["tiny", "base16-real"]


@pytest.fixture
def third_party(tmp_path, monkeypatch):
    """An installed distribution with one plugin that works and three that do not."""
    site = tmp_path / "site"
    metadata = site / "acme_ocr-3.1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-ocr\nVersion: 3.1\n")
    (metadata / "entry_points.txt").write_text(
        "[clip4str.detectors]\nacme = acme_good:make\nacme-broken = acme_broken:make\nacme-gone = acme_gone:make\n"
        "acme-exits = acme_exits:make\n[docling]\nacme = acme_good\n"
    )
    (site / "acme_good.py").write_text("def make(arch=None, **options):\n    return lambda pages: []\n")
    (site / "acme_broken.py").write_text("raise RuntimeError('needs a dongle')\n")
    (site / "acme_exits.py").write_text("import sys\nsys.exit('bye')\n")
    monkeypatch.syspath_prepend(site)


def test_plugins(run, third_party):
    status, output, _ = run("plugins", "--format", "json")
    assert status == 0
    records = {(record["group"], record["name"]): record for record in json.loads(output)}
    good = records["clip4str.detectors", "acme"]
    assert (good["distribution"], good["version"], good["problem"]) == ("acme-ocr", "3.1", None)
    assert records["clip4str.detectors", "acme-broken"]["problem"] == "RuntimeError: needs a dongle"
    assert "acme_gone" in records["clip4str.detectors", "acme-gone"]["problem"]
    assert "SystemExit" in records["clip4str.detectors", "acme-exits"]["problem"]
    assert records["docling", "acme"]["problem"] is None
    assert records["clip4str.detectors", "rapidocr"]["problem"] is None
    _, text, _ = run("plugins")
    assert "acme-ocr 3.1" in text
    assert "does not work: RuntimeError: needs a dongle" in text


def test_a_broken_plugin_breaks_nothing_else(capfd, third_party, photos):
    assert main(["read", str(photos), "--detector", "acme-broken"]) == 2
    assert "acme-ocr 3.1" in capfd.readouterr().err


# ---------------------------------------------------------------- for real


SMALL = {
    "embed_dim": 32,
    "vision": {"layers": 1, "width": 64, "head_width": 32, "patch_size": 16, "image_size": [32, 64]},
    "text": {"layers": 1, "width": 32, "heads": 2, "context_length": 77, "vocab_size": 49408},
    "image_size": [32, 64],
    "decoder_heads": 2,
}


@pytest.fixture(scope="module")
def small_model(tmp_path_factory):
    """A model of random weights, in a file: it reads nonsense, but by the whole way."""
    import torch

    from clip4str_plugin.model import CLIP4STR, CLIP4STRConfig, save_pretrained

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    save_pretrained(CLIP4STR(CLIP4STRConfig.from_dict(SMALL)).eval(), folder)
    return folder


@pytest.fixture(scope="module")
def sign(tmp_path_factory):
    """A page with two lines of text, two words and one."""
    path = tmp_path_factory.mktemp("sign") / "sign.png"
    image = Image.new("RGB", (640, 320), (40, 60, 160))
    draw = ImageDraw.Draw(image)
    draw.text((60, 60), "MAIN STREET", fill="white", font=ImageFont.load_default(72))
    draw.text((60, 190), "Station", fill="white", font=ImageFont.load_default(72))
    image.save(path)
    return path


@pytest.mark.slow
def test_the_whole_way(capfdbinary, small_model, sign):
    arguments = ["--model", str(small_model), "--format", "jsonl", "--device", "cpu", "--threads", "1"]
    # As much as the sign needs; the random model is sure of nothing.
    detection = ["--detector-option", "min_side=320", "--orientation", "off", "--min-confidence", "0"]
    assert main(["read", str(sign), *arguments, *detection]) == 0
    record = json.loads(capfdbinary.readouterr().out)
    assert [word["line"] for word in record["words"]] == [0, 0, 1]
    boxes = [np.array(word["polygon"]) for word in record["words"]]
    lefts, tops = zip(*[box.min(axis=0) for box in boxes])
    assert tops[0] == pytest.approx(75, abs=25)
    assert tops[2] == pytest.approx(205, abs=25)
    assert lefts[0] == pytest.approx(60, abs=20)
    assert lefts[1] > boxes[0].max(axis=0)[0]
    assert all(0 <= word["confidence"] <= 1 and word["text"] for word in record["words"])

    assert main(["read", str(sign), *arguments, *detection, "--charset", "0123456789", "--confidence", "min"]) == 0
    digits = json.loads(capfdbinary.readouterr().out)
    assert all(word["text"].isdigit() for word in digits["words"])
    assert main(["recognize", str(sign), *arguments]) == 0
    assert set(json.loads(capfdbinary.readouterr().out)) == {"image", "text", "confidence"}


def test_an_unknown_charset_is_a_usage_error(capfd, small_model, sign):
    assert main(["read", str(sign), "--model", str(small_model), "--charset", "äöü"]) == 2
    assert "charset" in capfd.readouterr().err


def test_evaluate(capfd, small_model, sign, tmp_path):
    Image.open(sign).save(tmp_path / "a.png")
    (tmp_path / "labels.tsv").write_text("a.png\tStation\n")
    assert main(["evaluate", str(tmp_path), "--model", str(small_model), "--format", "json"]) == 0
    (result,) = json.loads(capfd.readouterr().out)
    assert result["samples"] == 1


def test_threads_and_options_reach_the_detector(monkeypatch):
    import argparse

    from clip4str_plugin import detectors

    seen = {}
    monkeypatch.setattr(detectors, "load_detector", lambda name, **options: seen.setdefault(name, options))
    options_given = ["max_side=4096", "thresh=0.5", "score_mode=fast", "use_dilation=true"]
    args = argparse.Namespace(detector="rapidocr", detector_option=options_given, threads=3, device="cpu")
    options.build_detector(args)
    assert seen["rapidocr"] == {
        "threads": 3, "max_side": 4096, "thresh": 0.5, "score_mode": "fast", "use_dilation": True
    }  # fmt: skip
    args.detector = "doctr"
    args.detector_option = []
    options.build_detector(args)
    assert seen["doctr"] == {"device": "cpu"}
