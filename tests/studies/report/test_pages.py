from html.parser import HTMLParser

from onebasin_studies.report.pages import command_lines, numbers, page, panels, table


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


def test_a_page_is_whole_and_made_for_phones_too():
    tags = parsed(page("a < b", [table(("x", "y"), [("r", "1")])]))
    names = [tag for tag, _ in tags.seen]
    assert names[:2] == ["html", "head"]
    assert {"lang": "en"} == tags.seen[0][1]
    assert (
        "meta",
        {"name": "viewport", "content": "width=device-width, initial-scale=1"},
    ) in tags.seen
    assert "a < b" in tags.text
    assert "link" not in names
    assert "script" not in names


def test_text_cannot_become_markup():
    for html in (
        table(("<b>", "y"), [("<b>", "<b>")], caption="<b>"),
        numbers([("<b>", "<i>", "naive")]),
        command_lines(["a <b> c"]),
        panels([("x", '"><b>')], "caption"),
    ):
        assert not any(tag == "i" for tag, _ in parsed(html).seen)
        assert sum(tag == "b" for tag, _ in parsed(html).seen) == html.count('<b class="naive">')


def test_tables_say_what_their_cells_are_about():
    tags = parsed(table(("", "naive"), [("loss", "0.1"), ("error", "0.2")]))
    scopes = [attrs.get("scope") for tag, attrs in tags.seen if tag == "th"]
    assert scopes == ["col", "col", "row", "row"]
    assert [text for text in tags.text if text.strip()] == ["naive", "loss", "0.1", "error", "0.2"]


def test_images_have_words_for_those_who_cannot_see_them():
    tags = parsed(panels([("data:x", "a barrier"), ("data:y", "none")], "<b>two</b> curves"))
    assert [attrs for tag, attrs in tags.seen if tag == "img"] == [
        {"src": "data:x", "alt": "a barrier"},
        {"src": "data:y", "alt": "none"},
    ]
