"""What a run folder keeps of an evolution, so that the same call goes on where it stopped."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from showtell.classify.evolving.record import FILE_NAME, Evolution, Generation, read_evolution
from showtell.errors import InputError
from showtell.mllm.call.client import Client


@dataclass(frozen=True)
class Keeping:
    """The file of an evolution in a run folder; none where there is no folder."""

    folder: str | os.PathLike[str] | None

    def earlier(self, header: Evolution) -> Evolution | None:
        """Read what the run folder holds, and refuse another evolution's."""
        if self.folder is None or not (Path(self.folder) / FILE_NAME).exists():
            return None
        found = read_evolution(self.folder)
        names = ("labels", "model", "prompt_version", "seed", "settings")
        ours = {name: getattr(header, name) for name in names}
        theirs = {name: getattr(found, name) for name in names}
        changed = [name for name in names[:-1] if ours[name] != theirs[name]]
        changed += [
            name
            for name in {**theirs["settings"], **ours["settings"]}
            if theirs["settings"].get(name) != ours["settings"].get(name)
        ]
        if changed:
            raise InputError(
                f"{str(self.folder)!r} holds another evolution: {', '.join(changed)} differ. "
                "Give the same arguments to go on with it, or another folder."
            )
        return found

    def note(self, evolution: Evolution, *, keep: Evolution | None = None) -> None:
        """Write ``evolution.json``; not while it would say less than what is there."""
        if self.folder is None:
            return
        if keep is not None and len(keep.generations) > len(evolution.generations):
            return
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        evolution.write(Path(self.folder) / FILE_NAME)


def with_earlier(generation: Generation, before: Evolution | None) -> Generation:
    """Add what an earlier process paid for the same generation."""
    if before is None or generation.number >= len(before.generations):
        return generation
    paid = before.generations[generation.number]
    if paid.descriptions != generation.descriptions:
        return generation
    unknown = paid.cost_usd is None or generation.cost_usd is None
    return replace(
        generation,
        n_requests=paid.n_requests + generation.n_requests,
        input_tokens=max(paid.input_tokens, generation.input_tokens),
        output_tokens=max(paid.output_tokens, generation.output_tokens),
        cost_usd=None if unknown else paid.cost_usd + generation.cost_usd,  # type: ignore[operator]
    )


def cost_of(generations: Sequence[Generation], client: Client) -> Decimal | None:
    """Add up what the run cost; the journal also knows what came to no generation."""
    costs = [generation.cost_usd for generation in generations]
    if any(cost is None for cost in costs):
        return None
    total = sum((cost for cost in costs if cost is not None), Decimal(0))
    return total if client.journal is None else max(total, client.journal.spent)
