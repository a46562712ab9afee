from html.parser import HTMLParser

import pytest

from xtcav_ml.report.markup import Markup, element, joined, marked, page, section, table

EVIL = "<script>alert('a')</script>\"&"


class Reader(HTMLParser):
    """Collects the tags and the text of a document, and that all that is opened is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def test_text_and_attributes_are_escaped_and_markup_is_not():
    read = Reader(element("p", EVIL, element("b", 3), title=EVIL, class_="x", stroke_width=2, id=None))
    assert read.tags == [("p", {"title": EVIL, "class": "x", "stroke-width": "2"}), ("b", {})]
    assert "".join(read.words) == EVIL + "3"


def test_nothing_is_left_out_and_zero_is_not():
    assert joined(None, 0, Markup("<br>"), "") == "0<br>"


def test_a_table_names_its_columns_and_rows():
    read = Reader(table("of what", ["", EVIL], [[EVIL, 1], ["b", element("td", 2, class_="x")]]))
    assert [cell["scope"] for cell in read.named("th")] == ["col", "col", "row", "row"]
    assert read.named("td") == [{}, {"class": "x"}]
    assert "of what" in read.words


def test_backticks_are_code():
    assert marked("run `make repro` & see") == "run <code>make repro</code> &amp; see"


def test_the_page_is_whole_and_may_load_nothing():
    text = page(EVIL, section("a", "An <a>", "content").markup())
    read = Reader(text)
    assert text.startswith("<!DOCTYPE html>")
    assert read.named("html") == [{"lang": "en"}]
    policy = next(meta["content"] for meta in read.named("meta") if "http-equiv" in meta)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert read.named("section") == [{"id": "a", "aria-label": "An <a>"}]
    assert not read.named("script")


@pytest.mark.parametrize("scheme", ["prefers-color-scheme: dark", "@media print"])
def test_the_page_has_a_style_for(scheme):
    assert scheme in page("x")
