import re
from collections.abc import Callable
from html.parser import HTMLParser

import polars as pl
import pytest

from hybrid_assets.reporting.illustration import illustrate
from hybrid_assets.reporting.page import report_page
from hybrid_assets.reporting.pictures import draw_pictures

Render = Callable[..., str]
# re-ranked system -> the one it was made from
RERANKED = {"mf_minilm": "ease"}


class Parsed(HTMLParser):
    """Tags, attributes and visible text of a page; refuses a page whose tags do not close in order."""

    void = frozenset({"meta", "link", "img", "br", "wbr"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def render(
    user_metrics: dict[str, pl.DataFrame],
    train_ratings: pl.DataFrame,
    test_ratings: pl.DataFrame,
    movies: pl.DataFrame,
    scores: dict[str, pl.DataFrame],
    comparisons: pl.DataFrame,
    strata: pl.DataFrame,
    cold_start: pl.DataFrame,
) -> Render:
    illustrations = illustrate(train_ratings, test_ratings, movies, scores, relevance_threshold=4.0)

    def page(leaderboard: pl.DataFrame, provenance: dict[str, object] | None = None) -> str:
        return report_page(
            leaderboard,
            comparisons=comparisons,
            strata=strata,
            cold_start=cold_start,
            pictures=draw_pictures(leaderboard, user_metrics, RERANKED, cold_start, "most_popular"),
            reranked=RERANKED,
            floor="most_popular",
            illustrations=illustrations,
            relevance_threshold=4.0,
            confidence=0.95,
            provenance=provenance or {"seed": 42},
        )

    return page


@pytest.fixture(scope="module")
def html(render: Render, leaderboard: pl.DataFrame) -> str:
    return render(leaderboard)


def test_the_page_asks_the_network_for_nothing(html: str) -> None:
    page = Parsed(html)
    targets = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    assert targets
    assert all(target is not None and target.startswith(("data:", "#")) for target in targets)
    assert not re.search(r"https?://|@import|url\(|srcset|\bon\w+=", html)
    assert page.named("script") == []


def test_links_within_the_page_lead_somewhere(html: str) -> None:
    page = Parsed(html)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    anchors = [link["href"] for link in page.named("a")]
    assert anchors
    assert all(str(anchor)[1:] in ids for anchor in anchors)


def test_a_title_cannot_run_code(html: str) -> None:
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_names_states_and_provenance_are_escaped_too(render: Render, leaderboard: pl.DataFrame) -> None:
    hostile = '"><img src=x onerror=alert(1)>'
    odd = leaderboard.with_columns(
        system=pl.lit(hostile) + pl.col("system"), state=pl.lit(hostile), dataset=pl.lit(hostile), split=pl.lit(hostile)
    )
    page = Parsed(render(odd, {hostile: hostile}))
    assert all("onerror" not in attributes for _, attributes in page.tags)


def test_the_leaderboard_shows_values_and_intervals(html: str) -> None:
    words = Parsed(html).words
    # 0.3261 -+ 6 %
    assert "0.3261 0.3065–0.3457" in words  # noqa: RUF001
    assert "95 % bootstrap interval" in words


def test_the_papers_ndcg_has_its_own_name(html: str) -> None:
    headings = re.findall(r'<th scope="col">(.*?)</th>', html)
    assert "NDCG@25" in headings
    assert "list-NDCG@25 (paper&#39;s)" in headings


def test_published_values_stand_beside_ours_with_the_difference(html: str) -> None:
    words = Parsed(html).words
    assert "paper 0.049 (+0.0003)" in words
    assert "paper 0.277 (−0.0002)" in words  # noqa: RUF001


def test_published_values_are_mentioned_only_when_there_are_any(
    render: Render, without_published: pl.DataFrame
) -> None:
    html = render(without_published)
    assert "<small>paper" not in html
    assert "published" not in Parsed(html).words


def test_systems_without_results_are_shown_with_their_reason(html: str) -> None:
    words = Parsed(html).words
    assert "mf_qwen3_4b_lora No results · needs a GPU" in words
    assert not re.search(r"\b(nan|None|null)\b", words)


def test_a_page_without_any_results_has_no_plots_of_them_and_says_so(render: Render, unmeasured: pl.DataFrame) -> None:
    page = Parsed(render(unmeasured))
    assert ["new movies" in str(image["alt"]) for image in page.named("img")] == [True]
    assert "No system is measured yet." in page.words


def test_every_plot_has_an_alternative_text_and_every_table_headings(html: str) -> None:
    page = Parsed(html)
    images = page.named("img")
    assert len(images) == 5
    assert all(image["alt"] and str(image["src"]).startswith("data:image/png;base64,iVBOR") for image in images)
    assert "ease 0.326" in str(images[0]["alt"])
    assert all(heading.get("scope") in ("col", "row") for heading in page.named("th"))
    assert page.named("html")[0]["lang"] == "en"


def test_the_illustration_marks_relevant_movies_with_a_word(html: str) -> None:
    assert re.search(r"Fight Club \(1999\) <b>✓ relevant</b>", html)
    assert "★ 4.5" in html
    assert "1 of 3 relevant" in Parsed(html).words


def test_the_glossary_explains_every_metric_of_the_leaderboard(html: str, leaderboard: pl.DataFrame) -> None:
    metrics = [column for column in leaderboard.columns if f"{column}_low" in leaderboard.columns]
    assert len(re.findall("<dt>", html)) == len(metrics) == 13


def test_provenance_is_shown_as_given(render: Render, leaderboard: pl.DataFrame) -> None:
    words = Parsed(render(leaderboard, {"ratings": "sha256 1f2e", "relevance threshold": 4.0})).words
    assert "ratings sha256 1f2e" in words
    assert "relevance threshold 4.0" in words


def test_the_same_tables_give_the_same_page(html: str, render: Render, leaderboard: pl.DataFrame) -> None:
    assert render(leaderboard) == html


def test_the_page_says_whether_the_best_hybrid_beats_the_best_model_and_shows_every_pair(html: str) -> None:
    page = Parsed(html)
    assert "The best hybrid (mf_minilm) does not beat the best purely collaborative system (ease)" in page.words
    assert len([cell for cell in page.named("td") if cell.get("class") in ("better", "worse", "open", "self")]) == 9


def test_the_strata_stand_beside_each_other_with_the_best_in_bold(html: str, strata: pl.DataFrame) -> None:
    page = Parsed(html)
    assert "NDCG@25, users with few ratings 14 with 10 to 140 ratings" in page.words
    assert "Recall@25, head 1 with 90 to 90 ratings" in page.words
    best = strata.filter((pl.col("value") > 0) & (pl.col("value") == pl.col("value").max().over("by", "stratum")))
    assert best.height >= 4
    assert sorted(re.findall(r"<b>(0\.\d+)</b>", html)) == sorted(f"{value:.3f}" for value in best["value"])


def test_the_page_says_what_reranking_costs(html: str) -> None:
    words = Parsed(html).words
    # 0.3261 to 0.1012
    assert (
        "Re-ranking ease as mf_minilm costs 69.0% of its NDCG@25 (0.326 to 0.101): coverage 0.0810 to 0.2050" in words
    )
    assert "ease has NDCG@25" in words
    assert "of a user's relevant movies it finds on average" in words


def test_every_picture_is_drawn_once(leaderboard: pl.DataFrame, user_metrics: dict[str, pl.DataFrame]) -> None:
    without_users = draw_pictures(leaderboard, {}, {}, None, None)
    assert list(without_users) == ["leaderboard", "figure1", "pareto"]
    assert list(draw_pictures(leaderboard, user_metrics, {}, None, None)) == [*without_users, "activity"]


def test_new_movies_and_new_people_have_a_section(html: str) -> None:
    assert "New movies" in html
    assert "best hybrid (both) has NDCG@25 0.300" in html
    assert "New people" in html
