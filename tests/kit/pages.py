"""Pages as they are served."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """The elements of a page, and the texts in them but for the times; what buttons say stands by itself."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.buttons: list[str] = []
        self.open = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        self.open = tag

    def handle_endtag(self, tag: str) -> None:
        self.open = ""

    def handle_data(self, data: str) -> None:
        if self.open != "time" and (text := data.strip()):
            (self.buttons if self.open == "button" else self.texts).append(text)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def one(self, tag: str) -> dict[str, str | None]:
        (attributes,) = self.all(tag)
        return attributes
