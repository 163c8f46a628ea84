"""Figures that tests measure: printed at the end of every pytest run, whatever its options."""

FIGURES: list[str] = []


def figure(promise: str, text: str) -> None:
    """Keep a line for the end of the run.

    promise  what is measured: "R6", "growth"
    text     the figure with its trial count, seed and unit
    """
    FIGURES.append(f"{promise:<4} {text}")
