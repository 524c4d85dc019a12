"""Token rows: what is packed is what was read, and whatever cannot be read says why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from datasets import Dataset, DatasetDict
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedTokenizerFast

from interp_tui_engine.data import builtin
from interp_tui_engine.data.facts import facts, sentences, single_words
from interp_tui_engine.data.rows import load_rows, rows_from_dataset
from interp_tui_engine.errors import UserError
from interp_tui_engine.specs import DataSpec

EOS, BOS = 0, 102


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """A word is a token: w0 ... w99 are 1 ... 100, so that every row can be written down."""
    vocab = {"<eos>": EOS, **{f"w{i}": i + 1 for i in range(100)}, "<unk>": 101}
    words = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eos>", unk_token="<unk>")


@pytest.fixture(scope="module")
def starting() -> PreTrainedTokenizerFast:
    """The same words, by a tokenizer that begins every text with BOS as Gemma's and Llama's do."""
    vocab = {"<eos>": EOS, **{f"w{i}": i + 1 for i in range(100)}, "<unk>": 101, "<bos>": BOS}
    words = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", BOS)])
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eos>", unk_token="<unk>", bos_token="<bos>")


def words(start: int, count: int) -> str:
    return " ".join(f"w{i}" for i in range(start, start + count))


def write_jsonl(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def spec(source: object, **settings: object) -> DataSpec:
    return DataSpec.model_validate({"source": str(source), "context": 3, **settings})


PACKED = [[1, 2, 3, 0], [11, 12, 13, 14], [0, 21, 22, 23]]  # w0 w1 w2 | EOS | w10 … w13 | EOS | w20 w21 w22, the last word dropped
TEXTS = [words(0, 3), words(10, 4), words(20, 4)]


def write_parquet(path: Path, texts: list[str]) -> Path:
    Dataset.from_dict({"text": texts}).to_parquet(path)
    return path


def write_csv(path: Path, texts: list[str]) -> Path:
    path.write_text("id,text\n" + "".join(f'{i},"{text}"\n' for i, text in enumerate(texts)))
    return path


def write_txt(path: Path, texts: list[str]) -> Path:
    path.write_text("\n<|endoftext|>\n".join(texts))
    return path


@pytest.mark.parametrize(("write", "suffix"), [(write_jsonl, "jsonl"), (write_parquet, "parquet"), (write_csv, "csv"), (write_txt, "txt")])
def test_every_file_kind_packs_to_the_same_rows(write, suffix, tmp_path, tokenizer):
    path = write(tmp_path / f"data.{suffix}", TEXTS)
    rows = load_rows(spec(path), tokenizer, name="train")
    assert rows.ids.tolist() == PACKED
    assert rows.ids.dtype == torch.int32
    assert (rows.name, rows.source, rows.context, len(rows)) == ("train", str(path), 3, 3)


def test_folder_reads_its_files_by_name(tmp_path, tokenizer):
    write_jsonl(tmp_path / "b.jsonl", TEXTS[2:])
    write_txt(tmp_path / "a.txt", TEXTS[:2])
    (tmp_path / "README").write_text("not data")
    assert load_rows(spec(tmp_path), tokenizer, name="train").ids.tolist() == PACKED


def test_reading_stops_once_rows_are_there(tmp_path, tokenizer):
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps({"text": words(0, 8)}) + "\n" for _ in range(64)) + "this line is broken\n")
    assert len(load_rows(spec(path, rows=5), tokenizer, name="train")) == 5
    with pytest.raises(UserError, match=r"line 65"):
        load_rows(spec(path), tokenizer, name="train")


def test_fingerprint_follows_the_tokens(tmp_path, tokenizer):
    one = load_rows(spec(write_jsonl(tmp_path / "one.jsonl", TEXTS)), tokenizer, name="train")
    same = load_rows(spec(write_txt(tmp_path / "other.txt", TEXTS)), tokenizer, name="train")
    changed = load_rows(spec(write_jsonl(tmp_path / "changed.jsonl", TEXTS[::-1])), tokenizer, name="train")
    wider = load_rows(spec(tmp_path / "one.jsonl", context=5), tokenizer, name="train")
    assert one.fingerprint == same.fingerprint
    assert len({one.fingerprint, changed.fingerprint, wider.fingerprint}) == 3


def test_shuffle_seed_reorders_documents_and_nothing_else(tmp_path, tokenizer):
    path = write_jsonl(tmp_path / "data.jsonl", [words(i, 3) for i in range(50)])
    plain, first, again, second = (load_rows(spec(path, shuffle_seed=seed), tokenizer, name="train").ids for seed in (None, 1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, plain) and not torch.equal(first, second)
    starts = first.flatten()[:-3][first.flatten()[:-3] == EOS]
    assert len(starts) >= 48  # 49 joints, of which the last row's may be dropped


def test_column_is_chosen_or_named(tmp_path, tokenizer):
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps({"id": 1, "story": words(0, 8)}) + "\n")
    assert len(load_rows(spec(path), tokenizer, name="train")) == 2
    assert len(load_rows(spec(path, text_column="story"), tokenizer, name="train")) == 2
    path.write_text(json.dumps({"title": "x", "story": words(0, 8)}) + "\n")
    with pytest.raises(UserError, match=r"no column named 'text'.*\n.*title, story"):
        load_rows(spec(path), tokenizer, name="train")
    with pytest.raises(UserError, match=r"no column 'storry'.*\n.*did you mean 'story'"):
        load_rows(spec(path, text_column="storry"), tokenizer, name="train")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ('{"text": ""}\n', "is empty"),
        ('{"text": "w1"}\n{"text": \n', "line 2: not JSON"),
        ('{"text": "w1"}\n[1]\n', "line 2: a list, not an object"),
        ('{"text": "w1"}\n{"text": 7}\n', "line 2: column 'text' holds int 7"),
        ('{"text": "w1"}\n{"other": "w1"}\n', "line 2: column 'text' holds no value"),
        ('{"text": "w1 w2"}\n', "rows shorter than context: 1 documents give 2 tokens, one row needs 4"),
    ],
)
def test_bad_jsonl_says_what_and_where(content, message, tmp_path, tokenizer):
    path = tmp_path / "data.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        load_rows(spec(path), tokenizer, name="train")
    assert str(path) in str(caught.value)


def test_fewer_rows_than_asked_says_how_many(tmp_path, tokenizer):
    path = write_jsonl(tmp_path / "data.jsonl", TEXTS)
    with pytest.raises(UserError, match=r"4 rows asked for, but its 13 tokens make 3 rows of 4"):
        load_rows(spec(path, rows=4), tokenizer, name="train")


def test_missing_and_unreadable_sources(tmp_path, tokenizer):
    with pytest.raises(UserError, match=r"no such file or folder"):
        load_rows(spec(tmp_path / "absent.jsonl"), tokenizer, name="train")
    with pytest.raises(UserError, match=r"no such file or folder"):
        load_rows(spec("./absent"), tokenizer, name="train")
    with pytest.raises(UserError, match=r"holds no data files"):
        load_rows(spec(tmp_path), tokenizer, name="train")
    (tmp_path / "data.xyz").write_text("w1")
    with pytest.raises(UserError, match=r"files ending in \.xyz"):
        load_rows(spec(tmp_path / "data.xyz"), tokenizer, name="train")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 " * 9)
    with pytest.raises(UserError, match=r"not UTF-8"):
        load_rows(spec(tmp_path / "latin.txt"), tokenizer, name="train")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(UserError, match=r"not a Parquet file"):
        load_rows(spec(tmp_path / "cut.parquet"), tokenizer, name="train")
    with pytest.raises(UserError, match=r"no splits"):
        load_rows(spec(write_jsonl(tmp_path / "data.jsonl", TEXTS), split="train"), tokenizer, name="train")
    with pytest.raises(UserError, match=r"no tokenizer"):
        load_rows(spec(tmp_path / "data.jsonl"), None, name="train")


def test_hub_out_of_reach_points_to_local_files(tokenizer, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.hf_api.HfApi.dataset_info", _unreachable)
    with pytest.raises(UserError, match=r"hub cannot be reached\n.*local \.jsonl"):
        load_rows(spec("someone/something"), tokenizer, name="train")


def _unreachable(*_: object, **__: object) -> None:
    raise ConnectionError("no route")


def test_saved_datasets_give_text_or_token_rows(tmp_path, tokenizer):
    text = Dataset.from_dict({"text": TEXTS})
    text.save_to_disk(tmp_path / "text")
    assert load_rows(spec(tmp_path / "text"), tokenizer, name="train").ids.tolist() == PACKED
    DatasetDict({"train": text, "test": text.select([0, 1])}).save_to_disk(tmp_path / "splits")
    assert len(load_rows(spec(tmp_path / "splits"), tokenizer, name="train")) == 3
    assert len(load_rows(spec(tmp_path / "splits", split="test"), tokenizer, name="train")) == 2
    with pytest.raises(UserError, match=r"no split 'tset'.*\n.*did you mean 'test'"):
        load_rows(spec(tmp_path / "splits", split="tset"), tokenizer, name="train")
    Dataset.from_dict({"input_ids": PACKED}).save_to_disk(tmp_path / "ids")
    assert load_rows(spec(tmp_path / "ids", rows=2), None, name="train").ids.tolist() == PACKED[:2]
    with pytest.raises(UserError, match=r"rows shorter than context.*\n.*set context = 3"):
        load_rows(spec(tmp_path / "ids", context=8), tokenizer, name="train")
    with pytest.raises(UserError, match=r"9 rows asked for, but there are 3"):
        load_rows(spec(tmp_path / "ids", rows=9), tokenizer, name="train")


def test_dataset_objects_are_taken_as_they_are(tokenizer):
    rows = rows_from_dataset(Dataset.from_dict({"input_ids": PACKED}), name="mine")
    assert rows.ids.tolist() == PACKED and rows.name == "mine"
    with pytest.raises(UserError, match=r"differ in length, from 3 to 4"):
        rows_from_dataset(Dataset.from_dict({"input_ids": [[1, 2, 3], [1, 2, 3, 4]]}), name="mine")
    with pytest.raises(UserError, match=r"no 'input_ids' column"):
        rows_from_dataset(Dataset.from_dict({"text": TEXTS}), name="mine")


@pytest.mark.parametrize("form", ["torch", "numpy"])
def test_rows_of_a_format_are_taken_whole(form: str) -> None:
    """Number by number, 512 rows of 65 tensors took as long as a dozen steps of sampling."""
    dataset, taken = Dataset.from_dict({"input_ids": PACKED}).with_format(form), []

    class Noted(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            taken.append(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    with Noted():
        assert rows_from_dataset(dataset, name="mine").ids.tolist() == PACKED
    assert not {"_local_scalar_dense", "unbind"} & set(taken)


def test_ids_of_another_vocabulary_are_refused(tmp_path, tokenizer):
    Dataset.from_dict({"input_ids": [[1, 2, 3, 5000]]}).save_to_disk(tmp_path / "ids")
    with pytest.raises(UserError, match=r"tokenised for another model"):
        load_rows(spec(tmp_path / "ids"), tokenizer, name="train")


def test_builtin_sources_are_deterministic_and_split():
    for kind in ("prose", "code"):
        train, heldout = (list(builtin.stdlib_files(split)) for split in builtin.SPLITS)
        assert not set(train) & set(heldout)
        assert 0.05 < len(heldout) / (len(train) + len(heldout)) < 0.2
        assert [p.name for p in train] == [p.name for p in builtin.stdlib_files("train")]
        assert len(next(builtin.BUILTIN[kind]("heldout"))) > 20


def test_builtin_errors_offer_the_nearest(tokenizer):
    with pytest.raises(UserError, match=r"builtin:porse.*\n.*did you mean 'builtin:prose'"):
        load_rows(spec("builtin:porse"), tokenizer, name="train")
    with pytest.raises(UserError, match=r"has no columns"):
        load_rows(spec("builtin:facts", text_column="text"), tokenizer, name="train")
    with pytest.raises(UserError, match=r"no split 'held'.*\n.*train, heldout"):
        load_rows(spec("builtin:facts", split="held"), tokenizer, name="train")


def test_csv_with_too_many_cells_reads_its_text_column(tmp_path, tokenizer):
    path = tmp_path / "data.csv"
    path.write_text(f"id,text\n1,{words(0, 8)},stray,stray\n")
    assert len(load_rows(spec(path), tokenizer, name="train")) == 2


def test_facts_are_stated_in_sentences():
    stated = sentences()
    assert len(set(stated)) == len(stated)
    for fact in facts():
        assert f"{fact.prompt}{fact.answer}." in stated
    asked = [(fact.relation, fact.subject) for fact in facts()]
    assert len(set(asked)) == len(asked) and len(single_words()) == len(set(single_words()))


@pytest.mark.parametrize(("asked", "begins"), [("auto", True), (True, True), (False, False)])
def test_rows_begin_with_bos_where_the_tokenizer_begins_texts_so(
    tmp_path: Path, starting: PreTrainedTokenizerFast, asked: object, begins: bool
) -> None:
    rows = load_rows(spec(write_jsonl(tmp_path / "d.jsonl", TEXTS), prepend_bos=asked), starting, name="d")
    behind_bos = [[BOS, 1, 2, 3], [BOS, 0, 11, 12], [BOS, 13, 14, 0], [BOS, 21, 22, 23]]  # as PACKED, three words of text a row
    assert (rows.ids.tolist(), rows.bos, rows.context) == (behind_bos if begins else PACKED, begins, 3)


def test_no_bos_is_made_up(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    path = write_jsonl(tmp_path / "d.jsonl", TEXTS)
    assert load_rows(spec(path), tokenizer, name="d").ids.tolist() == PACKED
    with pytest.raises(UserError, match="the model's tokenizer has no BOS token"):
        load_rows(spec(path, prepend_bos=True), tokenizer, name="d")


def test_modules_come_in_the_order_of_a_sorted_listing_and_are_listed_as_far_as_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import sysconfig
    from itertools import islice

    from interp_tui_engine.data import builtin

    root = Path(sysconfig.get_paths()["stdlib"])
    listed = [path for path in sorted(root.rglob("*.py")) if not builtin._SKIPPED.intersection(path.relative_to(root).parts)]
    listed = [path for path in listed if not path.relative_to(root).parts[0].startswith("config-")]
    for split in ("train", "heldout"):
        wanted = [path for path in listed if builtin.is_heldout(path.relative_to(root).as_posix()) == (split == "heldout")]
        assert list(builtin.stdlib_files(split)) == wanted  # type: ignore[arg-type]
    looked_at: list[str] = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: looked_at.append(str(folder)) or scan(folder))  # type: ignore[func-returns-value]
    assert len(list(islice(builtin.stdlib_files("train"), 5))) == 5  # type: ignore[arg-type]
    assert not any("site-packages" in folder for folder in looked_at) and len(looked_at) < 10
