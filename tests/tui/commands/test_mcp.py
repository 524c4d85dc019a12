"""The runs as tools of the Model Context Protocol: what an agent may ask, and what it is told when it asks wrongly."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interp_tui.commands.mcp import MOST_MESSAGE, Server, serve
from interp_tui.runs import labels
from interp_tui.runs.labels import Labels
from interp_tui_engine.events import Progress, RunStarted
from interp_tui_engine.runfolder import RunFolder

MakeRun = Callable[..., RunFolder]
ROOTS = os.pathsep.join(str(Path(__file__).parents[3] / name) for name in ("engine", "tui"))


def ask(server: Server, method: str, **params: Any) -> dict[str, Any]:
    reply = server.answer(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode())
    assert reply is not None and reply["id"] == 1
    return reply


def call(server: Server, tool: str, **arguments: Any) -> dict[str, Any]:
    result: dict[str, Any] = ask(server, "tools/call", name=tool, arguments=arguments)["result"]
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"] if not result["isError"] else True
    return result


@pytest.fixture
def server(runs_root: Path, make_run: MakeRun) -> Server:
    events = [RunStarted("llc", "first", "cpu"), *(Progress(float(at), 9.0, "draws", 1.0) for at in range(9))]
    bar = {"uncertainty": {"llc_mean": {"std_error": 0.9, "over": "4 chains"}}}
    result = {"kind": "llc", "llc_mean": 38.2, "llc_per_chain": [38.0, 38.4], "long": list(range(2000)), **bar}
    first = make_run("first", events=events, result=result, headline={"llc_mean": 38.2, **bar}, age=10.0)
    labels.write(first, Labels(("paper",)))
    make_run("second", headline={"llc_mean": 48.2, **bar}, result=result, age=20.0)
    make_run("trace", kind="causal_trace", state="failed", exit={"reason": "no model"}, age=30.0)
    return Server(runs_root, allow_start=False)


def test_it_begins_as_the_protocol_says(server: Server) -> None:
    begun = ask(server, "initialize", protocolVersion="2024-11-05", capabilities={})["result"]
    assert (
        begun["protocolVersion"] == "2024-11-05" and begun["serverInfo"]["name"] == "interp-tui" and begun["capabilities"] == {"tools": {}}
    )
    assert ask(server, "initialize", protocolVersion="1999-01-01")["result"]["protocolVersion"] == "2025-06-18"
    assert server.answer(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}') is None
    assert ask(server, "ping")["result"] == {}


def test_only_reading_is_offered_unless_allowed(server: Server, runs_root: Path) -> None:
    tools = {tool["name"]: tool for tool in ask(server, "tools/list")["result"]["tools"]}
    assert "start" not in tools and "stop" not in tools and all(tool["annotations"]["readOnlyHint"] for tool in tools.values())
    assert "no tool 'start'" in ask(server, "tools/call", name="start", arguments={"manifest": ""})["error"]["message"]
    allowed = ask(Server(runs_root, allow_start=True), "tools/list")["result"]["tools"]
    assert {"start", "stop"} <= {tool["name"] for tool in allowed}


def test_runs_are_listed_and_shown_with_their_answers(server: Server) -> None:
    runs = call(server, "list_runs")["structuredContent"]["runs"]
    assert [run["name"] for run in runs] == ["first", "second", "trace"] and runs[0]["answer"].startswith("λ̂ 38.20 ± 0.90")
    assert [run["name"] for run in call(server, "list_runs", tag="paper")["structuredContent"]["runs"]] == ["first"]
    assert len(call(server, "list_runs", limit=1, kind="llc")["structuredContent"]["runs"]) == 1
    shown = call(server, "show_run", run="first")["structuredContent"]
    assert shown["with_uncertainty"]["llc_mean"] == "38.20 ± 0.90 over 4 chains" and shown["numbers"]["llc_mean"] == 38.2
    assert shown["manifest"]["params"]["n_beta"] == 30.0


def test_parts_of_results_and_the_last_events(server: Server) -> None:
    assert call(server, "result", run="first", key="llc_per_chain.1")["structuredContent"] == {"value": 38.4}
    long = call(server, "result", run="first", key="long")["structuredContent"]
    assert long["length"] == 2000 and len(long["value"]) == 500
    wrong = call(server, "result", run="first", key="llc_men")
    assert wrong["isError"] and "llc_mean" in wrong["content"][0]["text"]
    assert call(server, "result", run="trace")["isError"]
    events = call(server, "follow", run="first", last=2)["structuredContent"]["events"]
    assert [event["done"] for event in events] == [7.0, 8.0]


def test_two_runs_compared(server: Server) -> None:
    found = call(server, "compare", first="first", second="second")["structuredContent"]
    assert found["differences"][0]["errors"] == pytest.approx(10 / (0.9 * 2**0.5)) and found["warnings"] == []


def test_manifests_are_checked_and_nothing_starts(server: Server, runs_root: Path) -> None:
    before = sorted(runs_root.iterdir())
    wrong = call(server, "validate", manifest='kind = "llc"\nname = "x"\nnamme = 1\n')["structuredContent"]
    assert wrong["valid"] is False and any("namme" in problem["path"] for problem in wrong["problems"])
    assert "causal_trace" in [kind["kind"] for kind in call(server, "kinds")["structuredContent"]["kinds"]]
    assert "properties" in call(server, "schema", kind="llc")["structuredContent"]
    assert call(server, "schema", kind="lllc")["isError"]
    assert sorted(runs_root.iterdir()) == before


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"{", -32700), (b"[]", -32600), (b'{"id": 1}', -32600), (b'{"id": 1, "method": "tools/fly"}', -32601), (b"\xff", -32700),
        (b"[" * 200_000, -32700), (b" " * (MOST_MESSAGE + 1), -32600), (b'{"id": 1, "method": "tools/call", "params": []}', -32602),
        (b'{"id": 1, "method": "tools/call", "params": {"name": "show_run"}}', -32602),
        (b'{"id": 1, "method": "tools/call", "params": {"name": "show_run", "arguments": {"run": 3}}}', -32602),
        (b'{"id": 1, "method": "tools/call", "params": {"name": "kinds", "arguments": {"x": 3}}}', -32602),
    ],
)  # fmt: skip
def test_what_is_asked_wrongly_is_refused_and_the_next_is_answered(server: Server, line: bytes, code: int) -> None:
    reply = server.answer(line)
    assert reply is not None and reply["error"]["code"] == code
    assert ask(server, "ping")["result"] == {}


def test_a_run_that_is_not_there_is_an_answer_not_an_end(server: Server) -> None:
    reply = call(server, "show_run", run="nowhere")
    assert reply["isError"] and "no run named 'nowhere'" in reply["content"][0]["text"]


def test_messages_go_a_line_each(server: Server) -> None:
    out = io.StringIO()
    serve(server, io.BytesIO(b'\n{"id": 1, "method": "ping"}\n{"method": "notifications/x"}\n{"id": "a", "method": "ping"}\n'), out)
    assert [json.loads(line)["id"] for line in out.getvalue().splitlines()] == [1, "a"]


def test_the_program_speaks_only_the_protocol(runs_root: Path) -> None:
    asked = b'{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}\n{"jsonrpc": "2.0", "id": 2, "method": "tools/list"}\n'
    command = [sys.executable, "-m", "interp_tui", "mcp", "--runs", str(runs_root)]
    done = subprocess.run(command, input=asked, capture_output=True, timeout=120, env=os.environ | {"PYTHONPATH": ROOTS}, check=True)
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == [1, 2]


@pytest.mark.parametrize("number", ["NaN", "1e999", "-1e999", "[1]", "{}"])
def test_an_id_that_no_answer_can_repeat_is_refused(server: Server, number: str) -> None:
    outgoing = io.StringIO()
    serve(server, io.BytesIO(b'{"jsonrpc": "2.0", "id": %s, "method": "ping"}\n' % number.encode()), outgoing)
    reply = json.loads(outgoing.getvalue())
    assert reply["id"] is None and reply["error"]["code"] == -32600


def test_what_is_left_of_a_message_that_is_too_long_is_no_message(server: Server) -> None:
    ping = b'{"jsonrpc": "2.0", "id": 7, "method": "ping"}\n'
    outgoing = io.StringIO()
    serve(server, io.BytesIO(b"x" * (2 * MOST_MESSAGE + 2) + ping + ping), outgoing)
    refused, answered = map(json.loads, outgoing.getvalue().splitlines())
    assert "error" in refused and answered["id"] == 7


def test_a_date_in_a_manifest_is_told_as_text(server: Server, runs_root: Path) -> None:
    path = next(runs_root.glob("*first*")) / "manifest.toml"
    path.write_text(path.read_text() + "\n[note]\nday = 1979-05-27\n")
    assert call(server, "show_run", run="first")["structuredContent"]["manifest"]["note"]["day"] == "1979-05-27"


def test_a_tool_that_fails_costs_its_answer_only(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interp_tui.runs.agent_tools.find_run", lambda *_: 1 / 0)
    monkeypatch.setattr("interp_tui.terminal.crash_log.record", lambda error: "the log")
    failed = call(server, "show_run", run="first")
    assert failed["isError"] and "ZeroDivisionError" in failed["content"][0]["text"] and "the log" in failed["content"][0]["text"]
    assert not call(server, "list_runs")["isError"]
