"""Small real media files: images drawn by Pillow, a sound, and the first bytes of what nothing here can encode."""

import io
import math
import struct
import wave

from PIL import Image, ImageDraw

MP3 = b"\xff\xfb\x90\x64" + bytes(413)
"""One frame of MPEG-1 layer III, 128 kbit/s, 44.1 kHz."""
OGG = b"OggS\x00\x02" + bytes(20) + b"\x01\x13OpusHead\x01\x02" + bytes(9)
MP4 = b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41" + b"\x00\x00\x00\x08free"
WEBM = b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x84webmB\x87\x81\x04" + bytes(40)


def image(colour="red", kind="PNG", size=(64, 48)):
    """An image file with a disc on it."""
    picture = Image.new("RGB", size, "white")
    ImageDraw.Draw(picture).ellipse((size[0] // 8, size[1] // 8, size[0] * 7 // 8, size[1] * 7 // 8), fill=colour)
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


def sound(hertz=440, seconds=0.2):
    """A WAV file with one tone."""
    rate = 8000
    samples = [int(8000 * math.sin(2 * math.pi * hertz * at / rate)) for at in range(int(rate * seconds))]
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return file.getvalue()
