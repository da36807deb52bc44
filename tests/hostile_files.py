"""Files made to hold up or break whoever decodes them."""

import io

from PIL import Image


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
