"""What of a run goes to the Hugging Face hub, and sending it there. Nothing leaves the machine unless `publish` is called.

A train_sae run becomes a model repository in the layout of SAE Lens; any other run a data set of its result, report and figures, with those
of a pipeline's steps. Logs, events, checkpoints and recorded texts stay here: they may hold what is not for others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from interp_tui_engine.errors import UserError
from interp_tui_engine.pipeline import KIND
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.untrusted import text_or_empty

NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
READABLE = (".toml", ".json", ".md", ".svg")


@dataclass(frozen=True)
class Bundle:
    """The files of a repository by their names in it, and what kind of repository it is."""

    repo_type: Literal["model", "dataset"]
    files: dict[str, Path | bytes]

    def size(self, name: str) -> int:
        """Bytes of one file."""
        file = self.files[name]
        return len(file) if isinstance(file, bytes) else file.stat().st_size


def bundle(folder: RunFolder) -> Bundle:
    """What would be sent. Raises UserError for a run that is not done, and for one with nothing to send."""
    if folder.status().state != "done":
        raise UserError(f"{folder.path.name} is {folder.status().state}", "a run is published when it is done")
    result = folder.result() or {}
    if result.get("kind") == "train_sae":
        root = folder.path / "sae"
        bundle: dict[str, Path | bytes] = {path.relative_to(root).as_posix(): path for path in own_files(folder, root.rglob("*"))}
        if not any(name.endswith("cfg.json") for name in bundle):
            raise UserError(f"{folder.path.name} holds no dictionary under sae/", "was it moved away?")
        return Bundle(
            "model", {"README.md": _card(folder, result, ["library_name: saelens", "tags: [sparse-autoencoder, interp-tui]"]), **bundle}
        )
    kept = [folder.result_path, *sorted(folder.path.glob("figures/*.svg")), *sorted(folder.path.glob("*.parquet"))]
    if result.get("kind") == KIND:
        kept += sorted(path for what in ("report.md", "result.json", "figures/*.svg") for path in folder.path.glob(f"steps/*/{what}"))
    files: dict[str, Path | bytes] = {path.relative_to(folder.path).as_posix(): path for path in own_files(folder, kept)}
    return Bundle("dataset", {"README.md": _card(folder, result, ["tags: [interpretability, interp-tui]"]), **files})


def own_files(folder: RunFolder, paths: Iterable[Path]) -> list[Path]:
    """Those of the paths that are files. Raises UserError for a link that leads out of the run's folder: what it names is not the run's."""
    files, root = [path for path in sorted(paths) if path.is_file()], folder.path.resolve()
    for path in files:
        if not path.resolve().is_relative_to(root):
            raise UserError(f"{path} is a link to {path.resolve()}, which is no file of the run", "remove the link; nothing was sent")
    return files


def local_paths(bundle: Bundle) -> list[str]:
    """The files that name a place on this machine: a reader could not use it, and may not be meant to see it."""
    home = str(Path.home())
    places = [text for text in (home, "/tmp/") if len(text) > 1]
    return [name for name, text in _texts(bundle) if any(place in text for place in places)]


def publish(repo: str, bundle: Bundle, *, private: bool, message: str) -> str:
    """Make the repository where it is not there yet, and commit the files; its address. Raises UserError for what the hub refuses."""
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    # the errors of whichever HTTP library the hub's client is built on
    unreachable: tuple[type[Exception], ...] = (OSError, *HfHubHTTPError.__bases__)
    api = HfApi(library_name="interp-tui")
    operations = [
        CommitOperationAdd(path_in_repo=name, path_or_fileobj=file if isinstance(file, bytes) else str(file))
        for name, file in bundle.files.items()
    ]
    try:
        api.create_repo(repo, repo_type=bundle.repo_type, private=private, exist_ok=True)
        done: Any = api.create_commit(repo, operations, commit_message=message, repo_type=bundle.repo_type)
    except LocalTokenNotFoundError:
        raise UserError("no token for the hub", "set HF_TOKEN to one that may write, or log in with `hf auth login`") from None
    except HfHubHTTPError as error:
        raise UserError(f"the hub refused {repo}: {str(error).splitlines()[0]}", "may the token in HF_TOKEN write there?") from None
    except unreachable as error:
        raise UserError(f"the hub cannot be reached: {error}", "nothing was changed there, or a part of it: try again") from None
    return str(done.commit_url)


def checked(repo: str | None, *, upload: bool) -> str:
    """The repository's name; a placeholder where nothing is sent. Raises UserError for none, or for what cannot be one."""
    if repo is None and not upload:
        return "OWNER/NAME (--repo names it)"
    if repo is None:
        raise UserError("--to hub --upload needs the name of a repository", "--repo YOUR-NAME/REPOSITORY")
    if not NAME.fullmatch(repo):
        raise UserError(f"--repo {repo}: a repository is called OWNER/NAME", "letters, digits, '.', '_' and '-'")
    return repo


def _card(folder: RunFolder, result: dict[str, Any], head: list[str]) -> bytes:
    """README.md: the run's report under the hub's own head; figures that are not sent are left out."""
    own_files(folder, [folder.report_path])
    report = text_or_empty(folder.report_path, 8 << 20) or f"# {result.get('name', folder.path.name)}\n"
    if result.get("kind") == "train_sae":
        report = "\n".join(line for line in report.splitlines() if not line.startswith("![")) + "\n"
    return "\n".join(["---", *head, "---", "", report]).encode()


def _texts(bundle: Bundle) -> Iterator[tuple[str, str]]:
    for name, file in bundle.files.items():
        if isinstance(file, bytes):
            yield name, file.decode("utf-8", errors="replace")
        elif file.suffix in READABLE:
            yield name, file.read_text(encoding="utf-8", errors="replace")
