import csv
import io
import json
import math
import os
import shutil
import subprocess

import numpy as np
import pypdfium2
import pytest
from lxml import etree, html
from PIL import Image

from clip4str_plugin.errors import Clip4StrError
from clip4str_plugin.io.writers import FORMATS, SUFFIXES, make_writer
from clip4str_plugin.io.writers.csv_table import COLUMNS
from clip4str_plugin.io.writers.overlay import confidence_color, draw_overlay
from clip4str_plugin.page import Page, Word

BEYOND_LATIN = "éλя漢\U0001d49c"


def quad(left, top, width, height, angle=0):
    """A rectangle turned clockwise by degrees around its top left corner."""
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    corners = [(0, 0), (width, 0), (width, height), (0, height)]
    return np.array([[left + c * u - s * v, top + s * u + c * v] for u, v in corners], np.float32)


def word(text, polygon, line, block, confidence=0.9):
    return Word(text, confidence, polygon, line, block, 0.8, (confidence,) * len(text))


@pytest.fixture
def page():
    """Two upright words, one of them slanted, three at other angles; letters that XML and Latin-1 have trouble with."""
    words = [
        word("<Hello>", quad(50, 50, 140, 30), 0, 0, 0.99),
        word('W&"ld', quad(200, 50, 120, 30), 0, 0, 0.5),
        word("tilted", quad(100, 200, 150, 40, 30), 1, 1, 0.25),
        word("down", quad(500, 100, 150, 40, 90), 2, 2),
        word(BEYOND_LATIN, quad(300, 400, 150, 40), 3, 3),
        word("back", quad(700, 500, 150, 40, 180), 4, 3),
    ]
    image = np.full((600, 800, 3), 255, np.uint8)
    image[300:310, 100:200] = (255, 0, 0)
    return Page(image, words, {"detect": 0.12345, "rectify": 0.0, "recognize": 1.0}, source="in/a photo.png", dpi=300)


@pytest.fixture
def broken():
    """A file that cannot be read, a page of a file that cannot, and a page whose text cannot."""
    image = np.zeros((20, 30, 3), np.uint8)
    return [
        Page(None, error="b.png: there is no such file", source="b.png", index=None),
        Page(None, error="c.pdf: page 3 is damaged", source="c.pdf", index=2),
        Page(image, error="d.png: no text could be detected: ...", source="d.png"),
    ]


def write(format, *pages):
    stream = io.BytesIO()
    writer = make_writer(format, stream)
    for page in pages:
        writer.write(page)
    writer.close()
    return stream.getvalue()


def test_every_format_has_a_writer_and_a_suffix():
    assert set(FORMATS) == set(SUFFIXES) == {"text", "json", "jsonl", "csv", "hocr", "alto", "page", "pdf"}
    assert not {".png", ".jpg", ".pdf"} & set(SUFFIXES.values()), "outputs must not look like inputs"
    with pytest.raises(ValueError, match="'docx' is unknown; known are text, json"):
        make_writer("docx", io.BytesIO())


@pytest.mark.parametrize("format", ["text", "json", "jsonl", "csv", "hocr", "pdf"])
def test_no_pages_at_all(format):
    write(format)


# ---------------------------------------------------------------- text


def test_text(page, broken):
    expected = '<Hello> W&"ld\ntilted\ndown\n' + f"{BEYOND_LATIN}\nback\n"
    assert write("text", page).decode() == expected
    assert write("text", *broken, page, broken[0], page).decode() == f"{expected}\n{expected}"


# ---------------------------------------------------------------- JSON


def test_json_lines(page):
    (line,) = write("jsonl", page).decode().splitlines()
    record = json.loads(line)
    assert list(record) == ["image", "page", "width", "height", "words", "left_out", "seconds"]
    assert (record["image"], record["page"], record["width"], record["height"]) == ("in/a photo.png", 0, 800, 600)
    assert record["seconds"] == {"detect": 0.1235, "rectify": 0.0, "recognize": 1.0}
    assert list(record["words"][0]) == ["text", "confidence", "polygon", "line"]
    assert record["words"][0] == {
        "text": "<Hello>",
        "confidence": 0.99,
        "polygon": [[50, 50], [190, 50], [190, 80], [50, 80]],
        "line": 0,
    }
    assert [w["text"] for w in record["words"]] == [w.text for w in page.words]
    assert [w["line"] for w in record["words"]] == [0, 0, 1, 2, 3, 4]
    assert BEYOND_LATIN in line


def test_json_notes_errors_in_their_place(page, broken):
    lines = write("jsonl", broken[0], page, *broken[1:]).decode().splitlines()
    assert json.loads(lines[0]) == {"image": "b.png", "error": "b.png: there is no such file"}
    assert json.loads(lines[2]) == {"image": "c.pdf", "page": 2, "error": "c.pdf: page 3 is damaged"}
    assert [("error" in json.loads(line)) for line in lines] == [True, False, True, True]


def test_json_lines_are_out_at_once(page):
    stream = io.BytesIO()
    make_writer("jsonl", stream).write(page)
    assert stream.getvalue().endswith(b"}\n")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_json_array(page, count):
    records = json.loads(write("json", *[page] * count))
    assert len(records) == count
    assert all(record == json.loads(write("jsonl", page)) for record in records)


def test_file_names_that_are_no_unicode(page):
    page.source = os.fsdecode(b"caf\xe9.png")
    record = json.loads(write("jsonl", page))
    assert os.fsencode(record["image"]) == b"caf\xe9.png"
    for format in FORMATS:
        assert write(format, page)


# ---------------------------------------------------------------- CSV


def test_csv(page, broken):
    page.words[0] = word('a,"b\nc', quad(50, 50, 140, 30), 0, 0, 0.99)
    rows = list(csv.DictReader(io.StringIO(write("csv", broken[0], page, broken[1]).decode(), newline="")))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 8
    assert rows[0]["error"] == "b.png: there is no such file"
    assert (rows[0]["page"], rows[7]["page"]) == ("", "2")
    assert rows[1]["text"] == 'a,"b\nc'
    assert rows[5]["text"] == BEYOND_LATIN
    assert [row["line"] for row in rows[1:7]] == list("001234")
    assert [row["block"] for row in rows[1:7]] == list("001233")
    assert float(rows[1]["confidence"]) == 0.99
    assert [float(rows[4][key]) for key in ("left", "top", "right", "bottom")] == [460, 100, 500, 250]
    points = np.array([[float(value) for value in point.split(",")] for point in rows[3]["polygon"].split()])
    np.testing.assert_allclose(points, page.words[2].polygon, atol=0.01)


# ---------------------------------------------------------------- hOCR

XHTML = {"h": "http://www.w3.org/1999/xhtml"}


def properties(element):
    """The properties in a title, as the hOCR specification has them: name, then values, separated by semicolons."""
    return {part.split()[0]: part.split()[1:] for part in element.get("title").split(";")}


def test_hocr(page, broken):
    content = write("hocr", broken[0], page, broken[2])
    root = etree.fromstring(content)
    assert root.tag == f"{{{XHTML['h']}}}html"
    pages = root.findall(".//h:div[@class='ocr_page']", XHTML)
    assert [properties(element)["bbox"] for element in pages] == [["0", "0", "800", "600"], ["0", "0", "30", "20"]]
    assert [properties(element)["ppageno"] for element in pages] == [["0"], ["1"]]
    assert 'image "in/a photo.png"' in pages[0].get("title")
    assert properties(pages[0])["scan_res"] == ["300", "300"]
    assert len(root.findall(".//h:div[@class='ocr_carea']", XHTML)) == 4
    lines = root.findall(".//h:span[@class='ocr_line']", XHTML)
    assert "".join(lines[0].itertext()).split() == ["<Hello>", 'W&"ld']
    angles = [float(properties(line).get("textangle", ["0"])[0]) for line in lines]
    assert angles == pytest.approx([0, -30, -90, 0, 180]) or angles == pytest.approx([0, -30, -90, 0, -180])
    words = root.findall(".//h:span[@class='ocrx_word']", XHTML)
    assert [element.text for element in words] == [w.text for w in page.words]
    assert [properties(element)["x_wconf"] for element in words][:3] == [["99"], ["50"], ["25"]]
    assert properties(words[3])["bbox"] == ["460", "100", "500", "250"]
    assert " ".join(properties(words[3])["poly"]) == "500 100 500 250 460 250 460 100"
    names = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(set(names)) == len(names)


def test_hocr_is_html(page):
    document = html.document_fromstring(write("hocr", page))
    assert document.cssselect is not None
    assert [element.text for element in document.find_class("ocrx_word")] == [w.text for w in page.words]
    system = document.xpath("//meta[@name='ocr-system']/@content")
    assert system[0].startswith("clip4str-plugin ")


# ---------------------------------------------------------------- ALTO and PAGE

# Written after the published schemas, element by element as far as they are used here.
ALTO_GRAMMAR = """
<grammar xmlns="http://relaxng.org/ns/structure/1.0" ns="http://www.loc.gov/standards/alto/ns-v4#"
         datatypeLibrary="http://www.w3.org/2001/XMLSchema-datatypes">
  <start><element name="alto"><optional><attribute name="SCHEMAVERSION"/></optional>
    <element name="Description">
      <element name="MeasurementUnit"><choice><value>pixel</value><value>mm10</value><value>inch1200</value></choice>
      </element>
      <optional><element name="sourceImageInformation"><optional><element name="fileName"><text/></element>
      <zeroOrMore><element name="fileIdentifier"><text/></element></zeroOrMore></optional>
      </element></optional>
      <zeroOrMore><element name="Processing"><attribute name="ID"><data type="ID"/></attribute>
        <optional><element name="processingSoftware"><optional><element name="softwareName"><text/></element></optional>
        <optional><element name="softwareVersion"><text/></element></optional></element></optional>
      </element></zeroOrMore>
    </element>
    <element name="Layout"><oneOrMore><element name="Page">
      <attribute name="ID"><data type="ID"/></attribute>
      <attribute name="PHYSICAL_IMG_NR"><data type="float"/></attribute>
      <attribute name="WIDTH"><data type="float"/></attribute><attribute name="HEIGHT"><data type="float"/></attribute>
      <optional><element name="PrintSpace"><ref name="place"/><zeroOrMore><element name="TextBlock">
        <attribute name="ID"><data type="ID"/></attribute><ref name="place"/>
        <zeroOrMore><element name="TextLine"><attribute name="ID"><data type="ID"/></attribute><ref name="place"/>
          <ref name="string"/><zeroOrMore><optional><element name="SP"><empty/></element></optional><ref name="string"/>
          </zeroOrMore></element></zeroOrMore>
      </element></zeroOrMore></element></optional>
    </element></oneOrMore></element>
  </element></start>
  <define name="string"><element name="String"><attribute name="ID"><data type="ID"/></attribute><ref name="place"/>
    <attribute name="CONTENT"/>
    <attribute name="WC"><data type="float">
      <param name="minInclusive">0</param><param name="maxInclusive">1</param></data></attribute>
    <optional><element name="Shape"><element name="Polygon"><attribute name="POINTS"/></element></element></optional>
  </element></define>
  <define name="place"><attribute name="HPOS"><data type="float"/></attribute>
    <attribute name="VPOS"><data type="float"/></attribute><attribute name="WIDTH"><data type="float"/></attribute>
    <attribute name="HEIGHT"><data type="float"/></attribute></define>
</grammar>
"""
PAGE_GRAMMAR = r"""
<grammar xmlns="http://relaxng.org/ns/structure/1.0"
         ns="http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15"
         datatypeLibrary="http://www.w3.org/2001/XMLSchema-datatypes">
  <start><element name="PcGts">
    <element name="Metadata"><element name="Creator"><text/></element>
      <element name="Created"><data type="dateTime"/></element>
      <element name="LastChange"><data type="dateTime"/></element></element>
    <element name="Page"><attribute name="imageFilename"/><attribute name="imageWidth"><data type="int"/></attribute>
      <attribute name="imageHeight"><data type="int"/></attribute>
      <optional><element name="ReadingOrder"><element name="OrderedGroup"><ref name="named"/>
        <oneOrMore><element name="RegionRefIndexed"><attribute name="index"><data type="integer"/></attribute>
          <attribute name="regionRef"><data type="IDREF"/></attribute></element></oneOrMore>
      </element></element></optional>
      <zeroOrMore><element name="TextRegion"><ref name="named"/>
        <attribute name="type"><value>paragraph</value></attribute><ref name="coords"/>
        <zeroOrMore><element name="TextLine"><ref name="named"/><ref name="coords"/>
          <zeroOrMore><element name="Word"><ref name="named"/><ref name="coords"/><ref name="text"/></element>
          </zeroOrMore>
          <ref name="text"/></element></zeroOrMore>
        <ref name="text"/></element></zeroOrMore>
    </element></element></start>
  <define name="named"><attribute name="id"><data type="ID"/></attribute></define>
  <define name="coords"><element name="Coords"><attribute name="points"><data type="string">
    <param name="pattern">([0-9]+,[0-9]+ )+([0-9]+,[0-9]+)</param></data></attribute></element></define>
  <define name="text"><element name="TextEquiv"><optional><attribute name="conf"><data type="float">
      <param name="minInclusive">0</param><param name="maxInclusive">1</param></data></attribute></optional>
    <element name="Unicode"><text/></element></element></define>
</grammar>
"""


def validate(grammar, content):
    root = etree.fromstring(content)
    etree.RelaxNG(etree.fromstring(grammar)).assertValid(root)
    return root


def test_alto(page, broken):
    root = validate(ALTO_GRAMMAR, write("alto", broken[0], page, broken[2], page))
    names = {"a": "http://www.loc.gov/standards/alto/ns-v4#"}
    assert [element.get("PHYSICAL_IMG_NR") for element in root.findall(".//a:Page", names)] == ["1", "2", "3"]
    assert root.findtext(".//a:fileName", namespaces=names) == "a photo.png"
    files = [element.text for element in root.findall(".//a:fileIdentifier", names)]
    assert [files[0], files[2]] == ["a photo.png"] * 2
    assert files[1] == broken[2].source.split("/")[-1]
    first = root.find(".//a:Page", names)
    strings = first.findall(".//a:String", names)
    assert [string.get("CONTENT") for string in strings] == [w.text for w in page.words]
    assert [float(string.get("WC")) for string in strings][:3] == [0.99, 0.5, 0.25]
    assert [strings[3].get(key) for key in ("HPOS", "VPOS", "WIDTH", "HEIGHT")] == ["460", "100", "40", "150"]
    assert strings[3].find(".//a:Polygon", names).get("POINTS") == "500,100 500,250 460,250 460,100"
    assert len(first.findall(".//a:SP", names)) == 1


def test_page_xml(page):
    root = validate(PAGE_GRAMMAR, write("page", page))
    names = {"p": "http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15"}
    assert root.find("p:Page", names).get("imageFilename") == "a photo.png"
    words = root.findall(".//p:Word", names)
    assert [element.findtext("p:TextEquiv/p:Unicode", namespaces=names) for element in words] == [
        w.text for w in page.words
    ]
    assert [float(element.find("p:TextEquiv", names).get("conf")) for element in words][:3] == [0.99, 0.5, 0.25]
    assert words[2].find("p:Coords", names).get("points") == "100,200 230,275 210,310 80,235"
    order = [reference.get("regionRef") for reference in root.findall(".//p:RegionRefIndexed", names)]
    assert order == [region.get("id") for region in root.findall(".//p:TextRegion", names)]
    lines = root.findall(".//p:TextLine", names)
    assert lines[0].findall("p:TextEquiv", names)[-1].findtext("p:Unicode", namespaces=names) == '<Hello> W&"ld'


def test_page_xml_holds_one_page(page, broken):
    with pytest.raises(Clip4StrError, match="one page a file"):
        write("page", page, page)
    assert write("page", broken[0], page, broken[1])
    validate(PAGE_GRAMMAR, write("page", broken[2]))


@pytest.mark.parametrize("format", ["hocr", "alto", "page"])
def test_xml_survives_characters_it_cannot_hold(page, format):
    page.words[0] = word("a\x00\x1b\ud800b", quad(50, 50, 140, 30), 0, 0)
    page.source = "\x07.png"
    content = write(format, page)
    assert "a\ufffd\ufffd\ufffdb" in content.decode()
    etree.fromstring(content)


@pytest.mark.parametrize("format", ["hocr", "alto", "page"])
def test_coordinates_stay_on_the_page(page, format):
    page.words = [word("out", quad(-50, -20, 9999, 9999, 5), 0, 0), word("dot", quad(799.7, 599.7, 0.1, 0.1), 1, 1)]
    content = write(format, page).decode()
    assert "-50" not in content
    if format == "hocr":
        words = html.document_fromstring(content.encode()).find_class("ocrx_word")
        boxes = [properties(element)["bbox"] for element in words]
        assert boxes == [["0", "0", "800", "600"], ["799", "599", "800", "600"]]


# ---------------------------------------------------------------- PDF


def pdf_page(content, index=0):
    document = pypdfium2.PdfDocument(content)
    return document, document[index]


def test_pdf_text_is_found_where_it_stands(page):
    _, sheet = pdf_page(write("pdf", page))
    points = 72 / 300
    assert sheet.get_size() == pytest.approx((800 * points, 600 * points))
    text = sheet.get_textpage()
    assert text.get_text_range().split("\r\n") == ['<Hello> W&"ld', "tilted", "down", BEYOND_LATIN, "back"]
    for expected in page.words:
        if expected.text == BEYOND_LATIN:
            continue  # PDFium counts its last letter as two
        index, count = text.search(expected.text).get_next()
        boxes = np.array([text.get_charbox(i, loose=True) for i in range(index, index + count)])
        left, bottom = boxes[:, :2].min(axis=0)
        right, top = boxes[:, 2:].max(axis=0)
        found = np.array([left, 600 * points - top, right, 600 * points - bottom]) / points
        np.testing.assert_allclose(found, expected.box, atol=1.5, err_msg=expected.text)


def test_pdf_text_is_invisible_and_the_picture_is_not(page):
    with_text = pdf_page(write("pdf", page))[1].render(scale=300 / 72).to_numpy()
    page.words = []
    without = pdf_page(write("pdf", page))[1].render(scale=300 / 72).to_numpy()
    np.testing.assert_array_equal(with_text, without)
    assert np.abs(without[..., ::-1].astype(int) - page.image).mean() < 2
    np.testing.assert_allclose(without[305, 150, ::-1].astype(int), [254, 0, 0], atol=8)


def test_pdf_words_of_a_line_are_apart_even_where_they_touch(page):
    page.words = [word("one", quad(50, 50, 60, 30), 0, 0), word("two", quad(110, 50, 60, 30), 0, 0)]
    _, sheet = pdf_page(write("pdf", page))
    assert sheet.get_textpage().get_text_range() == "one two"


def test_pdf_has_a_page_for_each_picture(page, broken):
    dark = Page(np.zeros((100, 200, 3), np.uint8), source="b.png")
    content = write("pdf", *broken, page, dark)
    document = pypdfium2.PdfDocument(content)
    assert len(document) == 3, "the picture whose text could not be read is kept"
    assert document[2].get_size() == pytest.approx((200 * 72 / 150, 100 * 72 / 150))
    assert [sheet.get_textpage().count_chars() > 0 for sheet in document] == [False, True, False]


@pytest.mark.slow
def test_pdf_with_many_words_is_small(page):
    page.words = [word(f"w{i}", quad(7 * (i % 100), 5 * (i // 100), 6, 4), i, 0) for i in range(5000)]
    assert len(write("pdf", page)) < 400_000


PRINT = [
    "The histogram of CAMPRODON shows international comparisons",
    "of extraordinarily misrepresented characteristics, 43.94 EUR",
    "a b c I am 1 2 3 Q4 in on at",
    "UNINTERESTING COUNTERREVOLUTIONARIES INTERNATIONALIZATION",
]


def printed_page(angle, gap):
    """A page of lines of 30 pixels, turned clockwise around its middle."""
    words = []
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    for number, line in enumerate(PRINT):
        left, top = -550.0, 45.0 * number - 100
        for text in line.split():
            place = quad(800 + c * left - s * top, 800 + s * left + c * top, 15 * len(text), 30, angle)
            words.append(word(text, place, number, 0))
            left += 15 * len(text) + gap
    return Page(np.full((1600, 1600, 3), 255, np.uint8), words, dpi=150)


def printed_pdf(angle, gap):
    """A searchable PDF of such a page, and its words."""
    page = printed_page(angle, gap)
    return write("pdf", page), [w.text for w in page.words]


def poppler_words(content):
    command = ["pdftotext", "-", "-"]
    return subprocess.run(command, input=content, stdout=subprocess.PIPE, check=True).stdout.decode().split()


def pdfium_words(content):
    return pdf_page(content)[1].get_textpage().get_text_range().split()


def pdfminer_words(content):
    from pdfminer.high_level import extract_text
    from pdfminer.layout import LAParams

    return extract_text(io.BytesIO(content), laparams=LAParams(detect_vertical=True)).split()


@pytest.mark.parametrize("gap", [0, 4, 8, 15])
@pytest.mark.parametrize("angle", [0, 2, -2, 5, 90, 180, 270])
def test_pdf_words_blanks_and_order(angle, gap):
    content, words = printed_pdf(angle, gap)
    found = pdfium_words(content)
    assert sorted(found) == sorted(words)
    if angle != 5:  # PDFium takes words at the same height for one line, where it slopes so much
        assert found == words


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="poppler is tested with pdftotext: poppler-utils")
@pytest.mark.parametrize("gap", [0, 4, 8, 15])
@pytest.mark.parametrize("angle", [0, 2, -2, 5, 90, 180, 270])
def test_pdf_words_blanks_and_order_in_poppler(angle, gap):
    content, words = printed_pdf(angle, gap)
    found = poppler_words(content)
    assert sorted(found) == sorted(words), "no word is torn, none runs into the next"
    if angle in (0, 2, -2, 90, 180):  # otherwise poppler puts lines in an order of its own
        assert found == words


@pytest.mark.parametrize("gap", [0, 4, 8, 15])
@pytest.mark.parametrize("angle", [0, 2, -2, 5, 90])
def test_pdf_words_blanks_and_order_in_pdfminer(angle, gap):
    pytest.importorskip("pdfminer", reason="pip install pdfminer.six")
    content, words = printed_pdf(angle, gap)
    assert pdfminer_words(content) == words


# ---------------------------------------------------------------- overlay


def test_confidence_color():
    assert confidence_color(0) == confidence_color(-1) == (220, 0, 0)
    assert confidence_color(0.5) == (220, 160, 0)
    assert confidence_color(1) == confidence_color(2) == (0, 160, 0)


def test_overlay_shows_outlines_and_text_in_place(page):
    drawn = draw_overlay(page)
    height, width = page.image.shape[:2]
    assert drawn.dtype == np.uint8
    assert drawn.shape[0] > height
    assert drawn.shape[1] > 2 * width
    words = drawn[:height, -width:]
    for shown in page.words:
        colour = np.array(confidence_color(shown.confidence))
        x, y = np.rint((shown.quad[0] + shown.quad[1]) / 2).astype(int)
        near = drawn[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3)
        assert np.abs(near - colour).sum(axis=1).min() < 60, f"the outline of {shown.text}"
        left, top, right, bottom = map(int, shown.box)
        region = words[top:bottom, left:right].reshape(-1, 3).astype(int)
        assert (np.abs(region - colour).sum(axis=1) < 60).mean() > 0.02, f"the letters of {shown.text}"
    empty = words[450:480, 300:500], page.image[450:480, 300:500]
    assert (empty[0] >= 170).all(), "where nothing was read, the picture is faint"
    assert ((empty[0] < 255) == (empty[1] < 252)).all(), "and still to be seen"
    np.testing.assert_array_equal(drawn[300:310, 120:180], page.image[300:310, 120:180])


def test_overlay_turns_letters_with_their_word(page):
    """The bar of an L is at the bottom; upside down it is at the top."""
    upright, turned = quad(100, 100, 100, 100), quad(200, 200, 100, 100, 180)
    shares = []
    for polygon in (upright, turned):
        page.words = [word("L", polygon, 0, 0)]
        letter = draw_overlay(page)[:600, -800:][100:200, 100:200].min(axis=2) < 128
        rows = np.flatnonzero(letter.any(axis=1))
        middle = int(rows.mean())
        shares.append(letter[:middle].sum() < letter[middle:].sum())
    assert shares == [True, False]


def test_overlay_sizes(page, broken):
    small = Page(np.zeros((40, 60, 3), np.uint8), [word("a", quad(5, 5, 10, 5), 0, 0)])
    assert draw_overlay(small).shape[1] >= 2 * 60 * 4, "enlarged until five pixels can be read"
    large = Page(np.zeros((5000, 8000, 3), np.uint8), [word("a", quad(5, 5, 10, 500), 0, 0)])
    assert draw_overlay(large).shape[1] < 5000
    assert (draw_overlay(broken[2])[..., 0] > 200).any()
    draw_overlay(Page(np.zeros((1, 1, 3), np.uint8), []))
    page.words = [word("outside", quad(-500, -500, 100, 30), 0, 0), word("half", quad(-50, 10, 100, 30), 1, 0)]
    Image.fromarray(draw_overlay(page))
