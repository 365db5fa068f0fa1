"""From a converted program to a package on disk: the same bytes every time, readable by everyone."""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgeport.targets.coreml import mil

NAMES_KEY = "edgeport.names"
"""User-defined metadata: identifier -> canonical name, as JSON, where they differ."""
IMAGES_KEY = "edgeport.images"
"""User-defined metadata: how pixels become what the source takes, by canonical name of the input, as JSON."""
STATES_KEY = "edgeport.states"
"""User-defined metadata: canonical name of an input that is a state -> its identifier and the output that it is next,
as JSON."""
LABELS_KEY = "edgeport.labels"
"""User-defined metadata: names of the classes, as JSON."""


def save(model: Any, path: Path, notes: Mapping[str, str], edit: Callable[[Any], None]) -> tuple[Path, ...]:
    """Writes the package, in one step: it is there as a whole, or not at all.

    coremltools gives items random identifiers, notes the date, leaves files to their owner alone, and writes maps in
    an order that differs from process to process.

    Args:
        model: an `MLModel`.
        path: the folder to be made, ending in `.mlpackage`.
        notes: user-defined metadata.
        edit: changes the model's protobuf message before it is written.

    Returns:
        Every file of the package, sorted.
    """
    for key in list(model.user_defined_metadata):
        del model.user_defined_metadata[key]
    for key, text in sorted(notes.items()):
        model.user_defined_metadata[key] = text
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        written = Path(folder) / path.name
        with mil.quiet():
            model.save(str(written))
        manifest = written / "Manifest.json"
        items = json.loads(manifest.read_text(encoding="utf-8"))
        manifest.write_text(_stable(items), encoding="utf-8")
        file = written / "Data" / items["itemInfoEntries"][items["rootModelIdentifier"]]["path"]
        file.write_bytes(mil.edited(file.read_bytes(), edit))
        for entry in (written, *written.rglob("*")):
            entry.chmod(0o755 if entry.is_dir() else 0o644)
        shutil.rmtree(path, ignore_errors=True)  # what an earlier call left there
        written.rename(path)
    return tuple(sorted(p for p in path.rglob("*") if p.is_file()))


def _stable(manifest: dict[str, Any]) -> str:
    """The manifest with identifiers that follow from what they name."""
    entries: dict[str, Any] = manifest["itemInfoEntries"]
    named = {key: str(uuid.uuid5(uuid.NAMESPACE_URL, entry["path"])) for key, entry in entries.items()}
    manifest["itemInfoEntries"] = {named[key]: entries[key] for key in sorted(entries, key=lambda k: named[k])}
    manifest["rootModelIdentifier"] = named[manifest["rootModelIdentifier"]]
    return json.dumps(manifest, indent=4, sort_keys=True) + "\n"
