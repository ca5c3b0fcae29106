"""The analysts' routes, `POST /v1/sql` above all, over the embedded engine and a real ClickHouse server.

What may run gives the store's own answer, what may not is refused, and nobody takes more than the limits.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet
import pytest
import yaml
from fastapi import FastAPI
from starlette.testclient import TestClient

from query.analysts import router
from query.sql_api import MEMORY_MIB_MAX, TIME_S_MAX
from query.sql_guard import checked
from query.sql_words import FUNCTIONS, TABLE_FUNCTIONS
from tests.e2e import query_world
from tests.jobs_runner import KEEP_DAYS
from tocsin.adapters.store.clickhouse import ClickHouseStore
from tocsin.adapters.store.port import QueryLimits
from tocsin.model.cubes import DEFAULT_CUBES
from tocsin.model.dictionary import EXAMPLES
from tocsin.model.errors import InputError

CANARY = "canary-4f1d"
PARSED = {
    "countDistinct", "maxMap", "minMap", "sumMap", "date_add", "date_sub", "dateAdd", "dateSub", "grouping", "untuple",
}  # fmt: skip
"""Names that ClickHouse knows and does not list."""
LIMITS = QueryLimits(10.0, 512 << 20, 1_000)

STATEMENTS = yaml.safe_load((Path(__file__).parent / "sql_statements.yaml").read_text())
REFUSED = [
    *(sql for group in STATEMENTS["refused"].values() for sql in group),
    f"SELECT {'(' * 5_000}1{')' * 5_000}", f"SELECT 1{' + 1' * 4_000}", f"SELECT 1{' + 1' * 6_000}",
]  # fmt: skip


@pytest.fixture(scope="module", params=["embedded", pytest.param("server", marks=pytest.mark.clickhouse)])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseStore]:
    """Each adapter with the same small world, and a table that analysts may not read."""
    if request.param == "embedded":
        dsn = f"chdb://{tmp_path_factory.mktemp('sql') / 'data'}"
    else:
        dsn = request.getfixturevalue("clickhouse_server").status().dsn
        admin = ClickHouseStore(dsn)
        admin.command("CREATE DATABASE IF NOT EXISTS analysts")
        admin.close()
        dsn = f"{dsn.rpartition('/')[0]}/analysts"
    opened = ClickHouseStore(dsn, KEEP_DAYS)
    query_world.fill(opened)
    opened.command("CREATE TABLE IF NOT EXISTS secret (v String) ENGINE = Memory")
    opened.command(f"INSERT INTO secret VALUES ('{CANARY}')")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def client(store: ClickHouseStore) -> TestClient:
    """The routes over the store."""
    app = FastAPI()
    app.include_router(router(store, DEFAULT_CUBES, {}, lambda: query_world.NOW_MS))
    return TestClient(app)


def ask(client: TestClient, query: str, **body: Any) -> httpx.Response:
    """One question."""
    answer: httpx.Response = client.post("/v1/sql", json={"query": query, **body})
    return answer


def rows(client: TestClient, query: str, **body: Any) -> list[list[Any]]:
    """The rows of a JSON answer."""
    answer = ask(client, query, **body)
    assert answer.status_code == 200, answer.text
    found: list[list[Any]] = answer.json()["rows"]
    return found


def refused(client: TestClient, query: str, **body: Any) -> str:
    """The message of a 400."""
    answer = ask(client, query, **body)
    assert answer.status_code == 400, (query, answer.text)
    assert answer.json()["type"] == "error"
    return str(answer.json()["message"])


@pytest.mark.parametrize("sql", STATEMENTS["allowed"], ids=range(len(STATEMENTS["allowed"])))
def test_what_is_written_again_means_the_same(store: ClickHouseStore, sql: str) -> None:
    """The statement that runs has the columns and rows of the one that came."""
    original = store.query_limited(sql, {}, LIMITS)
    written = store.query_limited(checked(sql, []), {}, LIMITS)
    assert written.table.equals(original.table)
    assert written.types == original.types


@pytest.mark.parametrize("title", EXAMPLES)
def test_the_dictionarys_examples_run(client: TestClient, title: str) -> None:
    """As they stand on the page."""
    params = {"session": "session-3"} if "{session:String}" in EXAMPLES[title] else {}
    assert len(rows(client, EXAMPLES[title], params=params)) >= ("heartbeat by heartbeat" in title)


def test_the_documents_example_runs(client: TestClient) -> None:
    """The body that docs/sql.md shows."""
    body = (Path(__file__).parents[2] / "docs" / "sql.md").read_text().partition("```json\n")[2].partition("```")[0]
    assert client.post("/v1/sql", json=json.loads(body)).json()["columns"][0]["name"] == "outcome"


def test_the_dictionary_is_served(client: TestClient) -> None:
    """Columns with their types, units and meanings; metrics with formulas; the cubes."""
    found = client.get("/v1/dictionary").json()
    tables = {table["name"]: {column["name"]: column for column in table["columns"]} for table in found["tables"]}
    assert tables["sessions"]["rebuffer_ms"] == {
        "name": "rebuffer_ms", "type": "Int64", "unit": "ms", "meaning": "time stalled",
    }  # fmt: skip
    metrics = {metric["name"]: metric for metric in found["metrics"]}
    assert metrics["qoe.freeze.ratio"]["formulas"] == {"playing": "(freeze_ms) / (playing_ms)"}
    assert found["cubes"]["cdn,device"] == ["cdn", "device"]


def test_a_playback_is_followed_by_its_buckets(store: ClickHouseStore, client: TestClient) -> None:
    """Codes have names, zeros are left out; what came after a bucket is all that a follower is given."""
    first = client.get("/v1/sessions/session-3").json()
    (heartbeat,) = first["heartbeats"]
    assert (heartbeat["state"], heartbeat["reason"], heartbeat["startup_ms"]) == ("idle", "start", 300)
    assert heartbeat["tags"] == {"cdn": "a", "os": "android"}
    assert "seek_count" not in heartbeat
    assert (first["session"], first["next"]) == (None, 0)
    assert client.get("/v1/sessions/session-3?after=0").json()["heartbeats"] == []
    row = {
        "session_id": "session-3", "start_offset": 5, "seq": 1, "outcome": 1, "state": 6, "row_kind": "unique",
        "startup_ms": -1, "minute": query_world.NOW_MS // 1000, "append_day": query_world.NOW_MS // 86_400_000,
    }  # fmt: skip
    names = ", ".join(row)
    store.command(f"INSERT INTO heartbeats ({names}) VALUES ({', '.join(map(repr, row.values()))})")
    then = client.get("/v1/sessions/session-3?after=0").json()
    assert [(h["state"], h["outcome"], "startup_ms" in h) for h in then["heartbeats"]] == [
        ("ended", "completed", False)
    ]
    assert then["next"] == 5


def test_an_unknown_playback_has_nothing(client: TestClient) -> None:
    """Its heartbeats may be still to come."""
    assert client.get("/v1/sessions/nobody").json() == {
        "session_id": "nobody", "heartbeats": [], "session": None, "next": -1,
    }  # fmt: skip


@pytest.mark.parametrize("sql", REFUSED, ids=range(len(REFUSED)))
def test_what_may_not_run_is_refused(client: TestClient, sql: str, tmp_path: Path) -> None:
    """Before the store sees it: nothing of other tables, files and servers comes back, and no file is written."""
    file = tmp_path / "canary.txt"
    file.write_text(CANARY)
    message = refused(client, sql.replace("{file}", str(file)), params={"a": "secret"} if "{a" in sql else {})
    assert CANARY not in message
    assert [*tmp_path.iterdir()] == [file]


def test_no_table_function_but_those_listed(store: ClickHouseStore, client: TestClient) -> None:
    """Of all that the engine has."""
    names = [name for (name,) in store.query("SELECT name FROM system.table_functions")]
    assert len(names) > 20
    for name in names:
        if name not in TABLE_FUNCTIONS:
            refused(client, f"SELECT * FROM {name}('x')")


def test_every_allowed_function_is_one_of_the_engine(store: ClickHouseStore) -> None:
    """No name is misspelt, and none is a program of the server's owner."""
    known = {name.lower(): origin for name, origin in store.query("SELECT name, origin FROM system.functions")}
    assert {name for name in FUNCTIONS if known.get(name.lower()) != "System"} == PARSED


def test_the_store_itself_refuses_to_write(store: ClickHouseStore) -> None:
    """A statement that got past every check still cannot change anything, and others can go on to write."""
    for sql in ("INSERT INTO secret VALUES ('x')", "CREATE TABLE made (a Int8) ENGINE = Memory", "DROP TABLE secret"):
        with pytest.raises(InputError):
            store.query_limited(sql, {}, LIMITS)
    store.command("INSERT INTO folds VALUES ('writable', 0, 1)")
    assert store.query("SELECT v FROM secret") == [(CANARY,)]
    assert store.query("SELECT count() FROM system.tables WHERE name = 'made'") == [(0,)]


def test_rows_that_replace_one_another_come_once(store: ClickHouseStore, client: TestClient) -> None:
    """A session folded again is one session, without FINAL in the query."""
    store.command("SYSTEM STOP MERGES sessions")
    for folded_ms in (1, 2):
        store.command(
            f"INSERT INTO sessions (session_id, folded_ms, end_ms) VALUES ('again', {folded_ms}, 1900000000000)"
        )
    assert store.query("SELECT count() FROM sessions WHERE session_id = 'again'") == [(2,)]
    assert rows(client, "SELECT folded_ms FROM sessions WHERE session_id = 'again'") == [[2]]
    store.command("SYSTEM START MERGES sessions")


def test_values_are_bound(client: TestClient) -> None:
    """Of every type, and a text that looks like SQL is a text."""
    nasty = "'; DROP TABLE sessions; -- \\ \t {x:Int64} %s ä"
    asked = "SELECT {t:String} AS t, {i:Int64} AS i, {f:Float64} AS f, {l:Array(String)} AS l, {d:DateTime('UTC')} AS d"
    params = {"t": nasty, "i": 2**62, "f": 0.1, "l": [nasty, "b"], "d": "2026-01-02 03:04:05"}
    assert rows(client, asked, params=params) == [[nasty, 2**62, 0.1, [nasty, "b"], "2026-01-02T03:04:05Z"]]


def test_parameters_are_those_that_the_query_names(client: TestClient) -> None:
    """One too few, one too many, and a value that does not fit its type."""
    assert "no value for the parameter 'a'" in refused(client, "SELECT {a:Int64}")
    assert "'b' is not used" in refused(client, "SELECT {a:Int64}", params={"a": 1, "b": 2})
    assert "cannot be parsed as Int64" in refused(client, "SELECT {a:Int64}", params={"a": "one"})
    assert "'ä' is no name of a parameter" in refused(client, "SELECT {ä:Int64}", params={"ä": 1})


def test_json_has_types_and_exact_numbers(client: TestClient) -> None:
    """64-bit integers are numbers, times are ISO 8601, maps are objects, what is no number is null."""
    answer = ask(
        client,
        "SELECT toInt64(9007199254740993) AS i, toDateTime(60, 'UTC') AS t, toDate('2026-01-02') AS d,"
        " map('a', 1) AS m, 0 / 0 AS n, [1, 2] AS l, CAST(NULL AS Nullable(String)) AS z",
    ).json()  # fmt: skip
    assert answer["rows"] == [
        [9007199254740993, "1970-01-01T00:01:00Z", "2026-01-02", {"a": 1}, None, [1, 2], None]
    ]  # fmt: skip
    assert answer["columns"][:2] == [{"name": "i", "type": "Int64"}, {"name": "t", "type": "DateTime('UTC')"}]


FORMAT_SQL = "SELECT number AS n, [number] AS l, map('k', number) AS m FROM numbers(2) ORDER BY n"


def test_a_long_result_is_whole(client: TestClient) -> None:
    """However it is written, piece by piece; nothing is written of nothing."""
    assert rows(client, "SELECT number FROM numbers(12345) ORDER BY number") == [[n] for n in range(12_345)]
    assert rows(client, "SELECT number FROM numbers(0)") == []


def test_the_api_describes_itself(client: TestClient) -> None:
    """The body's schema refers to nothing outside of itself."""
    (body,) = client.get("/openapi.json").json()["paths"]["/v1/sql"]["post"]["requestBody"]["content"].values()
    assert body["schema"]["properties"]["limits"]["properties"]["time_s"]["maximum"] == TIME_S_MAX
    assert "$ref" not in json.dumps(body)


def test_formats_by_name_body_and_header(client: TestClient) -> None:
    """The URL wins over the body, and the body over Accept."""
    arrow = ask(client, FORMAT_SQL, format="arrow")
    assert pa.ipc.open_stream(arrow.content).read_all().column("n").to_pylist() == [0, 1]
    parquet = client.post("/v1/sql?format=parquet", json={"query": FORMAT_SQL, "format": "csv"})
    assert pa_parquet.read_table(io.BytesIO(parquet.content)).column("n").to_pylist() == [0, 1]
    csv = client.post("/v1/sql", json={"query": FORMAT_SQL}, headers={"accept": "text/html, text/csv;q=0.9"})
    assert csv.headers["content-type"].startswith("text/csv")
    table = pa_csv.read_csv(io.BytesIO(csv.content))
    assert [json.loads(text) for text in table.column("m").to_pylist()] == [{"k": 0}, {"k": 1}]
    assert table.column("l").to_pylist() == ["[0]", "[1]"]
    assert "is none of json, csv, arrow, parquet" in refused(client, FORMAT_SQL, format="xml")


def test_a_result_past_its_rows_says_what_fits(client: TestClient) -> None:
    """Exactly the limit is served."""
    assert len(rows(client, "SELECT number FROM numbers(7)", limits={"rows": 7})) == 7
    message = refused(client, "SELECT number FROM numbers(8)", limits={"rows": 7})
    assert "more than 7 rows; LIMIT 7 or an aggregate fits; `limits.rows` may be up to 100000" in message


def test_a_query_past_its_time_says_what_fits(client: TestClient) -> None:
    """It ends soon after its time."""
    message = refused(
        client, "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 0", limits={"time_s": 0.3}
    )
    assert "takes longer than 0.3 s" in message
    assert f"may be up to {TIME_S_MAX:g}" in message


def test_a_query_past_its_memory_says_what_fits(client: TestClient) -> None:
    """Whether it groups too much or returns too much."""
    for sql in (
        "SELECT length(groupArray(number)) FROM numbers(100000000)",
        "SELECT arrayMap(x -> number, range(100000)) FROM numbers(100)",
    ):
        message = refused(client, sql, limits={"memory_mib": 16})
        assert "more than 16 MiB" in message
        assert f"may be up to {MEMORY_MIB_MAX}" in message


def test_limits_have_limits(client: TestClient) -> None:
    """The message names the limit and what is allowed."""
    assert "limits.time_s: Input should be less than or equal to 30" in refused(
        client, "SELECT 1", limits={"time_s": 31}
    )
    assert "limits.rows" in refused(client, "SELECT 1", limits={"rows": 0})
    assert "format_" in refused(client, "SELECT 1", format_="json")
    assert "query: " in client.post("/v1/sql", content=b"{}").json()["message"]
    assert "body: " in client.post("/v1/sql", content=b"nonsense").json()["message"]
    assert "over 1048576 bytes" in client.post("/v1/sql", content=b" " * 1_100_000).json()["message"]


def test_wrong_sql_is_the_callers_fault(client: TestClient) -> None:
    """What is wrong is said: by the parser with its place, or by the store."""
    assert "at line 1, column 47" in refused(client, "SELECT cube, device FROM minutes GROUP BY cube, device")
    assert "nothing_here" in refused(client, "SELECT nothing_here FROM sessions")
    assert "did you mean 'sessions'" in refused(client, "SELECT 1 FROM sesions")
    assert "did you mean 'toStartOfHour'" in refused(client, "SELECT toStartOfHours(minute) FROM minutes")
    assert "hex(x)" in refused(client, "SELECT unhex('ff') AS x")
