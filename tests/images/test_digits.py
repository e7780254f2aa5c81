"""Pictures as PNG files, and the error where scikit-learn is absent."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from likelier.errors import ConfigError
from likelier.images.digits import load_digits, write_png, write_sheet


def test_png_files_are_read_by_others():
    ink = np.array([[0.0, 1.0], [0.5, 0.0]], np.float32)
    image = np.asarray(Image.open(io.BytesIO(write_png(ink))))
    assert image.shape == (32, 32)
    assert image[::16, ::16].tolist() == [[255, 0], [128, 255]]
    sheet = np.asarray(Image.open(io.BytesIO(write_sheet(np.ones((3, 64), np.float32), columns=2))))
    assert sheet.shape == (19 * 16, 19 * 16)
    assert sheet[::16, ::16].tolist()[1][1:9] == [0] * 8
    assert sheet[::16, ::16].tolist()[0] == [255] * 19


def test_without_scikit_learn_it_is_named(monkeypatch):
    load_digits.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ConfigError, match="pip install scikit-learn"):
        load_digits()
