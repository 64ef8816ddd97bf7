"""What an image may be, and how it gets to a judge: as an address that a server takes, or as pixels for a local one.

A PIL image, an array of pixels, the bytes or the path of a file, an http(s) or data URL, and what `datasets` has before it
decodes: `{"bytes": ..., "path": ...}`. Nothing is fetched from the network here.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import io
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grmrewards import arguments
from grmrewards.errors import ConfigError

ALLOWED = (
    "allowed are a PIL image, an array of pixels (uint8), the bytes or the path of an image file, an http(s) URL or data "
    "URL, and {'bytes': ..., 'path': ...} as datasets have it."
)
IN_PNG = {"1", "L", "LA", "I;16", "RGB", "RGBA"}  # modes of PIL, without the ones whose pixels mean nothing alone
KEPT = 64  # encoded images: those of the groups that are judged at the moment

_MAGIC = {"png": rb"\x89PNG\r\n\x1a\n", "jpeg": rb"\xff\xd8\xff", "gif": rb"GIF8[79]a", "webp": rb"RIFF.{4}WEBP"}


def url(image: Any) -> str:
    """The image as a server takes it: an http(s) URL as it is, all else as a data URL. Raises `ConfigError`.

    Files in a format that servers know are sent as they are, others and pixels as PNG, which loses nothing.

    >>> url(b"GIF89a...")
    'data:image/gif;base64,R0lGODlhLi4u'
    """
    source = _source(image)
    if isinstance(source, str):
        return source
    if isinstance(source, bytes):
        kind = next((kind for kind, magic in _MAGIC.items() if re.match(magic, source, re.DOTALL)), None)
        if kind:
            return f"data:image/{kind};base64,{base64.b64encode(source).decode('ascii')}"
        source = _decoded(source)
    if source.mode not in IN_PNG:
        source = source.convert("RGBA" if "transparency" in source.info else "RGB")
    return _png(_Pixels(hashlib.sha256(source.tobytes()).digest(), source.mode, source.size, source))


def pixels(image: Any) -> Any:
    """The image as a PIL image in RGB, upright. Raises `ConfigError`, also for http(s) URLs: nothing is fetched."""
    source = _source(image)
    if isinstance(source, str):
        encoded = re.fullmatch(r"data:[^,]*;base64,(.*)", source, re.DOTALL)
        if encoded is None:
            raise ConfigError(
                f"an image at {source[:60]!r}: a judge on this machine fetches nothing from the network. Load the image in "
                "the dataset, or judge with an OpenAIJudge on a server that sees."
            )
        try:
            source = base64.b64decode(encoded[1], validate=True)
        except binascii.Error as error:
            raise _refused("a data URL", f"its base64 is broken ({error})") from error
    if isinstance(source, bytes):
        source = _decoded(source)
    return source.convert("RGB")


def _source(image: Any) -> Any:
    """An address as str, a file as bytes, or pixels as a PIL image."""
    if isinstance(image, dict):
        if image.get("url") is not None:
            return _address(image["url"])
        image = next((image[key] for key in ("bytes", "path") if image.get(key) is not None), None)
    if isinstance(image, str) and re.match(r"data:|[A-Za-z][A-Za-z0-9+.-]+://", image):
        return _address(image)
    if isinstance(image, (str, os.PathLike)):
        return _read(Path(image))
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image)
    if hasattr(image, "convert") and hasattr(image, "tobytes"):
        return image
    if hasattr(image, "__array_interface__"):
        return _from_array(image)
    raise _refused(type(image).__name__, "it holds no pixels")


def _address(address: Any) -> str:
    """Never that of a file: a server would look for it on its own machine."""
    if isinstance(address, str) and not re.match(r"(?!https?:|data:image/)[A-Za-z][A-Za-z0-9+.-]+:", address, re.I):
        return address
    raise _refused(f"{str(address)[:60]!r}", "that is no address of an image")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise _refused(f"the path {str(path)[:200]!r}", f"it cannot be read ({type(error).__name__})") from error


def _decoded(file: bytes) -> Any:
    """As cameras mean it: they note beside the pixels which way is up."""
    arguments.installed("an image file that is to be decoded", "PIL", extra="vision")
    from PIL import Image, ImageOps

    try:
        return ImageOps.exif_transpose(Image.open(io.BytesIO(file)))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _refused(f"{len(file)} bytes", f"they cannot be decoded ({type(error).__name__})") from error


def _from_array(array: Any) -> Any:
    arguments.installed("an image as an array", "PIL", extra="vision")
    from PIL import Image

    try:
        return Image.fromarray(array)
    except (TypeError, ValueError) as error:
        raise _refused(
            f"an array {getattr(array, 'shape', '')} of {getattr(array, 'dtype', '')}", str(error)
        ) from error


def _refused(what: str, why: str) -> ConfigError:
    return ConfigError(f"an image given as {what}: {why}; {ALLOWED}")


@dataclass(frozen=True)
class _Pixels:
    """A PIL image that equals those with the same pixels: one image is in the prompts of its whole group."""

    digest: bytes
    mode: str
    size: tuple[int, int]
    image: Any = field(compare=False)


@functools.lru_cache(maxsize=KEPT)
def _png(pixels: _Pixels) -> str:
    file = io.BytesIO()
    pixels.image.save(file, "PNG", compress_level=1)  # a third of the time of the default, for a few bytes more
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
