"""`--state`: outputs that are inputs of the next run, which the artifact is to keep itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgeport.errors import UsageError
from edgeport.sample import InputSpec
from edgeport.suggest import did_you_mean


def parse_states(texts: Sequence[str], inputs: Sequence[InputSpec], outputs: Sequence[InputSpec]) -> Mapping[str, str]:
    """Reads `INPUT=OUTPUT` pairs: input name -> output name.

    Raises:
        UsageError: a name does not exist or stands twice, or an input has another shape or dtype than its output.
    """
    ins, outs = {s.name: s for s in inputs}, {s.name: s for s in outputs}
    states: dict[str, str] = {}
    for text in texts:
        pairs = [(text[:i], text[i + 1 :]) for i, c in enumerate(text) if c == "="]
        found = next(((a, b) for a, b in pairs if a in ins and b in outs), None)  # names may hold the sign
        if found is None:
            one, _, other = text.partition("=")
            if not other:
                raise UsageError(f"--state {text!r} is not INPUT=OUTPUT, e.g. past_key=present_key")
            wrong, kind, known = (other, "output", outs) if one in ins else (one, "input", ins)
            raise UsageError(f"--state {text!r}: no {kind} is called {wrong!r}; {did_you_mean(wrong, list(known))}")
        a, b = found
        if a in states or b in states.values():
            raise UsageError(f"--state {text!r}: one of them is a state already")
        if (ins[a].shape, ins[a].dtype) != (outs[b].shape, outs[b].dtype):
            raise UsageError(f"--state {text!r}: input {ins[a]} and output {outs[b]} differ; a state keeps its shape")
        states[a] = b
    if inputs and len(states) == len(inputs):
        raise UsageError("--state: every input is a state, and a run would be given nothing")
    return states
