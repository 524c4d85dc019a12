"""interp-lab's `inspect` and `match` on this engine: each is a run, whose folder holds report.json, the whole table and the manifest.

found = inspect("my/model", "the model is aware of a test", records="records.jsonl", out="runs/left")
other = inspect("my/other", "the model is aware of a test", records="other.jsonl", out="runs/right")
pairs = match(found, other).matches
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import atomic, manifest
from ..errors import RunFailed, UserError
from ..events import Stamped
from ..experiments._features.evidence_files import file_of
from ..features.cards import read_report
from .sampling import run

OnEvent = Callable[[Stamped], None]


@dataclass(frozen=True)
class Inspection:
    """A finished inspect run: its folder, and the file of its cards."""

    folder: Path

    @property
    def report(self) -> Path:
        """report.json, as interp-lab reads it too."""
        return self.folder / "report.json"

    @property
    def cards(self) -> list[dict[str, Any]]:
        """The cards, best first."""
        return list(atomic.read_json(self.report)["cards"])

    def cards_table(self) -> list[dict[str, Any]]:
        """A line for each card, with the columns of interp-lab's: for pandas.DataFrame and the like."""
        return [{"rank": rank, **_card_line(card)} for rank, card in enumerate(self.cards, 1)]

    @property
    def table(self) -> Mapping[str, Sequence[Any]]:
        """Every feature by column, in ranked order."""
        import pyarrow.parquet as pq  # type: ignore[import-untyped]

        columns: dict[str, list[Any]] = pq.read_table(self.folder / "features.parquet").to_pydict()
        return columns


@dataclass(frozen=True)
class Matching:
    """A finished match run."""

    folder: Path

    @property
    def matches(self) -> list[dict[str, Any]]:
        """The pairs, best first: left, right, score, components, null_quantile."""
        return list(atomic.read_json(self.folder / "result.json")["matches"])

    def matches_table(self) -> list[dict[str, Any]]:
        """A line for each pair, with the columns of interp-lab's."""
        shared = ("score", "left_label", "right_label", "left_signed_effect", "right_signed_effect")
        return [
            {"rank": rank, "left_feature_id": pair["left"], "right_feature_id": pair["right"], **{key: pair[key] for key in shared}}
            for rank, pair in enumerate(self.matches, 1)
        ]

    def match_report(self) -> dict[str, Any]:
        """The pairs as interp-lab writes them, which its `validate-matches` reads."""
        models = [str(report["model"]) for report in self._reports()]
        rest = ("score", "components", "left_label", "right_label", "left_signed_effect", "right_signed_effect")
        sides = {"left_model": models[0], "right_model": models[1]}
        pairs = [
            {"left_feature_id": pair["left"], "right_feature_id": pair["right"], **sides, **{key: pair[key] for key in rest}}
            for pair in self.matches
        ]
        created = datetime.now(UTC).isoformat(timespec="seconds")
        return {"schema_version": "interp-lab.match_report.v1", **sides, "matches": pairs, "created_at": created}

    def _reports(self) -> list[dict[str, Any]]:
        params = manifest.load(self.folder).params
        return [read_report(file_of(side, "report")) for side in (params.left, params.right)]


def _card_line(card: Mapping[str, Any]) -> dict[str, Any]:
    plain = ("feature_id", "layer", "label", "importance", "association", "causal_effect", "specificity", "stability")
    return {
        **{key: card.get(key) for key in plain},
        "strong_causal_score": float((card.get("causal_effects") or {}).get("strong_causal_score", 0.0)),
        "causal_provenance": (card.get("fingerprint") or {}).get("causal_provenance", "none"),
        "source": card.get("source"),
    }


def inspect(
    model: str | None,
    criterion: str,
    *,
    backend: str | None = None,
    records: str | Path | Sequence[str | Path] = (),
    features: str | Path | None = None,
    interventions: str | Path | None = None,
    out: str | Path | None = None,
    html_out: str | Path | None = None,
    csv_out: str | Path | None = None,
    top_k: int | None = None,
    seed: int = 100,
    on_event: OnEvent = lambda stamped: None,
    **params: Any,
) -> Inspection:
    """Rank features by their evidence for a criterion; further keywords are the kind's params (`interp-tui schema inspect`).

    Without a backend it is `features` where those are given, else `records`; interp-lab's `jsonl` is `features`. Its keywords are taken
    under its names: top_k is `cards`, html_out and csv_out are files to write besides, saelens_*, scope_*, neuronpedia_* and
    allow_intervention_criterion_mismatch are our params of other names (`PEER_KEYWORDS`); what there is no counterpart of is refused.

    Raises UserError for evidence that cannot be used, RunFailed if the run ends otherwise than done.
    """
    backend = {None: "records" if features is None else "features", "jsonl": "features"}.get(backend, backend)
    files = [records] if isinstance(records, (str, Path)) else list(records)
    given: dict[str, Any] = {"criterion": criterion, "backend": backend, "records": [str(Path(file).absolute()) for file in files]}
    given |= {} if model is None else {"model": model}
    given |= {} if top_k is None else {"cards": top_k}
    params = _translated(params)
    for name, file in (("features", features), ("interventions", interventions)):
        given |= {name: str(Path(file).absolute())} if file is not None else {}
    tables: dict[str, Any] = {"kind": "inspect", "seed": seed, "params": given | params}
    inspection = Inspection(run(tables, out=out, on_event=on_event).path)
    if html_out is not None:
        _export_page(inspection.folder, Path(html_out))
    if csv_out is not None:
        _write_csv(inspection.cards_table(), Path(csv_out))
    return inspection


PEER_KEYWORDS = {
    "allow_intervention_criterion_mismatch": "any_criterion",
    "neuronpedia_feature": "neuronpedia",
    "saelens_release": "repo",
    "saelens_sae_id": "sae_path",
    "scope_release": "repo",
    "scope_sae_id": "sae_path",
    "scope_source": "suite",
    "goodfire_top_k": "search_top",
}
"""interp-lab's keywords of `inspect` that are ours under another name."""
REFUSED = {
    "require_interventions": "look at cards_table(): causal_provenance is 'intervention' where there were some",
    "neuronpedia_features": "read the file and give its lines as neuronpedia = [...]",
    "neuronpedia_base_url": "set NEURONPEDIA_BASE_URL in the environment",
    "goodfire_api_key_env": "the key is read from GOODFIRE_API_KEY",
    "verbalizer": "labels come from the tokens a feature fires on, or from labeller = an endpoint",
    "nla_explanations": "labels come from the tokens a feature fires on, or from labeller = an endpoint",
}
"""interp-lab's keywords that have no counterpart, and what to do instead."""


def _translated(params: Mapping[str, Any]) -> dict[str, Any]:
    """interp-lab's keywords under our names. Raises UserError for those without a counterpart."""
    given: dict[str, Any] = {}
    for name, value in params.items():
        if name in REFUSED:
            raise UserError(f"inspect takes no {name}", REFUSED[name])
        if name in ("saelens_feature_indexes", "scope_feature_indexes"):
            name, value = "latents", [int(part) for part in str(value).replace(",", " ").split()]
        if name == "neuronpedia_feature" and isinstance(value, str):
            value = [value]
        given[PEER_KEYWORDS.get(name, name)] = value
    return given


def _export_page(folder: Path, file: Path) -> None:
    """Write a run as a page, by the command line: pages are the app's to make."""
    file.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "interp_tui", "export", str(folder.absolute()), "--to", "html", "-o", str(file.absolute())]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RunFailed(f"{file.name} was not written", (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])


def _write_csv(lines: Sequence[Mapping[str, Any]], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(lines[0]) if lines else [])
        writer.writeheader()
        writer.writerows({key: _inert(value) for key, value in line.items()} for line in lines)


def _inert(value: Any) -> Any:
    """No spreadsheet takes a label for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" else value


def match(
    left: Inspection | str | Path,
    right: Inspection | str | Path,
    *,
    out: str | Path | None = None,
    seed: int = 100,
    on_event: OnEvent = lambda stamped: None,
    **params: Any,
) -> Matching:
    """Match the features of two inspect runs (or report files) one to one; further keywords are the kind's params."""
    sides = [side.folder if isinstance(side, Inspection) else Path(side) for side in (left, right)]
    given = {"left": str(sides[0].absolute()), "right": str(sides[1].absolute())}
    return Matching(run({"kind": "match", "seed": seed, "params": given | params}, out=out, on_event=on_event).path)


def compare(
    left: Inspection | str | Path, right: Inspection | str | Path, *, top_k: int = 10, out: str | Path | None = None, **params: Any
) -> Matching:
    """interp-lab's name for `match`, with its score and its choice of pairs (`assignment = "peer"`), the best `top_k`; see `match`.

    Where `out` is a .json file it gets the pairs as interp-lab writes them, a .md file beside it the report, and the run stands in a folder
    of that name.
    """
    params = {"assignment": "peer", "top": top_k, **params}
    if out is None or Path(out).suffix != ".json":
        return match(left, right, out=out, **params)
    matching = match(left, right, out=Path(out).with_suffix(""), **params)
    atomic.write_json(Path(out), matching.match_report())
    shutil.copyfile(matching.folder / "report.md", Path(out).with_suffix(".md"))
    return matching
