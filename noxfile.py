"""One session a host that may need an environment of its own: ``nox -s "hosts(onnxtr)"`` tests that host's adapter.

Hosts pin what other hosts forbid (numpy, OpenCV), hence one environment each. ``nox -R`` uses them again.
"""

import nox

nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True

# Host: what to install beside this package, and the test file.
HOSTS = {
    "onnxtr": ["onnxtr[cpu]>=0.9", "onnx"],
    "easyocr": ["easyocr>=1.7.2", "torchfree-ocr==1.0.1"],
    "paddleocr2": ["paddleocr==2.10.0", "paddlepaddle"],
    "paddleocr3": ["paddleocr==3.7.0", "paddlex[ocr-core]==3.7.2"],
    "docling": ["docling-slim[standard]>=2.143"],
    "ocrmypdf": ["ocrmypdf>=17.13"],
}


@nox.session
@nox.parametrize("host", sorted(HOSTS), ids=sorted(HOSTS))
def hosts(session: nox.Session, host: str) -> None:
    """Test one adapter against its really installed host."""
    session.install("-e", ".", "pytest", *HOSTS[host])
    session.run("pytest", f"tests/test_adapter_{host.rstrip('23')}.py", *session.posargs, env={"OMP_NUM_THREADS": "1"})
