import csv
import io
import re
import shutil
from dataclasses import replace
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from onebasin.errors import OneBasinError
from onebasin_studies import Table, find_study
from onebasin_studies.papers.collection import _elapsed
from onebasin_studies.report.studies import write_run_index, write_study_reports
from onebasin_studies.report.studies.files import draw, report_files
from onebasin_studies.report.studies.markdown import index_markdown
from onebasin_studies.report.studies.pages import index_page
from onebasin_studies.report.studies.tables import table_numbers, table_texts
from onebasin_studies.runtime.folder import StudyFolder
from onebasin_studies.runtime.statistics import summary
from onebasin_studies.runtime.store.records import Record
from tests.studies.report.studies.collected import EMPTY, FOUND, ROWS, STUDY
from tests.studies.report.test_pages import macro, parsed
from tests.studies.runs import run, stored_files


def text_of(html: str) -> str:
    return " ".join(" ".join(parsed(html).text).split())


def page_of(found) -> str:
    return report_files(found)[f"{found.study.name}.html"].decode()


def test_page_has_claim_verdict_and_setup():
    text = text_of(page_of(FOUND))
    for words in (
        "Somebody et al. 2022, A Title, Figure 2",
        "The barrier <i>falls</i> with the width.",
        "reproduced Mean barrier 0.109 < 1 & <b>falls</b>. 1 measurement is missing. "
        "Criterion. The mean is below 1 & falls. Over all widths. Mean & interval",
        "Mean & interval over 3 pairs.",
        "scale small tasks 11 of 12 done",
        "work 1 h 7 min, all tasks",
        "elapsed 25 min with at least one running task",
        "finished 1970-01-01 00:00 UTC",
        "machine small (4 cores)",
        "versions python 3.11.7, torch 2.12.0 and 2.13.0+cpu",
        "seeds 0 to 2, 7, 9 to 10",
        "Failed tasks measure(x=1): ValueError: <no> Traceback",
    ):
        assert words in text


def test_nested_configuration_is_written_as_lists():
    config = {
        "settings": {"a <b>": {"data": {"name": "mnist", "max_train_examples": 5}, "keep": [1, 2]}},
        "series": [{"widths": [4, 8], "recipe": {"nested": {"x": 0.5}}}],
        "augment": None,
        "verifies": True,
        "also": [],
    }
    html = "".join(f"<p>{macro('setting', name, value)}</p>" for name, value in config.items())
    assert text_of(html) == (
        "settings a <b> data name mnist, max_train_examples 5 keep 1, 2 series widths 4, 8 recipe "
        "nested x 0.5 augment none verifies yes also none"
    )
    assert html.count("<ul>") == html.count("</ul>") == 5


def test_caption_is_outside_the_scrolling_box():
    html = page_of(FOUND)
    box = html[html.index('<div class="scroll"') :]
    assert "<figcaption>Wide.</figcaption>" in box.partition("</div>")[2]
    assert "Wide." not in box.partition("</div>")[0]


def test_page_is_self_contained_and_figures_have_alt_text():
    html = page_of(FOUND)
    tags = parsed(html)
    (image,) = [attrs for tag, attrs in tags.seen if tag == "img"]
    assert image["src"].startswith("data:image/svg+xml;base64,")
    assert image["alt"].startswith('Barrier against width, "falling": 0.25 at width 4')
    assert not re.search(r"https?://|url\(|@import|<script", html)
    links = [attrs["href"] for tag, attrs in tags.seen if tag == "a"]
    assert links == ["width-width.svg", "width.csv", "width-rows.csv", "index.html"]


def test_figures_and_tables_are_files():
    files = report_files(FOUND)
    assert set(files) == {"width.html", "width-width.svg", "width.csv", "width-rows.csv"}
    assert b"<svg" in files["width-width.svg"]
    assert files == report_files(FOUND), "the same rows give the same bytes"
    rows = list(csv.DictReader(io.StringIO(files["width-rows.csv"].decode())))
    assert len(rows) == len(ROWS)
    assert [float(row["barrier"]) for row in rows] == [row["barrier"] for row in ROWS]
    header, *body = csv.reader(io.StringIO(files["width.csv"].decode()))
    assert (len(header), len(body)) == (13, 3)
    assert header[:2] == ["a column of number 0", "± of a column of number 0"]
    assert [float(row[0]) for row in body] == [0.25, 0.0625, 0.015625]
    assert float(body[0][1]) == pytest.approx(0.25 * 4.302652729696142 / 3**0.5)
    svg = ElementTree.fromstring(files["width-width.svg"])
    space = "{http://www.w3.org/2000/svg}"
    assert [child.tag for child in svg[:2]] == [f"{space}title", f"{space}desc"]
    assert svg[0].text == "width: width"
    assert str(svg[1].text).startswith('Barrier against width, "falling": 0.25 at width 4')


def test_study_without_rows_has_a_page():
    files = report_files(EMPTY)
    assert set(files) == {"width.html"}
    text = text_of(files["width.html"].decode())
    assert "not enough data No measurement is finished. Criterion. The mean is below 1" in text
    assert "Over all widths. Setup" in text
    assert "finished not yet" in text


def test_table_has_texts_and_numbers():
    same, other = (replace(summary(v), group={}) for v in ([0.0] * 3, [0.01, 0.012, 0.02]))
    percent = replace(other, form=".1%")
    body = Table(("a", "b", "c"), [(4, same, percent), (8, other, "-"), (16, summary([1]), "")])
    assert table_texts(body) == [
        ["4", "0.000 ± 0.000", "1.4% ± 1.3%"],
        ["8", "0.014 ± 0.013", "-"],
        ["16", "1", ""],
    ]
    frame = table_numbers(body)
    assert list(frame) == ["a", "b", "± of b", "c", "± of c"]
    first, second, third = frame.values.tolist()
    assert first == [4, 0.0, 0.0, other.mean, other.reach]
    assert second == [8, other.mean, other.reach, "-", None]
    assert third == [16, 1.0, None, "", None]
    assert list(table_numbers(Table(("a",), []))) == ["a"]
    assert table_numbers(Table((), ())).empty and table_texts(Table((), ())) == []


def test_elapsed_time_counts_overlaps_once():
    """Tasks side by side, four of one call, and a pause between two runs."""
    spans = [(10.0, 4.0, 1), (12.0, 4.0, 1), (20.0, 0.5, 4), (20.0, 0.5, 4), (19.5, 0.5, 1)]
    records = [Record({"finished": f, "seconds": s, "together": n}) for f, s, n in spans]
    assert _elapsed(records) == 6.0 + 2.0
    assert _elapsed([]) == 0.0
    assert _elapsed([Record({"finished": 5.0, "seconds": 2.0})]) == 2.0


def test_figure_without_alt_text_raises():
    def figures(rows):
        return [replace(picture, alt=" ") for picture in STUDY.figures(rows)]

    with pytest.raises(OneBasinError, match=r"study width: figure 'width' has no alt text"):
        draw(replace(STUDY, figures=figures), ROWS)


def test_index_has_every_study_with_its_verdict():
    other = replace(EMPTY, study=replace(STUDY, name="depth", paper="Another et al. 2023, B"))
    html = index_page([FOUND, other])
    text = text_of(html)
    assert "2 studies at small scale: 1 reproduced, 1 not enough data." in text
    assert text.index("Another et al.") < text.index("Somebody et al.")
    links = [attrs["href"] for tag, attrs in parsed(html).seen if tag == "a"]
    assert links == ["depth.html", "width.html"]


def test_markdown_index_has_one_row_per_study():
    study = replace(STUDY, name="depth", paper="Another et al. 2023, B")
    other = replace(EMPTY, study=study, machines=[])
    page = index_markdown({"": [FOUND, other]})
    assert page.startswith(
        "# Study results\n\n2 studies at small scale: 1 reproduced, 1 not enough"
    )
    assert "onebasin study run all --scale small --out studies-out" in page
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("|")]
    assert rows[0] == [
        "study",
        "paper and item",
        "claim",
        "verdict",
        "figures",
        "finished",
        "machine",
    ]
    assert [row[0] for row in rows[2:]] == ["`depth`", "`width`"]
    assert rows[3][1:4] == [
        "Somebody et al. 2022, Figure 2",
        "The barrier &lt;i&gt;falls&lt;/i&gt; with the width.",
        "reproduced",
    ]
    assert "Mean barrier 0.109 &lt; 1" in rows[3][4]
    assert rows[3][5:] == ["1970-01-01", "small (4 cores)"]
    assert rows[2][5:] == ["-", "-"]


def test_special_characters_do_not_break_the_markdown_table():
    study = replace(STUDY, claim="a | b * c\nd_e")
    page = index_markdown({"a_b": [replace(FOUND, study=study)]})
    assert "| a \\| b \\* c d\\_e |" in page
    assert "\n\n## a\\_b\n\n" in page


@pytest.fixture(scope="module")
def counterexample(tmp_path_factory):
    """A folder of the study that takes least time, without a report; to be copied."""
    folder = tmp_path_factory.mktemp("counterexample")
    assert run(folder, find_study("counterexample")).is_complete
    return folder


def test_index_of_runs_has_each_study_once(tmp_path, counterexample):
    study = find_study("counterexample")
    folders = [tmp_path / name / "out <1>" for name in ("a", "b")]
    for folder in folders:
        shutil.copytree(counterexample, folder)
    stored_files(folders[1], study.tasks(study.config("smoke"))[0])[".json"].unlink()
    for _ in range(2):
        runs = write_run_index(list(map(StudyFolder, folders)), tmp_path / "index")
        assert list(runs) == ["out <1>", "out <1>-2"]
    assert not (folders[0] / "report").exists()
    html = (tmp_path / "index" / "index.html").read_text()
    tags = parsed(html)
    links = [attrs["href"] for tag, attrs in tags.seen if tag == "a"]
    assert len(links) == 4
    for link in links:
        assert (tmp_path / "index" / unquote(link)).is_file(), link
    text = text_of(html)
    assert "1 study in 2 runs: out <1> (smoke scale), out <1>-2 (smoke scale)." in text
    assert text.count(study.claim) == 1
    assert text.index("out <1> reproduced") < text.index("out <1>-2 not enough data 3 of 4")
    names = {path.name for path in (tmp_path / "index" / "out <1>").iterdir()}
    assert {"index.html", "index.md", "counterexample.html", "counterexample-curves.svg"} <= names
    markdown = (tmp_path / "index" / "index.md").read_text()
    assert markdown.count("## out &lt;1&gt;") == 2


def test_reports_are_written_from_stored_results(tmp_path, counterexample):
    out = shutil.copytree(counterexample, tmp_path / "out")
    for _ in range(2):
        (found,) = write_study_reports(StudyFolder(out))
    assert {path.name for path in (out / "report").iterdir()} == {
        "index.html",
        "index.md",
        "counterexample.html",
        "counterexample.csv",
        "counterexample-rows.csv",
        "counterexample-curves.svg",
    }
    assert (found.num_done, found.num_tasks, found.num_missing) == (4, 4, 0)
    assert list(found.seeds) == [0]
    assert found.seconds > 0


def test_report_rejects_a_corrupt_result(tmp_path, counterexample):
    study = find_study("counterexample")
    out = shutil.copytree(counterexample, tmp_path / "out")
    path = stored_files(out, study.tasks(study.config("smoke"))[0])[".parquet"]
    path.write_bytes(b"nothing")
    message = rf"{path}: corrupt row file, not what its record says; run the study again to recomp"
    with pytest.raises(OneBasinError, match=message):
        write_study_reports(StudyFolder(out))
    run(out, study)
    assert write_study_reports(StudyFolder(out))


def test_report_counts_missing_results(tmp_path, counterexample):
    study = find_study("counterexample")
    out = shutil.copytree(counterexample, tmp_path / "out")
    stored_files(out, study.tasks(study.config("smoke"))[0])[".json"].unlink()
    (found,) = write_study_reports(StudyFolder(out))
    assert found.num_missing == 1
    assert found.verdict().outcome == "not enough data"
    assert "3 of 4 permutations were measured. 1 measurement is missing." in (
        found.verdict().sentence
    )
