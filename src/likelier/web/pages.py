"""The pages as HTML, in the language of whoever asks."""

from typing import Any

from fastapi import Request
from jinja2 import Environment, PackageLoader

from likelier.web.languages import LANGUAGES, choose_language, load_words


class Pages:
    """The templates; every value is escaped."""

    def __init__(self) -> None:
        self.templates = Environment(loader=PackageLoader("likelier.web"), autoescape=True)

    def render(self, request: Request, name: str, **values: Any) -> str:
        """Return a page with the words of the request's language, and a link to the other one."""
        language = choose_language(request)
        other = next(each for each in LANGUAGES if each != language)
        template = self.templates.get_template(name)
        return template.render(words=load_words(language), language=language, other=other, **values)
