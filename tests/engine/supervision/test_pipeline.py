"""Pipelines: what their manifests mean, and that their steps are run, cached, stopped, failed and resumed, each by itself."""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path

import pytest
import tomli
from scripted_workers import Script, supervised_apart, told

from interp_tui_engine import manifest, pipeline, provenance, supervisor
from interp_tui_engine.errors import ManifestError
from interp_tui_engine.events import Metrics
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.supervision import step_cache
from interp_tui_engine.supervision.pipeline_findings import findings

MINE = '{"text": "The capital of France is", "criterion_score": 1.0}\n{"text": "The currency of Japan is", "criterion_score": 0.0}\n'
REQUEST = """
kind = "pipeline"
name = "chain"
seed = 7
[model]
source = "builtin:tiny"
[params]
criterion = "a capital comes next"
prompts = "builtin:capital"
[[step]]
id = "first"
kind = "records"
params = { layers = [2] }
[[step]]
id = "second"
kind = "records"
seed = 8
params = { layers = [1] }
model = { revision = "step-100" }
[[step]]
kind = "inspect"
params = { records = ["${first}", "${second.path}"] }
"""

PRELUDE = """
step = folder.name
def done():
    log.append(RunStarted(asked["kind"], asked["name"]))
    log.append(Warned("mind the gap"))
    for name in ("made.jsonl", "records.jsonl"):
        (folder / name).write_text('{"model": "m", "criterion_score": 1.0, "features": {"L2:D4": 0.5}}')
    atomic.write_json(folder / "result.json", {"kind": asked["kind"], "path": "made.jsonl", "rows": 3, "features": [{"id": "L2:D4"}]})
    end("done", headline={"rows": 3}, digests={"made": f"{step}-{asked['seed']}"})
"""


def started(folder: RunFolder, name: str) -> Path:
    """Wait until the step's worker has begun; its first log."""
    log, deadline = folder.path / "steps" / name / "shards/0/events.jsonl", time.monotonic() + 60
    while time.monotonic() < deadline and not (log.exists() and log.stat().st_size):
        time.sleep(0.02)
    assert log.exists()
    return log


# -- the manifest


def test_steps_take_over_what_the_pipeline_says_and_read_back_as_they_are():
    found = manifest.parse(REQUEST)
    assert manifest.parse(found.to_toml()) == found
    first, second, third = (manifest.resolve(pipeline.tables_of(found.to_dict(), step)) for step in found.step)
    assert (first.seed, second.seed) == (7, 8)
    assert (first.model.revision, second.model.revision) == (None, "step-100")
    assert first.params.prompts == "builtin:capital" and third.params.criterion == "a capital comes next"
    assert found.step[2].id == "inspect" and pipeline.needs_of(found.step[2]) == ["first", "second"]
    assert found.digest() != manifest.parse(REQUEST.replace("layers = [1]", "layers = [3]")).digest()


def test_paths_of_steps_start_from_the_manifests_folder(tmp_path):
    (tmp_path / "mine.jsonl").write_text(MINE)
    text = REQUEST.replace("layers = [2]", 'layers = [2], prompts = "mine.jsonl"')
    (tmp_path / "m.toml").write_text(text)
    assert manifest.load(tmp_path / "m.toml").step[0].params["prompts"] == str(tmp_path / "mine.jsonl")
    read = text.replace('kind = "inspect"', 'kind = "inspect"\ndata = { made = { source = "${first}/records.jsonl" } }')
    assert manifest.parse(read, base=tmp_path).step[2].data["made"]["source"] == "${first}/records.jsonl", "it is not there yet"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("layers = [2]", "layer = [2]", ["line 13: step.first.params.layer", "Did you mean 'layers'"]),
        ('id = "first"\nkind = "records"', 'id = "first"\nkind = "recrods"', ["line 12: step.first.kind", "Did you mean 'records'"]),
        ('"${first}"', '"${frist}"', ["line 22: step.2.params.records.0", "earlier steps are first, second", "Did you mean 'first'"]),
        ('"${first}"', '"${inspect}"', ["names no earlier step"]),
        ('id = "second"', 'id = "first"', ["line 15: step.1.id", "an earlier step too"]),
        ('id = "second"', 'id = "a/b"', ["line 15: step.1.id", "folder's name"]),
        ('"step-100" }', '"step-99" }\nsweep = {}', ["step.1.sweep: is no key here"]),
        ('kind = "inspect"', 'kind = "pipeline"', ["cannot be a step"]),
        ("[params]", "[parms]", ["Did you mean 'params'"]),
        ("layers = [2]", 'layers = [2], prompts = "none.jsonl"', ["line 13: step.first.params.prompts: no such file"]),
    ],
)
def test_what_is_wrong_with_a_step_is_placed_and_named(old, new, said):
    assert old in REQUEST
    with pytest.raises(ManifestError) as error:
        manifest.parse(REQUEST.replace(old, new, 1))
    for part in said:
        assert part in str(error.value)


def test_a_setting_reaches_into_a_step_by_its_id_or_its_number():
    found = manifest.parse(REQUEST, overrides=["step.second.params.layers=[3]", "step.2.params.alpha=0.1"])
    assert found.step[1].params["layers"] == [3] and found.step[2].params["alpha"] == 0.1
    for setting in ("step.third.params.layers=[3]", "step=1", "params.criterion.x=1"):
        with pytest.raises(ManifestError):
            manifest.parse(REQUEST, overrides=[setting])


def test_a_pipeline_without_steps_and_steps_without_a_pipeline_are_refused():
    with pytest.raises(ManifestError, match="step: is missing"):
        manifest.parse(REQUEST.split("[[step]]")[0])
    with pytest.raises(ManifestError, match="step: is no key here"):
        manifest.parse('kind = "certify"\n[[step]]\nkind = "certify"\n')


# -- the run


def test_every_step_is_a_run_of_its_own_and_references_are_filled_in(scripted: Script):
    folder = scripted("done()")
    status = supervisor.supervise(folder)
    assert status.state == "done", status.exit
    assert (status.done, status.total) == (3, 3) and status.headline == {"steps": 3, "done": 3}
    request = manifest.load(folder.path / "steps/inspect")
    first, second = (folder.path / "steps" / name for name in ("first", "second"))
    assert request.params.records == [str(first), str(second / "made.jsonl")], "a folder, and the file that a key names"
    digests = tomli.loads(folder.manifest_path.read_text())["result"]["sha256"]
    assert digests == {"steps/first/made": "first-7", "steps/second/made": "second-8", "steps/inspect/made": "inspect-7"}
    result = json.loads(folder.result_path.read_text())
    assert [row["state"] for row in result["steps"]] == ["done"] * 3 and result["steps"][2]["needs"] == ["first", "second"]
    cases = [stamped.event for stamped in told(folder) if isinstance(stamped.event, Metrics) and stamped.event.series == "case"]
    assert {case.values["state"] for case in cases if case.step == 0} >= {"queued", "done"}
    assert [e.event.message for e in told(folder) if e.event.type == "warning"].count("first: mind the gap") == 1
    assert "| second | records | done |" in folder.report_path.read_text()


def test_a_value_or_an_entry_of_a_list_can_be_named_and_a_key_that_is_not_there_is_refused(scripted: Script):
    text = REQUEST.replace('["${first}", "${second.path}"]', '["${first}"], criterion = "${second.rows} of ${first.features.0.id}"')
    folder = scripted("done()", text)
    assert supervisor.supervise(folder).state == "done"
    assert manifest.load(folder.path / "steps/inspect").params.criterion == "3 of L2:D4"
    folder = scripted("done()", REQUEST.replace("${second.path}", "${second.features.0.idd}"), name="odd")
    status = supervisor.supervise(folder)
    assert status.state == "failed" and supervisor.exit_code(status) == 2
    assert "step inspect: ${second.features.0.idd}: the result of step 'second' has no 'idd'" in status.exit["reason"]
    assert "did you mean 'id'" in status.exit["advice"]


def test_a_step_that_fails_ends_the_pipeline_in_its_name_and_resume_runs_it_again(scripted: Script):
    folder = scripted("end('failed', reason='no such layer', advice='lower it', bad_input=True) if step == 'second' else done()")
    status = supervisor.supervise(folder)
    assert status.state == "failed" and status.exit["reason"] == "step second failed: no such layer" and status.exit["advice"] == "lower it"
    assert supervisor.exit_code(status) == 2 and not (folder.path / "steps/inspect").exists()
    before = (folder.path / "steps/first/events.jsonl").stat().st_mtime_ns
    assert supervisor.supervise(scripted("done()")).state == "done"
    assert before == (folder.path / "steps/first/events.jsonl").stat().st_mtime_ns, "what is done is not done again"


def test_steps_that_do_not_wait_for_each_other_run_side_by_side_where_asked(scripted: Script):
    meeting = """
        (folder.parent / f"{step}.here").write_text("")
        others = [folder.parent / f"{name}.here" for name in ("first", "second")]
        for _ in range(400):
            if all(place.exists() for place in others): break
            time.sleep(0.05)
        else:
            end("failed", reason="nobody came"); sys.exit(1)
        done()
    """
    folder = scripted(meeting, REQUEST.replace("[params]", "[params]\nside_by_side = 2"))
    assert supervisor.supervise(folder).state == "done"


def test_stop_reaches_the_running_step_and_resume_goes_on(scripted: Script):
    folder = scripted("(log.append(RunStarted(asked['kind'], asked['name'])), wait_for_stop()) if step == 'second' else done()")
    ended: list[object] = []
    thread = threading.Thread(target=lambda: ended.append(supervisor.supervise(folder)))
    thread.start()
    started(folder, "second")
    folder.send("pause")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and folder.status().state != "paused":
        time.sleep(0.02)
    assert folder.status().state == "paused"
    folder.send("stop")
    thread.join(60)
    assert ended[0].state == "interrupted" and supervisor.exit_code(ended[0]) == 130
    assert RunFolder(folder.path / "steps/second").status().state == "interrupted"
    assert supervisor.supervise(scripted("done()")).state == "done"


def test_a_killed_pipeline_reads_as_crashed_and_resumes_to_equal_digests(scripted: Script, tmp_path: Path):
    whole = scripted("done()", name="whole")
    supervisor.supervise(whole)
    folder = scripted("(log.append(RunStarted(asked['kind'], asked['name'])), wait_for_stop()) if step == 'second' else done()")
    process = supervised_apart(tmp_path / "worker.py", folder)
    started(folder, "second")
    process.kill()
    process.wait()
    assert folder.status().state == "crashed"
    assert supervisor.supervise(scripted("done()")).state == "done"
    digests = [tomli.loads(run.manifest_path.read_text())["result"]["sha256"] for run in (whole, folder)]
    assert digests[0] == digests[1]


def test_a_step_that_was_killed_before_its_manifest_was_written_is_made_again(scripted: Script):
    folder = scripted("done()")
    for name in ("control", "shards"):
        (folder.path / "steps/first" / name).mkdir(parents=True)
    assert supervisor.supervise(folder).state == "done"


# -- the cache


@pytest.fixture
def reusing(scripted: Script) -> Script:
    """As `scripted`, in a run that may take steps over from its neighbours."""

    def make(body: str, request: str = REQUEST, name: str = "again") -> RunFolder:
        folder = scripted(body, request, name)
        step_cache.allow(folder, [folder.path.parent])
        return folder

    return make


def states(folder: RunFolder) -> dict[str, str]:
    return {row["id"]: row["reused"] for row in json.loads(folder.result_path.read_text())["steps"]}


def test_equal_steps_are_taken_over_and_those_that_read_a_changed_one_are_not(scripted: Script, reusing: Script):
    supervisor.supervise(scripted("done()"))
    folder = reusing("sys.exit(1)")
    assert supervisor.supervise(folder).state == "done", "no worker was needed"
    assert states(folder) == {name: f"run/steps/{name}" for name in ("first", "second", "inspect")}
    shutil.rmtree(folder.path.parent / "run")
    assert json.loads((folder.path / "steps/first/result.json").read_text())["rows"] == 3, "it stands without the first run"
    changed = reusing("done()", REQUEST.replace("layers = [1]", "layers = [3]"), "changed")
    assert supervisor.supervise(changed).state == "done"
    assert states(changed) == {"first": "again/steps/first", "second": "", "inspect": ""}


@pytest.mark.parametrize("why", ["code", "file", "not asked", "not done"])
def test_nothing_is_taken_over_where_anything_differs(why, scripted: Script, reusing: Script, tmp_path, monkeypatch):
    (tmp_path / "mine.jsonl").write_text(MINE)
    text = REQUEST.replace("layers = [2]", f'layers = [2], prompts = "{tmp_path / "mine.jsonl"}"')
    supervisor.supervise(scripted("end('failed', reason='x')" if why == "not done" else "done()", text))
    if why == "code":
        monkeypatch.setattr(provenance, "code_digest", lambda: "other")
    if why == "file":
        (tmp_path / "mine.jsonl").write_text(MINE + "\n")
    folder = (scripted if why == "not asked" else reusing)("done()", text, "again")
    assert supervisor.supervise(folder).state == "done"
    assert states(folder)["first"] == "" and states(folder)["inspect"] == ""


# -- what they found


def test_findings_take_the_clear_feature_its_effect_and_its_match():
    cards = [
        {"feature_id": "a", "auroc": 0.99, "clear": False},
        {"feature_id": "b", "auroc": 0.97, "auroc_low": 0.9, "auroc_high": 1.0, "clear": True},
    ]
    line = {
        "feature_id": "b",
        "verb": "ablate",
        "effect": 2.0,
        "low": 1.5,
        "high": 2.5,
        "side_effect": 0.1,
        "loss_change": 8.7e-05,
        "control": 0.2,
        "control_low": 0.1,
    }
    pairs = [{"left": "a", "right": "x", "score": 0.9}, {"left": "b", "right": "y", "score": 0.8, "null_quantile": 0.99}]
    steps = [
        ("screen", "inspect", {"cards": [cards[0]], "criterion": "c"}),
        ("moved", "interventions", {"effects": [line | {"control_high": 0.3, "clear": True}], "metric": "log_odds"}),
        ("ranked", "inspect", {"cards": cards, "criterion": "c"}),
        ("match", "match", {"matches": pairs, "beyond_chance": 2}),
    ]
    found = findings(steps)
    assert found.headline == {"top": "b", "auroc": 0.97, "effect": 2.0, "side_effect": 0.1, "matched": 0.8}
    assert found.values["match"]["right"] == "y" and found.values["match"]["of_found"]
    text = " ".join(found.sentences)
    assert "Taking it away lowers the right answer by 2.00 nats of log-odds [1.50, 2.50]; controls of the same kind by 0.20" in text
    assert "the loss on plain text changes by +0.0001 nats a token" in text
    assert "clear of 0 and of the controls" in text and "Its match on the other side is y" in text
    assert findings([("t", "train_sae", {"fvu": None, "latents": 4})]).sentences == [], "numbers that are not known are not told"
    assert findings([]).values == {} and findings([("m", "match", {"matches": []})]).sentences == ["Nothing could be matched."]


@pytest.mark.parametrize(("chosen", "interval"), [("b", "[1.20, 2.80]"), ("a", "[1.50, 2.50]")])
def test_the_effect_of_the_chosen_feature_has_the_interval_that_its_step_states(chosen, interval):
    """Chosen among several, one that holds for all of them."""
    line = {"feature_id": "b", "verb": "ablate", "effect": 2.0, "low": 1.5, "high": 2.5}
    moved = {"effects": [line], "metric": "log_odds", "chosen": chosen, "effect_low": 1.2, "effect_high": 2.8}
    cards = [{"feature_id": "b", "auroc": 0.97, "clear": True}]
    steps = [("moved", "interventions", moved), ("ranked", "inspect", {"cards": cards, "criterion": "c"})]
    assert f"nats of log-odds {interval}" in " ".join(findings(steps).sentences)
