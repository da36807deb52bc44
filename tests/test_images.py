import os
import struct
import subprocess
import sys
import tempfile
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from clip4str_plugin.io.images import MAX_PIXELS, PageImage, Unreadable, find_files, read_pages, to_rgb

# Pillow remarks on oddities that are put in on purpose here.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::PIL.Image.DecompressionBombWarning")

PHOTOS = Path(__file__).parent.parent / "examples" / "photos"


def only(path, **options):
    """The one thing a file gives."""
    (page,) = read_pages(path, **options)
    return page


def error_of(path, **options):
    page = only(path, **options)
    assert isinstance(page, Unreadable)
    assert page.source == os.fspath(path)
    assert page.error.startswith(f"{path}: ")
    assert "\n" not in page.error
    return page.error


@pytest.fixture
def picture():
    """Reading direction matters: red left, blue right, a black top edge."""
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :40, 0] = pixels[:, 40:, 2] = 255
    pixels[:8] = 0
    return pixels


def png_header(width, height):
    """A PNG that promises any size and holds no pixel."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


# ---------------------------------------------------------------- what can be read


@pytest.mark.parametrize("name", ["biscuit_tin.jpg", "cookie_box.png", "railroad_crossing.png"])
def test_example_photos(name):
    page = only(PHOTOS / name)
    assert isinstance(page, PageImage)
    assert page.pixels.dtype == np.uint8
    assert page.pixels.shape == (*Image.open(PHOTOS / name).size[::-1], 3)
    assert page.pixels.flags.c_contiguous
    assert page.pixels.std() > 20


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, picture, orientation):
    # What must be done to an upright picture so that the tag undoes it.
    stored = {
        1: picture, 2: picture[:, ::-1], 3: picture[::-1, ::-1], 4: picture[::-1], 5: picture.transpose(1, 0, 2),
        6: np.rot90(picture), 7: np.rot90(picture.transpose(1, 0, 2), 2), 8: np.rot90(picture, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(only(tmp_path / "a.png").pixels, picture)


def test_broken_exif_does_not_matter(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.jpg", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff\x01\x12")
    assert only(tmp_path / "a.jpg").pixels.shape == picture.shape


def test_transparency_becomes_white():
    rgba = np.zeros((2, 3, 4), np.uint8)
    rgba[..., 3] = [[0, 128, 255]] * 2
    np.testing.assert_array_equal(to_rgb(Image.fromarray(rgba))[0, :, 0], [255, 127, 0])
    grey = Image.fromarray(np.full((2, 2), 7, np.uint8)).convert("LA")
    grey.putalpha(Image.new("L", (2, 2), 0))
    assert (to_rgb(grey) == 255).all()


def test_transparent_palette(tmp_path):
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((0, 0), 1)
    image.save(tmp_path / "a.png", transparency=0)
    pixels = only(tmp_path / "a.png").pixels
    assert pixels[0, 0].tolist() == [200, 100, 50]
    assert pixels[3, 3].tolist() == [255, 255, 255]


def test_cmyk(tmp_path, picture):
    Image.fromarray(picture).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert Image.open(tmp_path / "a.jpg").mode == "CMYK"
    assert np.abs(only(tmp_path / "a.jpg").pixels.astype(int) - picture).mean() < 4


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled(tmp_path, suffix):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, 0)
    Image.fromarray(ramp).save(tmp_path / f"a.{suffix}")
    pixels = only(tmp_path / f"a.{suffix}").pixels
    assert np.abs(pixels[0, :, 1].astype(int) - np.arange(256)).max() <= 1
    assert pixels.shape == (4, 256, 3)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, 100.0, 255.0]], np.float32), [0, 100, 255]),
        (np.array([[-1.0, 0.0, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, np.nan, 1.0]], np.float32), [0, 0, 255]),
        (np.array([[0, 1000000, 2000000]], np.int32), [0, 128, 255]),
        (np.array([[0, 0, 0]], np.int32), [0, 0, 0]),
    ],
)
def test_wide_values(values, expected):
    assert to_rgb(Image.fromarray(values))[0, :, 0].tolist() == expected


@pytest.mark.parametrize(("mode", "tolerance"), [("L", 90), ("P", 1), ("YCbCr", 3), ("HSV", 3)])
def test_other_modes(picture, mode, tolerance):
    image = Image.fromarray(picture).convert(mode, palette=Image.Palette.ADAPTIVE)
    pixels = to_rgb(image)
    assert pixels.shape == (40, 80, 3)
    assert np.abs(pixels.astype(int) - picture).mean() < tolerance


def test_one_bit(picture):
    assert set(np.unique(to_rgb(Image.fromarray(picture).convert("1")))) <= {0, 255}


def test_lab(picture):
    lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    image = ImageCms.profileToProfile(Image.fromarray(picture), rgb, lab, outputMode="LAB")
    assert np.abs(to_rgb(image).astype(int) - picture).mean() < 8  # 8 bits a channel hold little of LAB


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_animations_give_their_first_picture(tmp_path, suffix):
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "lime", "blue")]
    lossless = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **lossless)
    assert only(tmp_path / f"a.{suffix}").pixels[5, 5].tolist() == [255, 0, 0]


def test_tiff_gives_all_pages(tmp_path):
    frames = [Image.new("RGB", (20 + i, 10), (i * 50, 0, 0)) for i in range(4)]
    frames[0].save(tmp_path / "a.tiff", save_all=True, append_images=frames[1:], dpi=(300, 300))
    pages = list(read_pages(tmp_path / "a.tiff"))
    assert [page.index for page in pages] == [0, 1, 2, 3]
    assert [page.pixels.shape[1] for page in pages] == [20, 21, 22, 23]
    assert [page.pixels[0, 0, 0] for page in pages] == [0, 50, 100, 150]
    assert pages[0].dpi == 300


def test_pdf_pages_at_the_asked_resolution(tmp_path):
    pages = [Image.new("RGB", (144, 72), colour) for colour in ("red", "blue")]
    pages[0].save(tmp_path / "a.pdf", save_all=True, append_images=pages[1:], resolution=72)
    read = list(read_pages(tmp_path / "a.pdf", dpi=144))
    assert [page.pixels.shape for page in read] == [(144, 288, 3)] * 2
    assert [page.pixels[70, 100].argmax() for page in read] == [0, 2]
    assert [(page.index, page.dpi) for page in read] == [(0, 144), (1, 144)]


def test_pdf_pages_come_one_at_a_time(tmp_path):
    pages = [Image.new("L", (400, 400), i) for i in range(60)]
    pages[0].save(tmp_path / "a.pdf", save_all=True, append_images=pages[1:])
    script = (
        "import resource, sys\n"
        "from clip4str_plugin.io.images import read_pages\n"
        "peaks = []\n"
        "for page in read_pages(sys.argv[1], dpi=200):\n"
        "    assert page.pixels.shape == (1112, 1112, 3), page.pixels.shape\n"
        "    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
        "print(len(peaks), peaks[-1] - peaks[4])\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "a.pdf")]
    count, growth = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert int(count) == 60
    assert int(growth) < 20_000, "kilobytes; all the pages together take 220,000"


def test_importing_costs_nothing_heavy():
    heavy = "torch", "doctr", "cv2", "PIL"
    script = f"import sys, clip4str_plugin.io.images; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# ---------------------------------------------------------------- what cannot


def test_missing():
    assert error_of("no/such/file.png") == "no/such/file.png: there is no such file"


def test_name_with_null_byte():
    assert "cannot be opened" in error_of("a\0b.png")


def test_zero_bytes(tmp_path):
    (tmp_path / "a.png").touch()
    assert "empty (0 bytes)" in error_of(tmp_path / "a.png")


def test_text_renamed(tmp_path):
    (tmp_path / "a.png").write_text("Dear reader, this is no picture.\n" * 50)
    assert "neither an image nor a PDF" in error_of(tmp_path / "a.png")


def test_the_suffix_does_not_matter(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.txt", format="PNG")
    np.testing.assert_array_equal(only(tmp_path / "a.txt").pixels, picture)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("name", ["biscuit_tin.jpg", "cookie_box.png"])
def test_truncated(tmp_path, name, share):
    content = (PHOTOS / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(content[: int(share * len(content))])
    assert "damaged" in error_of(path)


@pytest.mark.parametrize("suffix", ["bmp", "gif", "jp2", "tif", "webp"])
def test_truncated_in_other_formats(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.open(PHOTOS / "biscuit_tin.jpg").save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    assert "damaged" in error_of(path)


def test_tiff_with_one_bad_page(tmp_path):
    frames = [Image.effect_noise((64, 64), 60 + i) for i in range(3)]
    path = tmp_path / "a.tif"
    frames[0].save(path, save_all=True, append_images=frames[1:], compression="tiff_adobe_deflate")
    content = bytearray(path.read_bytes())
    with Image.open(path) as image:
        image.seek(1)
        (offset,), (length,) = image.tag_v2[273][:1], image.tag_v2[279][:1]
    content[offset : offset + length] = b"\xff" * length
    path.write_bytes(content)
    first, second, third = read_pages(path)
    assert isinstance(first, PageImage)
    assert isinstance(third, PageImage)
    assert second.index == 1
    assert "page 2 is damaged" in second.error


def test_decompression_bomb(tmp_path):
    (tmp_path / "a.png").write_bytes(png_header(20_000, 20_000))
    error = error_of(tmp_path / "a.png")
    assert f"{MAX_PIXELS / 1e6:g} megapixels" in error
    assert "--max-pixels" in error


def test_the_limit_can_be_lowered_and_raised(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.png")
    assert "80 x 40 pixels" in error_of(tmp_path / "a.png", max_pixels=3199)
    assert isinstance(only(tmp_path / "a.png", max_pixels=3200), PageImage)


def test_beyond_pillows_own_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    Image.new("1", (100, 100)).save(tmp_path / "a.png")
    error = error_of(tmp_path / "a.png", max_pixels=1999)
    assert "--max-pixels" in error
    assert Image.MAX_IMAGE_PIXELS == 1000
    assert only(tmp_path / "a.png", max_pixels=10_000).pixels.shape == (100, 100, 3)


def test_one_pixel(tmp_path):
    Image.new("RGB", (1, 1), "red").save(tmp_path / "a.png")
    assert only(tmp_path / "a.png").pixels.tolist() == [[[255, 0, 0]]]


def test_unreadable_file():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = os.path.join(folder, "a.png")
        Image.new("L", (4, 4)).save(path)
        assert isinstance(only(path), PageImage)
        os.chmod(path, 0)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)  # root may read anything
        try:
            assert "Permission denied" in error_of(path)
        finally:
            os.seteuid(user)


def test_link_to_itself(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "a.png")
    assert "cannot be opened" in error_of(tmp_path / "a.png")


def test_pipe(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    assert "not a regular file" in error_of(tmp_path / "a.png")


def test_eps_starts_no_interpreter(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\n")
    assert "neither an image nor a PDF" in error_of(tmp_path / "a.png")


def test_heic_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 100)
    assert "pip install pillow-heif" in error_of(tmp_path / "a.heic")


def test_damaged_pdf(tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7\nnothing else")
    assert "the PDF is damaged" in error_of(tmp_path / "a.pdf")


def test_pdf_with_password(tmp_path):
    from fpdf import FPDF

    pdf = FPDF()
    pdf.set_encryption(owner_password="owner", user_password="user")
    pdf.add_page()
    pdf.output(str(tmp_path / "a.pdf"))
    assert "password" in error_of(tmp_path / "a.pdf")


def test_enormous_pdf_page(tmp_path):
    buffer = BytesIO()
    Image.new("L", (30, 30)).save(buffer, format="PDF", resolution=0.2)
    (tmp_path / "a.pdf").write_bytes(buffer.getvalue())
    assert "page 1 would have" in error_of(tmp_path / "a.pdf", dpi=200)
    assert isinstance(only(tmp_path / "a.pdf", dpi=10), PageImage)


def test_random_damage_never_raises(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    small = Image.open(PHOTOS / "cookie_box.png").resize((90, 60))
    for suffix in ("png", "jpg", "gif", "tif", "webp", "bmp", "pdf"):
        buffer = BytesIO()
        small.save(buffer, format={"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper()))
        for _ in range(25):
            content = bytearray(buffer.getvalue())
            for position in generator.integers(0, min(len(content), 600), 12):
                content[position] = generator.integers(0, 256)
            path = tmp_path / f"a.{suffix}"
            path.write_bytes(content)
            assert list(read_pages(path, max_pixels=1_000_000, dpi=20))


# ---------------------------------------------------------------- folders


def test_folders(tmp_path):
    for name in ("b.PNG", "a.jpeg", "c.pdf", ".hidden.png", "notes.txt", "labels.tsv"):
        (tmp_path / name).touch()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "d.tif").touch()
    folder = str(tmp_path)
    names = [os.path.join(folder, name) for name in ("a.jpeg", "b.PNG", "c.pdf")]
    assert list(find_files([folder, "x.png"])) == [*names, "x.png"]
    assert list(find_files([folder], recursive=True)) == [*names, os.path.join(folder, "more", "d.tif")]


def test_empty_folder(tmp_path):
    (found,) = find_files([tmp_path])
    assert found == Unreadable(str(tmp_path), f"{tmp_path}: {found.error.split(': ', 1)[1]}")
    assert "holds no image or PDF" in found.error
    assert "--recursive" in found.error
