"""Test the adapters of hosts that need an environment of their own: ``nox``, or ``nox -s "hosts(docling)"`` for one.

``nox`` alone tests all of them, two at a time: installing and testing keep one core busy each.

Hosts pin what other hosts forbid (numpy, OpenCV), hence one environment each. An environment sees the packages of the
one that nox runs in, where this package and its ``[test]`` extra must be installed: only what the host lacks, or wants
in another version, is installed into it. So no environment holds PyTorch again. Environments are reused; ``nox -R``
does not even look for missing packages.
"""

import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "venv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["all_hosts"]

# Host: the module it is imported as, and what to install. The first part of the name is that of the adapter.
# Those that take longest come first, so that none of them is left to run alone at the end.
HOSTS = {
    "ray": ("ray", ["ray[data]==2.60.0"]),
    "paddleocr-3": ("paddleocr", ["paddleocr==3.7.0", "paddlex[ocr-core]==3.7.2"]),
    "docling": ("docling", ["docling-slim[standard]==2.143.0"]),
    "easyocr": ("easyocr", ["easyocr==1.7.2", "torchfree-ocr==1.0.1"]),
    "paddleocr-2": ("paddleocr", ["paddleocr==2.10.0", "paddlepaddle==3.3.1"]),
    "deepdoctection": ("deepdoctection", ["deepdoctection==1.4.0"]),
    "ocrmypdf": ("ocrmypdf", ["ocrmypdf==17.13.0"]),
}


@nox.session(python=False)
def all_hosts(session: nox.Session) -> None:
    """Run the other sessions, two at a time; their output comes when they end."""

    def run(host: str) -> int:
        command = [sys.executable, "-m", "nox", "-s", f"hosts({host})", "--", *session.posargs]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=Path(__file__).parent
        )
        print(done.stdout, flush=True)
        return done.returncode

    with ThreadPoolExecutor(2) as threads:
        failed = [host for host, status in zip(HOSTS, threads.map(run, HOSTS)) if status]
    if failed:
        session.error(f"failed: {', '.join(failed)}")


@nox.session(venv_params=["--without-pip"])  # the pip of the shared packages installs
@nox.parametrize("host", list(HOSTS), ids=list(HOSTS))
def hosts(session: nox.Session, host: str) -> None:
    """Test one adapter, and its example, against its really installed host."""
    module, requirements = HOSTS[host]
    _share_packages(session)
    session.install("--no-compile", *requirements)  # what is imported is compiled then, and kept
    # Tests skip where their host is missing; here it must not be.
    settings = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": ""}
    session.run("python", "-c", f"import {module}", silent=True, env=settings)
    name = host.partition("-")[0]
    files = [f"tests/test_adapter_{name}.py", "tests/test_examples.py"]
    session.run("python", "-m", "pytest", "-n0", "-k", name, *files, *session.posargs, env=settings)


def _share_packages(session: nox.Session) -> None:
    """Put the packages of the environment nox runs in behind those of the session's own, `.pth` files included."""
    own = subprocess.check_output(
        [Path(session.bin) / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    )
    for folder in sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}):
        Path(own.strip(), f"clip4str_{Path(folder).parts[-3]}.pth").write_text(
            f"import site; site.addsitedir({folder!r})\n", encoding="utf-8"
        )
