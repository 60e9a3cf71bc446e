"""`torchcaps info`."""

import json
from dataclasses import dataclass
from typing import Any

__all__ = ["Info"]


@dataclass
class Info:
    """Say what is installed, on what machine, and what of torchcaps can run on it."""

    json: bool = False
    """Print as JSON."""

    def run(self) -> None:
        """Collect and print."""
        import torch

        from torchcaps.models import list_models
        from torchcaps.routing import list_routings
        from torchcaps.training.precision import choose_precision
        from torchcaps.training.run_folder import describe_machine

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        precision = choose_precision("auto", device)
        facts: dict[str, Any] = {
            **describe_machine(),
            "device": str(device),
            "precision": f"{precision.name} ({precision.reason})",
            "routing backends": {name: backends_in_words(name) for name in list_routings()},
            "models": list_models(),
        }
        print(json.dumps(facts, indent=2) if self.json else as_text(facts))


def backends_in_words(routing: str) -> str:
    """The backends of an algorithm that run here, fastest first, and why others do not."""
    from torchcaps.kernels.dispatch import backends_of

    reasons = backends_of(routing)
    run = ", ".join(name for name, reason in reasons.items() if reason is None)
    not_run = "; ".join(f"not {name}: {why}" for name, why in reasons.items() if why is not None)
    return f"{run} ({not_run})" if not_run else run


def as_text(facts: dict[str, Any]) -> str:
    """The facts as lines."""
    lines = []
    for name, value in facts.items():
        if isinstance(value, dict):
            lines += [f"{name}:"] + [f"  {key}: {text}" for key, text in value.items()]
        else:
            shown = ", ".join(value) if isinstance(value, list) else value
            lines.append(f"{name}: {'none' if shown is None else shown}")
    return "\n".join(lines)
