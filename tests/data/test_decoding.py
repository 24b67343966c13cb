from __future__ import annotations

import contextlib
import io
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageFile

from ftcli.data import decoding
from ftcli.data.decoding import decode, decode_with_facts
from ftcli.errors import ImageError

RED, BLUE = (255, 0, 0), (0, 0, 255)


def encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def pixels(content, **options):
    image = decode(content, **options)
    assert image.mode == "RGB"
    return np.asarray(image)


def half_red(width=32, height=16):
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (width, height), BLUE)
    image.paste(RED, (0, 0, width // 2, height))
    return image


def photo(width, height, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (height // 100, width // 100, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def test_a_file_and_its_bytes_give_the_same_rgb_image(tmp_path):
    path = tmp_path / "x.png"
    half_red().save(path)
    assert np.array_equal(pixels(path), np.asarray(half_red()))
    assert np.array_equal(pixels(path.read_bytes()), np.asarray(half_red()))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF", "WEBP"])
def test_the_content_decides_whatever_the_extension_claims(tmp_path, kind):
    path = tmp_path / "claims.jpg"
    path.write_bytes(encoded(half_red(), kind, **({"lossless": True} if kind == "WEBP" else {})))
    assert np.array_equal(pixels(path), np.asarray(half_red()))
    assert decode_with_facts(path.read_bytes())[1].format == kind


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind, orientation):
    stored = Image.fromarray(np.kron(np.array([[0, 90], [170, 255]], np.uint8), np.ones((16, 24), np.uint8)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image, facts = decode_with_facts(encoded(stored, kind, exif=exif))
    corners = [image.getpixel((x, y))[0] for y in (4, image.height - 5) for x in (4, image.width - 5)]
    expected = {
        1: [0, 90, 170, 255], 2: [90, 0, 255, 170], 3: [255, 170, 90, 0], 4: [170, 255, 0, 90],
        5: [0, 170, 90, 255], 6: [170, 0, 255, 90], 7: [255, 90, 170, 0], 8: [90, 255, 0, 170],
    }[orientation]  # fmt: skip
    assert corners == pytest.approx(expected, abs=6)
    assert image.size == (facts.width, facts.height) == ((48, 32) if orientation < 5 else (32, 48))


def test_broken_exif_does_not_make_a_good_image_bad():
    plain = encoded(half_red(), "JPEG", quality=95)
    broken = plain[:2] + b"\xff\xe1" + struct.pack(">H", 20) + b"Exif\0\0MM\0\x2a\xff\xff\xff\xff????" + plain[2:]
    assert np.array_equal(pixels(broken), pixels(plain))


def test_grey_and_one_bit_images_become_rgb():
    assert pixels(encoded(Image.new("L", (3, 2), 77), "PNG"))[0, 0].tolist() == [77, 77, 77]
    bits = Image.fromarray(np.array([[True, False]]))
    assert pixels(encoded(bits, "PNG")).tolist() == [[[255, 255, 255], [0, 0, 0]]]
    assert pixels(encoded(bits, "TIFF")).tolist() == [[[255, 255, 255], [0, 0, 0]]]


def test_a_palette_is_looked_up():
    assert np.array_equal(pixels(encoded(half_red().quantize(4), "PNG")), np.asarray(half_red()))


def test_transparency_lies_on_white():
    half = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    half.putpixel((1, 0), (0, 0, 0, 128))
    expected = [[[255, 255, 255], [127, 127, 127]]]
    assert pixels(encoded(half, "PNG")).tolist() == expected
    assert pixels(encoded(half, "WEBP", lossless=True)).tolist() == expected
    assert pixels(encoded(Image.new("LA", (2, 1), (9, 0)), "PNG")).tolist() == [[[255] * 3] * 2]


@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_transparent_palette_entry_is_white(as_bytes):
    image = half_red().quantize(2)
    red = image.getpixel((0, 0))
    transparency = bytes(0 if entry == red else 255 for entry in range(2)) if as_bytes else red
    array = pixels(encoded(image, "PNG", transparency=transparency))
    assert array[0, 0].tolist() == [255, 255, 255]
    assert tuple(array[0, -1].tolist()) == BLUE


@pytest.mark.parametrize(("mode", "colour"), [("L", 40), ("RGB", RED), ("1", 0)])
def test_a_colour_declared_transparent_is_white(mode, colour):
    content = encoded(Image.new(mode, (2, 2), colour), "PNG", transparency=colour)
    assert pixels(content)[0, 0].tolist() == [255, 255, 255]


def test_cmyk_has_its_colours_with_adobes_marker_and_without():
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    adobe = encoded(cyan, "JPEG", quality=95)
    assert pixels(adobe)[8, 8].tolist() == pytest.approx([0, 255, 255], abs=6)
    assert pixels(encoded(cyan, "TIFF"))[8, 8].tolist() == [0, 255, 255]
    start = adobe.index(b"\xff\xee")
    plain = adobe[:start] + adobe[start + 2 + int.from_bytes(adobe[start + 2 : start + 4], "big") :]
    # As Pillow and browsers do: CMYK in a JPEG is inverted, also where no marker says so.
    assert pixels(plain)[8, 8].tolist() == pytest.approx([0, 255, 255], abs=6)


def pgm(values):
    height, width = values.shape
    return b"P5 %d %d 65535\n" % (width, height) + values.astype(">u2").tobytes()


def big_endian_tiff(values):
    """Write a minimal 16-bit grey TIFF in big-endian order, which Pillow opens as I;16B."""
    height, width = values.shape
    tags = [(256, width), (257, height), (258, 16), (259, 1), (262, 1), (273, 122), (277, 1), (278, height)]
    entries = b"".join(struct.pack(">HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    entries += struct.pack(">HHII", 279, 4, 1, values.size * 2)
    head = b"MM\0\x2a" + struct.pack(">IH", 8, 9) + entries + struct.pack(">I", 0)
    return head.ljust(122, b"\0") + values.astype(">u2").tobytes()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "I;16B", "PGM"])
def test_sixteen_bits_are_scaled_and_not_clipped_to_white(kind):
    values = np.array([[0, 257, 32896, 65535, 300]], np.uint16)
    content = {
        "PNG": lambda: encoded(Image.fromarray(values), "PNG"),
        "TIFF": lambda: encoded(Image.fromarray(values), "TIFF"),
        "I;16B": lambda: big_endian_tiff(values),
        "PGM": lambda: pgm(values),
    }[kind]()
    image, facts = decode_with_facts(content)
    assert facts.mode == {"PNG": "I;16", "TIFF": "I;16", "PGM": "I"}.get(kind, kind)
    assert np.asarray(image)[0, :, 0].tolist() == [0, 1, 128, 255, 1]


def test_numbers_beyond_sixteen_bits_and_floats_are_refused_with_a_way_out():
    big = Image.fromarray(np.array([[0, 70000]], np.int32))
    with pytest.raises(ImageError, match="between 0 and 70000") as caught:
        decode(encoded(big, "TIFF"), name="x.tif")
    assert caught.value.where == "x.tif"
    with pytest.raises(ImageError, match="Convert it to 8 or 16 bits"):
        decode(encoded(Image.new("F", (2, 2), 0.5), "TIFF"))


def test_the_first_frame_of_an_animation_counts():
    for kind in ("GIF", "WEBP", "PNG"):
        frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
        content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
        assert pixels(content)[4, 4].tolist() == pytest.approx(RED, abs=4)


@pytest.mark.parametrize("orientation", [1, 6])
def test_large_jpegs_are_reduced_but_never_below_the_minimum_side(monkeypatch, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(photo(1200, 900), "JPEG", quality=90, exif=exif)
    sizes = {side: decode(content, minimum_side=side).size for side in (1, 113, 114, 225, 256, 450, 451, 2000)}
    shorter = {side: min(size) for side, size in sizes.items()}
    assert shorter == {1: 113, 113: 225, 114: 225, 225: 225, 256: 450, 450: 450, 451: 900, 2000: 900}
    assert (sizes[256] == (600, 450)) == (orientation == 1)
    _, facts = decode_with_facts(content, minimum_side=256)
    assert (facts.width, facts.height) == ((1200, 900) if orientation == 1 else (900, 1200))


def test_reduced_decoding_hardly_changes_what_the_network_sees():
    content = encoded(photo(2400, 1600), "JPEG", quality=90)
    full, reduced = decode(content), decode(content, minimum_side=256)
    assert reduced.size == (600, 400)
    seen = [np.asarray(image.resize((384, 256), Image.Resampling.BILINEAR), np.int16) for image in (full, reduced)]
    assert np.abs(seen[0] - seen[1]).mean() < 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
@pytest.mark.parametrize("minimum_side", [None, 1])
def test_a_file_cut_short_is_an_error_that_names_it(tmp_path, kind, share, minimum_side):
    content = encoded(photo(400, 300), kind)
    path = tmp_path / "cut.jpg"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ImageError) as caught:
        decode(path, minimum_side=minimum_side)
    assert caught.value.where == str(path)
    assert "Replace the file" in str(caught.value)


@pytest.mark.parametrize(("content", "message"), [(b"", "empty"), (b"<html>", "not an image"), (b"\xff\xd8", "JPEG")])
def test_a_file_that_is_not_an_image_is_an_error(tmp_path, content, message):
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=message):
        decode(path)


@pytest.mark.parametrize("kind", ["TGA", "ICO", "PCX", "SGI", "PDF", "EPS"])
def test_other_formats_that_pillow_reads_are_not_tried(kind):
    content = encoded(half_red(), kind)
    with pytest.raises(ImageError, match="not an image that ftcli can read"):
        decode(content)


def test_a_file_that_is_of_a_known_format_and_cannot_be_opened_is_called_by_its_name():
    content = encoded(half_red(), "PNG")
    wrong_checksum = content[:29] + bytes(4) + content[33:]
    for broken, name in ((wrong_checksum, "PNG"), (b"II*\0" + bytes(40), "TIFF"), (b"\xff\xd8\xff", "JPEG")):
        with pytest.raises(ImageError, match=f"this {name} is broken, truncated, or of a kind that ftcli cannot read"):
            decode(broken)


def test_a_missing_file_and_a_folder_are_errors(tmp_path):
    with pytest.raises(ImageError, match="No such file"):
        decode(tmp_path / "gone.jpg")
    with pytest.raises(ImageError, match="not a file"):
        decode(tmp_path)


def test_random_bytes_give_an_image_or_an_image_error():
    random = np.random.default_rng(0)
    for kind in ("PNG", "TIFF", "JPEG", "WEBP", "GIF", "BMP"):
        good = np.frombuffer(encoded(half_red(), kind), np.uint8)
        for _ in range(60):
            bad = good.copy()
            bad[random.integers(0, len(bad), 3)] = random.integers(0, 256, 3)
            with contextlib.suppress(ImageError):
                assert decode(bad.tobytes()).mode == "RGB"


def test_images_of_too_many_pixels_are_refused_before_they_are_decoded(monkeypatch):
    header = bytearray(encoded(Image.new("1", (8, 8)), "BMP"))
    header[18:26] = struct.pack("<ii", 20_000, 10_000)
    with pytest.raises(ImageError, match="178,956,970 pixels"):
        decode(bytes(header))
    monkeypatch.setattr(decoding, "MAXIMUM_PIXELS", 100)
    with pytest.raises(ImageError, match="32 x 16 pixels"):
        decode(encoded(half_red(), "PNG"))


def test_images_that_pillow_only_warns_of_are_decoded_without_a_warning(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        decode(encoded(half_red(), "PNG"))
    assert caught == []


def test_pillows_tolerance_of_cut_files_is_off():
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_the_warning_filters_are_restored_after_many_threads():
    content = encoded(half_red(), "PNG")
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(decode, [content] * 200))
    assert warnings.filters == before
    with pytest.warns(UserWarning, match="still shown"):
        warnings.warn("still shown", UserWarning, stacklevel=1)
