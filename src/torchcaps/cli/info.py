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

        from torchcaps.kernels.dispatch import installed_backends
        from torchcaps.models import list_models
        from torchcaps.training.precision import choose_precision
        from torchcaps.training.run_folder import describe_machine

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        precision = choose_precision("auto", device)
        facts: dict[str, Any] = {
            **describe_machine(),
            "device": str(device),
            "precision": f"{precision.name} ({precision.reason})",
            "routing backends": {
                name: "runs here" if reason is None else f"cannot run: {reason}"
                for name, reason in installed_backends().items()
            },
            "models": list_models(),
        }
        print(json.dumps(facts, indent=2) if self.json else as_text(facts))


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
