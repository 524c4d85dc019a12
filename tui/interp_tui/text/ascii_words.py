"""Signs of a sentence as ASCII words. What is drawn goes through `asciify` besides, cell by cell."""

from __future__ import annotations

WORDS = {
    "λ̂": "llc", "R̂": "Rhat", "L₀": "loss0", "w₀": "w0", "χ": "chi", "β": "beta", "±": "+-", "—": "-", "–": "-", "−": "-", "→": "->",
    "…": "...", "‖∇L‖²": "|grad L|^2", "⟨∇L, ∇l⟩": "<grad L, grad l>",
}  # fmt: skip
"""What a sentence has in place of signs, where its words may take more cells than the signs did."""


def spelled(text: str, *, ascii: bool) -> str:
    """The text, with its signs spelled out where only ASCII may be shown: for a line that is not laid out yet."""
    if ascii and not text.isascii():
        for sign, letters in WORDS.items():
            text = text.replace(sign, letters)
    return text
