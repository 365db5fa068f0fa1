"""Names of values in a file: TorchScript keeps those of the module's nodes, as identifiers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from torch import fx

from edgeport.torch_view.context import NAME


def identifier(name: str) -> str:
    """What the value of that canonical name is called in a file."""
    return "t_" + re.sub(r"\W", "_", name, flags=re.ASCII)


def identifiers(names: Iterable[str]) -> dict[str, str]:
    """Identifier -> canonical name, without those that several names share."""
    listed = list(dict.fromkeys(names))
    counts = Counter(identifier(name) for name in listed)
    return {identifier(name): name for name in listed if counts[identifier(name)] == 1}


def name_nodes(graph: fx.Graph) -> None:
    """Calls the nodes that give values of the canonical graph after them; a copy in floats has a name of its own."""
    for node in graph.nodes:
        name = node.meta.get(NAME)
        if name is not None and node.op == "call_function":
            node._rename(identifier(name))
