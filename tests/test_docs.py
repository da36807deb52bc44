"""The documentation builds, its Python runs, and its commands are understood."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from clip4str_plugin.cli import _parse

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(<!-- not run: (?P<why>[^\n]+) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```", re.M | re.S)


def blocks(page: Path, *languages: str) -> list[re.Match]:
    return [found for found in BLOCK.finditer(page.read_text(encoding="utf-8")) if found["language"] in languages]


def python_of(page: Path) -> list[str]:
    return [found["code"] for found in blocks(page, "python") if not found["why"]]


def commands_of(page: Path) -> list[str]:
    lines = "".join(found["code"] for found in blocks(page, "", "sh")).splitlines()
    commands = [part.strip() for line in lines for part in line.split("&&")]
    return [part[part.index("clip4str ") :] for part in commands if re.match(r"(\.venv/bin/)?clip4str ", part)]


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if python_of(page)], ids=lambda page: page.name)
def test_python_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture = Image.open(ROOT / "examples/photos/printed_page.png").convert("RGB").crop((0, 0, 384, 48))
    picture.save("photo.jpg")  # few words, since it is the code that is tested
    Path("scans").mkdir()
    picture.save("scans/page.png")
    names: dict = {}
    for code in python_of(page):
        exec(compile(code, page.name, "exec"), names)


@pytest.mark.parametrize(
    "command", sorted({command for page in PAGES for command in commands_of(page)}), ids=lambda command: command[:60]
)
def test_commands_are_understood(command):
    words = shlex.split(command, comments=True)
    assert _parse(words[1:]).command == words[1]


@pytest.mark.slow
def test_pages_build(tmp_path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert (tmp_path / "reference" / "index.html").is_file()
