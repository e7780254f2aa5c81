"""Splitting text into words, in scripts with and without blanks between them. Imports no torch."""

import re
import unicodedata

UNSPACED = re.compile(
    "[\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f\u1780-\u17ff"  # Myanmar with its extensions, Khmer
    "\u2e80-\u30ff\u3100-\u312f\u31a0-\u31bf\u31f0-\u31ff\uff66-\uff9f"  # radicals, kana, Bopomofo
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"  # Chinese characters
)
"""Scripts that are written without blanks between words."""

WORD = re.compile(r"cm*|[wm]+(?:a[wm]+)?|[ap]m*")
"""Over `CharacterClasses`: a character of an unspaced script with its marks; a word, with one apostrophe inside; a
punctuation mark or symbol."""


def split_words(text: str) -> list[str]:
    """Split into words, numbers and punctuation marks; blanks are dropped.

    Scripts without blanks between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese) are split into characters. Vowel
    signs and other combining marks stay with the letter before them. Layout characters (soft hyphen, zero-width space
    and joiners) are dropped.

    >>> split_words("I don't know, 猫 wins.")
    ['I', "don't", 'know', ',', '猫', 'wins', '.']
    """
    classes = text.translate(CLASSES)
    if "f" in classes:
        return split_words("".join(char for char, kind in zip(text, classes, strict=True) if kind != "f"))
    return [text[slice(*match.span())] for match in WORD.finditer(classes)]


def cut_words(text: str) -> list[str]:
    """Cut a text into the pieces that `split_words` finds, each with the blanks before it; together they are the text.

    >>> cut_words("One  day, 狐狸 ")
    ['One', '  day', ',', ' 狐', '狸 ']
    """
    ends = [match.end() for match in WORD.finditer(text.translate(CLASSES))]
    ends[-1:] = [len(text)]
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False) if start < end]


def is_word(part: str) -> bool:
    """True for a word or number of `split_words`, False for a punctuation mark or symbol."""
    return CLASSES[ord(part[0])] in "wcm"


def is_unspaced(part: str) -> bool:
    """True for a character of a script without blanks between words."""
    return CLASSES[ord(part[0])] == "c"


class CharacterClasses(dict[int, str]):
    r"""Maps a code point to the class of its character, for `str.translate`.

    A letter or digit (w; c in an unspaced script), a combining mark (m), an apostrophe (a), a blank (s), a layout
    character (f), punctuation and symbols (p). Python's `\w` has no combining marks (Unicode Mn, Mc, Me): with it Hindi
    and Thai words fall apart at their vowels.
    """

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if char.isalnum() or char == "_":
            kind = "c" if UNSPACED.match(char) else "w"
        elif char.isspace():
            kind = "s"
        else:
            kind = {"Mn": "m", "Mc": "m", "Me": "m", "Cf": "f"}.get(unicodedata.category(char), "p")
        self[code] = kind
        return kind


CLASSES = CharacterClasses({ord("'"): "a"})
