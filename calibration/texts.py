"""Samples from a .jsonl of texts and a tokenizer file."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeport.calibration.fit import fit_values
from edgeport.errors import CalibrationError, ToolchainError
from edgeport.findings import Finding
from edgeport.sample import InputSpec, Sample

_FIELDS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
_KEYS = ("text", "pair", "label")
_PAD_TOKENS = ("[PAD]", "<pad>", "<|pad|>", "<|endoftext|>")


class TextSource:
    """One sample a line: `{"text": ..., "pair": ..., "label": ...}`, the last two optional.

    Texts are cut or padded to the graph's sequence length; with a symbolic length they keep their own.
    """

    def __init__(self, path: Path, inputs: Sequence[InputSpec], tokenizer: Path | None) -> None:
        if tokenizer is None:
            raise CalibrationError(f"{path.name} holds texts: name the model's tokenizer.json (--tokenizer)")
        for spec in inputs:
            if spec.name not in _FIELDS or len(spec.shape) != 2:
                raise CalibrationError(
                    f"texts cannot fill input {spec}, only {', '.join(_FIELDS)} of shape [batch,length]; "
                    "give .npz or file.py:callable"
                )
        self._path, self._inputs = path, tuple(inputs)
        self._tokenizer_file = tokenizer / "tokenizer.json" if tokenizer.is_dir() else tokenizer
        batches, lengths = ({s.shape[i] for s in inputs} for i in (0, 1))
        if len(batches) > 1 or len(lengths) > 1:
            raise CalibrationError(f"texts need inputs of one shape; they are {', '.join(map(str, inputs))}")
        batch, length = batches.pop(), lengths.pop()
        self._batch = batch if isinstance(batch, int) else 1
        self._length = length if isinstance(length, int) else None
        if self._length is None and self._batch > 1:
            raise CalibrationError(
                f"input {inputs[0]}: give a fixed length with --input for batches of {self._batch} texts"
            )
        self._tokenizer = _load_tokenizer(self._tokenizer_file, self._length)
        self._labels = self._scan()

    def __len__(self) -> int:
        return self._lines // self._batch

    def __iter__(self) -> Iterator[Sample]:
        return self.read(0, len(self))

    def read(self, start: int, stop: int) -> Iterator[Sample]:
        """The samples `start` to `stop`."""
        group = []
        for number, entry in self._entries(start * self._batch, stop * self._batch):
            group.append(self._tokenizer.encode(entry["text"], entry.get("pair")))
            if len(group) == self._batch:
                where = f"{self._path.name} line {number}"
                yield {
                    s.name: fit_values(
                        np.array([getattr(e, _FIELDS[s.name]) for e in group]), _as_integers(s), where
                    ).astype(s.dtype)
                    for s in self._inputs
                }
                group = []

    def _entries(self, start: int, stop: int | None) -> Iterator[tuple[int, dict[str, Any]]]:
        with self._path.open("rb") as file:
            index = 0
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                if stop is not None and index >= stop:
                    return
                if index >= start:
                    yield number, _parse(line, f"{self._path.name} line {number}")
                index += 1

    def _scan(self) -> npt.NDArray[np.int64] | None:
        """Checks every line, counts them, and gathers the labels."""
        self._lines, labels = 0, []
        for _, entry in self._entries(0, None):
            self._lines += 1
            if entry.get("label") is not None:
                labels.append(entry["label"])
        if len(labels) not in (0, self._lines):
            raise CalibrationError(
                f"{self._path.name}: {len(labels)} of {self._lines} lines have a label; give all of them one, or none"
            )
        if not labels:
            return None
        usable = np.asarray(labels[: len(self) * self._batch], np.int64)
        return usable if self._batch == 1 else usable.reshape(len(self), self._batch)

    @property
    def labels(self) -> npt.NDArray[np.int64] | None:
        """int64, the first axis counts samples."""
        return self._labels

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Lines that were left over because they do not fill the graph's fixed batch."""
        rest = self._lines % self._batch
        message = f"the last {rest} lines of {self._path.name} do not fill a batch of {self._batch} and are dropped"
        return (Finding("warning", "calibration-remainder", message),) if rest else ()

    def digest(self) -> str:
        """sha256 of the texts, the tokenizer, and the length that texts are cut or padded to."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        total = hashlib.sha256(f"{self._batch} {self._length}".encode())
        for file in (self._path, self._tokenizer_file):
            with file.open("rb") as data:
                total.update(hashlib.file_digest(data, "sha256").digest())
        return total.hexdigest()

    def description(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "kind": "texts",
            "count": len(self),
            "preprocessing": {"tokenizer": self._tokenizer_file.name, "length": self._length},
        }


def _as_integers(spec: InputSpec) -> InputSpec:
    """Token numbers are checked as integers, also for the rare mask that a graph takes as float."""
    return spec if spec.dtype.startswith(("int", "uint")) else InputSpec(spec.name, "int64", spec.shape)


def _parse(line: bytes, where: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise CalibrationError(f"{where} is not JSON ({error})") from error
    if not isinstance(entry, dict) or not isinstance(entry.get("text"), str):
        raise CalibrationError(f'{where} has no text; expected {{"text": "..."}}')
    for key in entry:
        near = difflib.get_close_matches(str(key), _KEYS, 1)
        if key not in _KEYS and near:
            raise CalibrationError(f"{where}: unknown key {key!r}; did you mean {near[0]!r}?")
    if not isinstance(entry.get("pair"), str | None):
        raise CalibrationError(f"{where}: pair is a {type(entry['pair']).__name__}, expected a text")
    if isinstance(entry.get("label"), bool) or not isinstance(entry.get("label"), int | None):
        raise CalibrationError(f"{where}: label is a {type(entry['label']).__name__}, expected an integer")
    return entry


def _load_tokenizer(path: Path, length: int | None) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ToolchainError("texts need the tokenizers package: pip install 'edgeport[text]'") from error
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises bare Exception
        raise CalibrationError(f"{path.name} is no tokenizer file ({str(error).splitlines()[0]})") from error
    if length is None:
        tokenizer.no_padding()
        return tokenizer
    own = tokenizer.padding or {}
    pad = own.get("pad_token") or next((t for t in _PAD_TOKENS if tokenizer.token_to_id(t) is not None), None)
    if pad is None:
        raise CalibrationError(
            f"{path.name} declares no padding and knows none of {', '.join(_PAD_TOKENS)}; declare its padding"
        )
    number = own["pad_id"] if "pad_id" in own else tokenizer.token_to_id(pad)
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(
        direction=own.get("direction", "right"),
        pad_id=number,
        pad_type_id=own.get("pad_type_id", 0),
        pad_token=pad,
        length=length,
    )
    return tokenizer
