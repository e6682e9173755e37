import csv
import io
import re
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from hybrid_assets.datasets import delimited
from hybrid_assets.datasets.errors import BadInput
from hybrid_assets.datasets.reading import check_references, find_table, read_movies, read_ratings, read_tags, untimed

READERS = {"ratings": read_ratings, "movies": read_movies, "tags": read_tags}

CLEAN = {
    "ratings": b"userId,movieId,rating,timestamp\n1,10,4.0,100\n1,20,0.5,200\n2,10,5.0,300\n",
    "movies": b'movieId,title,genres\n10,"American President, The (1995)",Comedy|Drama\n20,Heat (1995),\n',
    "tags": b'userId,movieId,tag,timestamp\n1,10,"a ""real"" classic",100\n2,20,f\xc3\xa9erique,200\n',
}

TABLES = {
    "ratings": pl.DataFrame(
        {
            "user_id": [1, 1, 2],
            "movie_id": [10, 20, 10],
            "rating": pl.Series([4.0, 0.5, 5.0], dtype=pl.Float32),
            "timestamp": [100, 200, 300],
        }
    ),
    "movies": pl.DataFrame(
        {
            "movie_id": [10, 20],
            "title": ["American President, The (1995)", "Heat (1995)"],
            "genres": ["Comedy|Drama", ""],
        }
    ),
    "tags": pl.DataFrame(
        {
            "user_id": [1, 2],
            "movie_id": [10, 20],
            "tag": ['a "real" classic', "féerique"],
            "timestamp": [100, 200],
        }
    ),
}


def read(folder: Path, name: str, content: bytes, *arguments: object) -> pl.DataFrame:
    path = folder / f"{name}.csv"
    path.write_bytes(content)
    return READERS[name](path, *arguments)


def refusal(folder: Path, name: str, content: bytes, *arguments: object) -> str:
    with pytest.raises(BadInput) as error:
        read(folder, name, content, *arguments)
    assert str(folder / f"{name}.csv") in str(error.value)
    return str(error.value)


HARMLESS = {
    "as it is": lambda text: text,
    "Windows line ends": lambda text: text.replace(b"\n", b"\r\n"),
    "old Mac line ends": lambda text: text.replace(b"\n", b"\r"),
    "a byte order mark": lambda text: b"\xef\xbb\xbf" + text,
    "no last line end": lambda text: text.rstrip(b"\n"),
    "empty lines at the end": lambda text: text + b"\n\r\n\n",
    "empty lines between": lambda text: text.replace(b"\n", b"\n\n"),
    "empty lines above": lambda text: b"\n\n" + text,
    "blanks around column names": lambda text: text.replace(b"movieId,", b" movieId ,", 1),
    "blanks around numbers": lambda text: text.replace(b"\n1,10,", b"\n 1, 10 ,").replace(b"\n20,", b"\n 20 ,"),
    "quoted numbers": lambda text: text.replace(b",200\n", b',"200"\n').replace(b"\n10,", b'\n"10",'),
    "leading zeros": lambda text: text.replace(b"\n1,", b"\n001,").replace(b"\n10,", b"\n0010,"),
    "an extra column": lambda text: text.replace(b"\n", b",extra\n"),
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("what", HARMLESS)
def test_a_harmless_variant_reads_as_the_clean_table(tmp_path, name, what):
    assert_frame_equal(read(tmp_path, name, HARMLESS[what](CLEAN[name])), TABLES[name])


def test_columns_may_be_in_any_order_and_under_any_name(tmp_path):
    content = b"when,stars,film,who\n100,4.0,10,1\n200,0.5,20,1\n300,5.0,10,2\n"
    columns = {"user_id": "who", "movie_id": "film", "rating": "stars", "timestamp": "when"}
    assert_frame_equal(read(tmp_path, "ratings", content, columns), TABLES["ratings"])


def test_quotes_inside_unquoted_text_an_empty_title_and_an_empty_tag_are_kept(tmp_path):
    movies = read(tmp_path, "movies", b'movieId,title,genres\n1,Heat "uncut" (1995),Crime\n2,,Drama\n')
    assert movies["title"].to_list() == ['Heat "uncut" (1995)', ""]
    assert read(tmp_path, "tags", b"userId,movieId,tag,timestamp\n1,1,,5\n")["tag"].to_list() == [""]


def test_words_that_other_readers_take_for_missing_are_text(tmp_path):
    movies = read(tmp_path, "movies", b"movieId,title,genres\n1,null,NA\n2,NaN,None\n")
    assert movies["title"].to_list() == ["null", "NaN"]


def test_without_a_timestamp_column_every_time_is_0(tmp_path):
    ratings = read(tmp_path, "ratings", b"userId,movieId,rating\n1,10,4\n1,20,0.5\n2,10,5\n")
    assert_frame_equal(ratings, TABLES["ratings"].with_columns(timestamp=pl.lit(0, pl.Int64)))


def test_what_is_told_of_a_file_without_times_names_its_columns(tmp_path):
    path, parquet, dat = (tmp_path / f"ratings.{suffix}" for suffix in ("csv", "parquet", "dat"))
    path.write_bytes(b"userId, movieId,rating,rated_at\n1,10,4,100\n")
    told = untimed(path)
    assert "no column timestamp" in told
    assert "userId, movieId, rating, rated_at" in told
    assert untimed(path, {"timestamp": "rated_at"}) is None
    movielens(TABLES["ratings"]).write_parquet(parquet)
    assert untimed(parquet) is None
    movielens(TABLES["ratings"]).drop("timestamp").write_parquet(parquet)
    assert "the columns are userId, movieId, rating" in untimed(parquet)
    dat.write_bytes(b"1::1193::5::978300760\n")
    assert untimed(dat) is None


def test_without_a_genres_column_every_genre_is_empty(tmp_path):
    movies = read(tmp_path, "movies", b"movieId,title\n1,Heat\n")
    assert movies.rows() == [(1, "Heat", "")]


def test_a_file_of_tags_may_have_no_rows(tmp_path):
    tags = read(tmp_path, "tags", b"userId,movieId,tag,timestamp")
    assert tags.schema == TABLES["tags"].schema
    assert tags.is_empty()


def test_a_scale_of_ones_own(tmp_path):
    content = b"userId,movieId,rating,timestamp\n1,1,0.7,0\n1,2,100,0\n"
    assert read(tmp_path, "ratings", content, {}, (0.7, 100.0))["rating"].to_list() == pytest.approx([0.7, 100])


RATINGS = b"userId,movieId,rating,timestamp\n1,10,4.0,100\n"
MOVIES = b"movieId,title,genres\n10,Heat (1995),Crime\n"
TAGS = b"userId,movieId,tag,timestamp\n1,10,tense,100\n"

# what is wrong: (table, content, words that the error must hold besides the file's path)
BROKEN = {
    "no bytes": ("ratings", b"", ["empty"]),
    "only empty lines": ("ratings", b"\n\n", ["empty"]),
    "only a header": ("ratings", b"userId,movieId,rating,timestamp\n", ["no rows"]),
    "only a header, cut": ("movies", b"movieId,title,genres", ["no rows"]),
    "no header": ("ratings", b"1,10,4.0,100\n", ["userId", "1, 10, 4.0, 100"]),
    "a missing column": (
        "ratings",
        b"user,movieId,rating,timestamp\n1,1,1,1\n",
        ['"userId"', "nearest is user", "columns"],
    ),
    "a column twice": ("ratings", b"userId,userId,movieId,rating\n1,1,1,1\n", ['"userId"', "2 columns"]),
    "a misspelt optional column": ("ratings", b"userId,movieId,rating,timestmp\n1,1,1,1\n", ["nearest is timestmp"]),
    "a differently named optional column": ("movies", b"movieId,title,genre\n1,a,b\n", ["nearest is genre"]),
    "semicolons": ("ratings", b"userId;movieId;rating;timestamp\n1;1;1;1\n", ["';'", "commas"]),
    "an id of text": ("ratings", RATINGS + b"anna,10,4.0,1\n", ["line 3", '"userId"', '"anna"', "1, 2, 3"]),
    "an id with a fraction": ("ratings", RATINGS + b"2.0,10,4.0,1\n", ["line 3", '"userId"', '"2.0"']),
    "an id beyond 64 bits": ("movies", MOVIES + b"9223372036854775808,a,b\n", ["line 3", '"movieId"']),
    "a hexadecimal id": ("ratings", RATINGS + b"0x10,10,4.0,1\n", ["line 3", '"userId"', '"0x10"', "whole number"]),
    "a hexadecimal id in quotes": ("movies", MOVIES + b'"0X10",a,b\n', ["line 3", '"movieId"', '"0X10"']),
    "a hexadecimal timestamp": ("tags", TAGS + b"2,10,a box,0x5F\n", ["line 3", '"timestamp"', '"0x5F"', "1970"]),
    "a negative hexadecimal id": ("ratings", RATINGS + b"-0x1,10,4.0,1\n", ["line 3", '"userId"', '"-0x1"']),
    "an id with a plus": ("ratings", RATINGS + b"+1,10,4.0,1\n", ["line 3", '"userId"', '"+1"']),
    "a no-break space": ("ratings", RATINGS + b"\xc2\xa02,10,4.0,1\n", ["line 3", '"userId"', '"\\xa02"']),
    "a no-break space, rating": ("ratings", RATINGS + b"2,10,\xc2\xa04,1\n", ["line 3", '"rating"', '"\\xa04"']),
    "an empty id": ("ratings", RATINGS + b",10,4.0,1\n", ["line 3", '"userId"', "nothing"]),
    "an id of blanks": ("ratings", RATINGS + b"  ,10,4.0,1\n", ["line 3", '"userId"']),
    "a rating of text": ("ratings", RATINGS + b"2,10,good,1\n", ["line 3", '"rating"', '"good"']),
    "a rating with a comma": ("ratings", RATINGS + b'2,10,"4,5",1\n', ["line 3", '"rating"', '"4,5"']),
    "no rating": ("ratings", RATINGS + b"2,10,,1\n", ["line 3", '"rating"', "nothing"]),
    "a rating of NaN": ("ratings", RATINGS + b"2,10,nan,1\n", ["line 3", '"rating"', "nan"]),
    "an infinite rating": ("ratings", RATINGS + b"2,10,inf,1\n", ["line 3", '"rating"', "inf"]),
    "a rating beyond any float": ("ratings", RATINGS + b"2,10,1e999,1\n", ["line 3", '"rating"', "inf"]),
    "a rating of 0": ("ratings", RATINGS + b"2,10,0,1\n", ["line 3", '"rating"', "0.5 to 5", "rating_range"]),
    "a rating of 5.5": ("ratings", RATINGS + b"2,10,5.5,1\n", ["line 3", '"rating"', "5.5"]),
    "a date for a timestamp": ("ratings", RATINGS + b"2,10,4,1995-12-15\n", ["line 3", '"timestamp"', "1970"]),
    "milliseconds": (
        "ratings",
        RATINGS + b"2,10,4,1700000000000\n",
        ["line 3", '"timestamp"', "1700000000000", "milliseconds", "whole seconds"],
    ),
    "no time, as pandas writes it": (
        "ratings",
        RATINGS + b"1,10,4,-9223372036854775808\n",
        ['"timestamp"', "-9223372036854775808", "looks like a time that is missing"],
    ),
    "milliseconds of a tag": ("tags", TAGS + b"2,10,a,1700000000000\n", ["line 3", '"timestamp"', "milliseconds"]),
    "a rating twice": (
        "ratings",
        RATINGS + b"2,10,3.0,1\n1,20,3.0,1\n\n1,10,3.0,1\n",
        ["line 6", "line 2", "user_id 1", "movie_id 10"],
    ),
    "a movie twice": ("movies", MOVIES + b"20,a,b\n10,c,d\n", ["line 4", "line 2", "movie_id 10"]),
    "too few fields": ("movies", MOVIES + b"20,Casino\n", ["line 3", "3 fields", "found 2", "Write every field"]),
    "too many fields": ("movies", MOVIES + b"20,American President, The,Drama\n", ["line 3", "found 4", "Quote"]),
    "a line of blanks": ("ratings", RATINGS + b"   \n", ["line 3", "found 1"]),
    "a quote never closed": ("movies", MOVIES + b'20,"Casino,Drama\n30,Nixon,Drama\n', ["line 3", "quoting"]),
    "a quote closed too early": ("movies", MOVIES + b'20,"Casino" (1995),Drama\n', ["line 3", "quoting"]),
    "a quote closed by another row": (
        "movies",
        MOVIES + b'20,"Casino,Drama\n30,"Nixon, The Film",Drama\n',
        ["line 3", "quoting"],
    ),
    "Latin-1": ("tags", TAGS + b"2,10,f\xe9erique,1\n", ["line 3", "UTF-8", "0xe9", "iconv"]),
    "Latin-1 in a column name": ("tags", b"userId,movieId,tag,f\xe9\n1,1,a,1\n", ["line 1", "UTF-8"]),
    "Latin-1 in an extra column": ("ratings", RATINGS.replace(b"\n", b",\xe9\n"), ["line 1", "UTF-8"]),
    "a character cut by the end": ("tags", TAGS + b"2,10,f\xc3", ["line 3", "UTF-8"]),
    "UTF-16": ("tags", TAGS.decode().encode("utf-16"), ["UTF-16", "iconv"]),
    "a huge title": ("movies", MOVIES + b"20," + b"x" * 10_001 + b",Drama\n", ["line 3", '"title"', "10,000"]),
    "a huge tag of many lines": ("tags", TAGS + b'2,10,"' + b"x\n" * 6_000 + b'",1\n', ["line 3", '"tag"']),
    "a gigantic field": ("tags", TAGS + b"2,10," + b"x" * 3_000_000 + b",1\n", ["line 3"]),
    "an error below a title of two lines": ("movies", MOVIES + b'20,"a\nb",c\nx,a,b\n', ["line 5", '"movieId"']),
    "the first of two errors": ("ratings", RATINGS + b"2,10,bad,1\nx,10,4.0,1\n", ["line 3", '"rating"']),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_is_refused_with_its_place(tmp_path, what):
    name, content, words = BROKEN[what]
    message = refusal(tmp_path, name, content)
    for word in words:
        assert word in message
    assert len(message) < 600


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("ratings", b"userId,movieId,rating,timestamp\n1,10,4,1\n1,10,3,2\n2,10,3,3\n", "line 3"),
        ("ratings", b"userId,movieId,rating,timestamp\n1,10,4,1\n1,20,3,2\n1,10,3,3\n", "line 4"),
        ("movies", b"movieId,title,genres\n10,a,b\n10,c,d\n", "line 3"),
    ],
)
def test_a_repeat_is_found_in_a_file_that_is_otherwise_in_order(tmp_path, name, content, line):
    message = refusal(tmp_path, name, content)
    assert re.search(f"{line}.*is there already, on line 2", message), message


def test_0x_in_text_is_text(tmp_path):
    content = CLEAN["tags"].replace(b",20,", b",20,0x10 ")
    assert read(tmp_path, "tags", content)["tag"].to_list() == ['a "real" classic', "0x10 féerique"]


def test_a_hexadecimal_id_is_found_where_the_file_is_read_in_two_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "_CHUNK_BYTES", len(RATINGS) + 1)
    assert '"0x10"' in refusal(tmp_path, "ratings", RATINGS + b"0x10,10,4.0,1\n")


@pytest.mark.parametrize("ends", [b"\r\n", b"\n\n"])
def test_the_line_is_the_one_an_editor_shows(tmp_path, ends):
    content = (RATINGS + b"2,10,4.0,1\n3,10,9.0,1\n").replace(b"\n", ends)
    line = next(number for number, text in enumerate(content.splitlines(), start=1) if b"9.0" in text)
    assert f"line {line}," in refusal(tmp_path, "ratings", content)


def test_the_error_names_the_users_own_column(tmp_path):
    content = b"customer,movieId,rating,timestamp\nanna,1,4,1\n"
    assert 'field "customer"' in refusal(tmp_path, "ratings", content, {"user_id": "customer"})


def test_an_unknown_field_among_the_columns_is_refused(tmp_path):
    (tmp_path / "ratings.csv").write_bytes(CLEAN["ratings"])
    with pytest.raises(BadInput, match=r'"userid".*user_id'):
        read_ratings(tmp_path / "ratings.csv", {"userid": "userId"})


def test_one_column_for_two_fields_is_refused(tmp_path):
    (tmp_path / "tags.csv").write_bytes(CLEAN["tags"])
    with pytest.raises(BadInput, match='"tag" cannot be both tag and timestamp'):
        read_tags(tmp_path / "tags.csv", {"timestamp": "tag"})


def test_columns_may_trade_names(tmp_path):
    content = CLEAN["ratings"].replace(b"userId,movieId", b"movieId,userId")
    columns = {"user_id": "movieId", "movie_id": "userId"}
    assert_frame_equal(read(tmp_path, "ratings", content, columns), TABLES["ratings"])


def test_a_timestamp_column_that_was_named_must_be_there(tmp_path):
    assert '"zeit"' in refusal(tmp_path, "ratings", b"userId,movieId,rating\n1,1,1\n", {"timestamp": "zeit"})


def test_a_name_that_does_not_suit_every_file_is_said_to_hold_for_all(tmp_path):
    message = refusal(tmp_path, "tags", CLEAN["tags"], {"timestamp": "when"})
    assert 'columns = { timestamp = "when" } holds for all files of the folder' in message
    assert 'rename the column of tags.csv to "when"' in message
    assert "you may say" not in message


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        read_ratings(tmp_path / "ratings.csv")


def test_every_movie_of_ratings_and_tags_must_be_known(tmp_path):
    path = tmp_path / "ratings.csv"
    path.write_bytes(CLEAN["ratings"])
    ratings = read_ratings(path)
    check_references(ratings, TABLES["movies"], path)
    with pytest.raises(BadInput, match=r'ratings\.csv, line 3, field "movieId": movie 20 .*1 unknown'):
        check_references(ratings, TABLES["movies"].filter(movie_id=10), path)


def test_an_unknown_movie_is_counted_once_however_many_rows_name_it(tmp_path):
    path = tmp_path / "ratings.csv"
    path.write_bytes(b"movieId\n7\n7\n8\n1\n")
    known = pl.DataFrame({"movie_id": [1]})
    with pytest.raises(BadInput, match=r"line 2.*movie 7 is not among the movies \(2 unknown in all\)"):
        check_references(pl.DataFrame({"movie_id": [7, 7, 8, 1]}), known, path)


def movielens(table: pl.DataFrame) -> pl.DataFrame:
    return table.rename({"user_id": "userId", "movie_id": "movieId"}, strict=False)


@pytest.mark.parametrize("name", TABLES)
def test_parquet_holds_the_same_as_csv_whatever_the_width_of_its_numbers(tmp_path, name):
    path = tmp_path / f"{name}.parquet"
    narrow = movielens(TABLES[name]).with_columns(pl.col(pl.Int64).cast(pl.UInt16))
    narrow.with_columns(pl.col(pl.String).cast(pl.Categorical), extra=pl.lit("x")).write_parquet(path)
    assert find_table(tmp_path, name) == path
    assert_frame_equal(READERS[name](path), TABLES[name])


def test_a_null_title_in_parquet_is_empty(tmp_path):
    path = tmp_path / "movies.parquet"
    pl.DataFrame({"movieId": [1], "title": pl.Series([None], dtype=pl.String)}).write_parquet(path)
    assert read_movies(path).rows() == [(1, "", "")]


BROKEN_PARQUET = {
    "ids of text": (pl.Series("userId", ["a", "b", "c"]), ['"userId"', "String"]),
    "ids of floats": (pl.Series("userId", [1.0, 2.0, 3.0]), ['"userId"', "Float64"]),
    "ids beyond 64 bits": (pl.Series("userId", [1, 2, 2**63], dtype=pl.UInt64), ["64 bits"]),
    "a null id": (pl.Series("userId", [1, None, 3]), ["row 2", '"userId"']),
    "dates": (pl.Series("timestamp", [datetime(2000, 1, 1)] * 3), ['"timestamp"', "Datetime", "1970"]),
    "a rating out of range": (pl.Series("rating", [1.0, 2.0, 6.0]), ["row 3", '"rating"', "found 6"]),
    "ratings of text": (pl.Series("rating", ["1", "2", "3"]), ['"rating"', "String"]),
}


@pytest.mark.parametrize("what", BROKEN_PARQUET)
def test_a_broken_parquet_file_is_refused_with_its_row(tmp_path, what):
    column, words = BROKEN_PARQUET[what]
    path = tmp_path / "ratings.parquet"
    movielens(TABLES["ratings"]).with_columns(column).write_parquet(path)
    with pytest.raises(BadInput) as error:
        read_ratings(path)
    for word in [str(path), *words]:
        assert word in str(error.value)


def test_a_parquet_file_without_rows_without_a_column_or_that_is_none_is_refused(tmp_path):
    path = tmp_path / "ratings.parquet"
    movielens(TABLES["ratings"]).clear().write_parquet(path)
    with pytest.raises(BadInput, match="no rows"):
        read_ratings(path)
    movielens(TABLES["ratings"]).drop("rating").write_parquet(path)
    with pytest.raises(BadInput, match='"rating"'):
        read_ratings(path)
    path.write_bytes(b"userId,movieId\n")
    with pytest.raises(BadInput, match="not a readable Parquet"):
        read_ratings(path)


def test_the_files_of_ml_1m_are_read_by_position_and_in_latin_1(tmp_path):
    (tmp_path / "ratings.dat").write_bytes(b"1::1193::5::978300760\n1::661::3::978302109\n")
    (tmp_path / "movies.dat").write_bytes('1193::Misérables, Les: "2" (1995)::Drama|Musical\n'.encode("latin-1"))
    assert read_ratings(find_table(tmp_path, "ratings")).rows() == [
        (1, 1193, 5.0, 978300760),
        (1, 661, 3.0, 978302109),
    ]
    movies = read_movies(find_table(tmp_path, "movies"))
    assert movies.rows() == [(1193, 'Misérables, Les: "2" (1995)', "Drama|Musical")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"1::x::5::1", ['"movieId"', "line 2"]),
        (b"0x1::2::5::1", ['"userId"', '"0x1"', "line 2"]),
        (b"1::2::5", ["found 3", "line 2"]),
    ],
)
def test_a_broken_dat_file_is_refused_with_its_line(tmp_path, line, words):
    path = tmp_path / "ratings.dat"
    path.write_bytes(b"1::1193::5::978300760\n" + line + b"\n")
    with pytest.raises(BadInput) as error:
        read_ratings(path)
    for word in [str(path), *words]:
        assert word in str(error.value)


@settings(max_examples=150)
@given(
    titles=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), min_size=1, max_size=20),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC, csv.QUOTE_ALL]),
)
def test_any_title_survives_being_written_as_csv(tmp_path_factory, titles, quoting):
    path = tmp_path_factory.mktemp("titles") / "movies.csv"
    text = io.StringIO(newline="")
    rows = [["movieId", "title", "genres"], *([i, title, "Drama"] for i, title in enumerate(titles))]
    csv.writer(text, quoting=quoting).writerows(rows)
    path.write_bytes(text.getvalue().encode("utf-8"))
    assert read_movies(path)["title"].to_list() == titles
