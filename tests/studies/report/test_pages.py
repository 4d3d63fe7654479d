from html.parser import HTMLParser

import pytest
from jinja2 import UndefinedError

from onebasin_studies.report.pages import environment, render


class Tags(HTMLParser):
    """Collects tags in order and fails where they are not nested."""

    VOID = ("meta", "img", "br")

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        self.text.append(data)


def parsed(html: str) -> Tags:
    tags = Tags()
    tags.feed(html)
    assert not tags.open, f"never closed: {tags.open}"
    return tags


def macro(name, *args, **options):
    return str(getattr(environment().get_template("macros.html.j2").module, name)(*args, **options))


def index(summary):
    return render("index", studies=[], summary=summary)


def test_page_is_complete_and_readable_on_phones():
    tags = parsed(index("a < b"))
    names = [tag for tag, _ in tags.seen]
    assert names[:2] == ["html", "head"]
    assert {"lang": "en"} == tags.seen[0][1]
    viewport = {"name": "viewport", "content": "width=device-width, initial-scale=1"}
    assert ("meta", viewport) in tags.seen
    assert "a < b" in tags.text
    assert "link" not in names
    assert "script" not in names


@pytest.mark.parametrize(
    "html",
    [
        index("<i>"),
        macro("table", ("<i>", "y"), [("<i>", "<i>")], caption="<i>"),
        macro("setting", "<i>", {"<i>": [{"<i>": {"<i>": "<i>"}}]}),
    ],
    ids=["page", "table", "setting"],
)
def test_text_is_escaped(html):
    tags = parsed(html)
    assert not any(tag == "i" for tag, _ in tags.seen)
    assert "<i>" in "".join(tags.text)


def test_missing_value_raises():
    with pytest.raises(UndefinedError, match="summary"):
        render("index", studies=[])


def test_table_has_header_cells():
    tags = parsed(macro("table", ("", "naive"), [("loss", "0.1"), ("error", "0.2")]))
    scopes = [attrs.get("scope") for tag, attrs in tags.seen if tag == "th"]
    assert scopes == ["col", "col", "row", "row"]
    assert [text for text in tags.text if text.strip()] == ["naive", "loss", "0.1", "error", "0.2"]
