"""HTML and SVG as nested calls. What is put in is text, and escaped, unless it is markup already: labels are the user's."""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources

VOID = {"img", "link", "meta"}
"""HTML's elements that hold nothing and have no end."""

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What the page may load: nothing but what it holds itself. A browser keeps to that, whatever somebody writes into it."""


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def element(tag: str, *children: object, **attributes: object) -> Markup:
    """Return an element. `class_` is the attribute class, `stroke_width` stroke-width; one that is None is left out."""
    named = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{tag}{named}>" if tag in VOID else f"<{tag}{named}>{joined(*children)}</{tag}>")


def joined(*children: object) -> Markup:
    """Return children one after another; None is left out."""
    parts = (child if isinstance(child, Markup) else html.escape(str(child)) for child in children if child is not None)
    return Markup("".join(parts))


def paragraph(*children: object, class_: str | None = None) -> Markup:
    """Return a paragraph."""
    return element("p", *children, class_=class_)


def listing(items: Iterable[object], class_: str | None = None) -> Markup:
    """Return a bulleted list."""
    return element("ul", *(element("li", item) for item in items), class_=class_)


def table(
    caption: str, headings: Sequence[object], rows: Iterable[Sequence[object]], class_: str | None = None
) -> Markup:
    """Return a table whose first column names the rows. It scrolls by itself where it is wider than the page."""
    head = element("tr", *(element("th", heading, scope="col") for heading in headings))
    body = [element("tr", element("th", first, scope="row"), *map(_cell, cells)) for first, *cells in rows]
    whole = element(
        "table", element("caption", caption), element("thead", head), element("tbody", *body), class_=class_
    )
    return element("div", whole, class_="wide", tabindex="0", role="region", aria_label=caption)


def _cell(value: object) -> Markup:
    return value if isinstance(value, Markup) and value.startswith("<td") else element("td", value)


def figure(content: Markup, caption: object, class_: str | None = None) -> Markup:
    """Return a figure with what it shows written above it."""
    return element("figure", element("figcaption", caption), content, class_=class_)


@dataclass(frozen=True)
class Section:
    """A part of the page, which links reach as `#name`."""

    name: str
    title: str
    content: Markup

    def markup(self) -> Markup:
        """Return it under its heading."""
        return element("section", element("h2", self.title), self.content, id=self.name, aria_label=self.title)


def section(name: str, title: str, *children: object) -> Section:
    """Return a section that holds `children`."""
    return Section(name, title, joined(*children))


def missing(what: str) -> Markup:
    """Return the line in place of what is not there: what it is, and what brings it."""
    return paragraph(marked(what), class_="missing")


def marked(text: str) -> Markup:
    """Return text with what stands in `backticks` as code."""
    return joined(*(element("code", part) if i % 2 else part for i, part in enumerate(text.split("`"))))


def grid(*children: object) -> Markup:
    """Return children side by side, as many as there is room for."""
    return element("div", *children, class_="grid")


def page(title: str, *children: object) -> Markup:
    """Return the document."""
    style = resources.files("xtcav_ml.report").joinpath("style.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),  # else a browser asks the server for one
        element("title", title),
        element("style", Markup(style)),
    )
    return joined(
        Markup("<!DOCTYPE html>\n"), element("html", head, element("body", *children), lang="en"), Markup("\n")
    )
