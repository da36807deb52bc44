"""Files and polygons made to hold up or break whoever takes them."""

import io

import numpy as np
from PIL import Image

from tests.word_sets import draw_word


def pdf(pages, forms=()):
    """A PDF whose pages and form XObjects draw what is given; form k is /Xk and may draw form k + 1."""
    first_form = 3 + 2 * len(pages)
    kids = b" ".join(b"%d 0 R" % (3 + 2 * i) for i in range(len(pages)))
    objects = [b"<</Type /Catalog /Pages 2 0 R>>", b"<</Type /Pages /Kids [%s] /Count %d>>" % (kids, len(pages))]
    names = b" ".join(b"/X%d %d 0 R" % (k, first_form + k) for k in range(len(forms)))
    for i, content in enumerate(pages):
        objects.append(
            b"<</Type /Page /Parent 2 0 R /MediaBox [0 0 200 100] /Contents %d 0 R /Resources <</XObject <<%s>>>>>>"
            % (4 + 2 * i, names)
        )
        objects.append(_stream(content))
    for k, content in enumerate(forms):
        inner = b"/Resources <</XObject <</X%d %d 0 R>>>>" % (k + 1, first_form + k + 1) if k + 1 < len(forms) else b""
        objects.append(_stream(content, b"/Type /XObject /Subtype /Form /BBox [0 0 200 100] " + inner))
    out, places = io.BytesIO(), []
    out.write(b"%PDF-1.4\n")
    for number, content in enumerate(objects, 1):
        places.append(out.tell())
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, content))
    table = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.writelines(b"%010d 00000 n \n" % place for place in places)
    out.write(b"trailer <</Size %d /Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, table))
    return out.getvalue()


def _stream(content, extra=b""):
    return b"<<%s /Length %d>>\nstream\n%s\nendstream" % (extra, len(content), content)


GOOD_PAGE = b"1 0 0 rg 20 20 100 50 re f"


def pdf_that_never_ends(pages=(b"/X0 Do",), levels=14, times=8):
    """Nested forms, each of which draws the next several times."""
    forms = [b" ".join([b"/X%d Do" % (k + 1)] * times) for k in range(levels - 1)] + [b"0 0 9 9 re f"]
    return pdf(pages, forms)


def jpeg_of_many_scans(count=4000, size=(1600, 1200)):
    """A progressive JPEG whose last scan comes again and again."""
    out = io.BytesIO()
    Image.new("RGB", size, "white").save(out, "JPEG", progressive=True)
    content = out.getvalue()
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * count + content[-2:]


def mutate(rng, content, head=False):
    """Damage bytes: some changed, a piece cut out, doubled or swapped, or the end missing."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 3, 20])):
        end = min(len(data), 600) if head or rng.random() < 0.5 else len(data)  # heads matter most
        start = rng.randrange(max(1, end))
        stop = min(len(data), start + rng.choice([1, 2, 8, 500]))
        kind = rng.randrange(6)
        if kind < 3:
            data[start:stop] = rng.choice([rng.randbytes(stop - start), b"\xff" * (stop - start), bytes(stop - start)])
        elif kind == 3:
            data[start:stop] = b""
        elif kind == 4:
            data[start:start] = data[start:stop] * rng.choice([1, 5])
        else:
            del data[max(20, start) :]
    return bytes(data)


def good_files():
    """Small whole files of each kind."""
    page = Image.fromarray(draw_word("campaign"))
    files = {}
    for format in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"):
        many = {"save_all": True, "append_images": [page, page.convert("L")]} if format == "TIFF" else {}
        compression = {"compression": "tiff_lzw"} if format == "TIFF" else {}
        page.save(stream := io.BytesIO(), format, **many, **compression)
        files[format] = stream.getvalue()
    files["PDF"] = pdf([GOOD_PAGE, GOOD_PAGE])
    return files


def hostile_polygons(rng, page):
    """Polygons on the page, beside it, far away, thin, of one point, of no numbers."""
    height, width = page.shape[:2]
    scale = rng.choice([1, 1, 1, 3, 1e4, 1e6, 1e9])
    base = [(rng.uniform(-0.5, 1.5) * width * scale, rng.uniform(-0.5, 1.5) * height * scale) for _ in range(8)]
    polygons = [[rng.choice(base) for _ in range(rng.choice([4, 4, 5, 14, 40]))] for _ in range(rng.randrange(5))]
    polygons += [[(0, 0), (width, 0), (width, height), (0, height)]]
    if rng.random() < 0.05:
        polygons += [[(float("nan"), 0), (float("inf"), 1), (2, 2), (0, 2)], [(3, 3)] * 4, [(1, 1)]]
    return [np.asarray(polygon, np.float32) for polygon in polygons]
