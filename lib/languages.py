"""What `lib` prints in every lesson, in the language of the edition: the environment variable LESSONS_LANGUAGE names it."""

from __future__ import annotations

import os

SPANISH = {
    "guess": "predicción",
    "measured": "medido",
    "distance": "distancia",
    "right": "correcto",
    "wrong": "otro",
    "This machine is busy: a program that computes gets {:.0%} of its processors": (
        "Esta máquina está ocupada: un programa que calcula recibe {:.0%} de sus procesadores"
    ),
    "This machine is busy: two programs that compute at once do only {:.1f} times the work of one": (
        "Esta máquina está ocupada: dos programas que calculan a la vez hacen solo {:.1f} veces el trabajo de uno"
    ),
    "This machine is slow: a step of a loop takes {:.0f} ns, and usually {:.0f}": (
        "Esta máquina es lenta: un paso de un bucle tarda {:.0f} ns, y lo usual son {:.0f}"
    ),
    "{}. So times are shown, but not checked. To check them, {}.": (
        "{}. Por eso los tiempos se muestran, pero no se verifican. Para verificarlos, {}."
    ),
}


def said(text: str, *values: object) -> str:
    """A text of `lib` in the language of the edition, with its values; in English if it has no translation."""
    spanish = os.environ.get("LESSONS_LANGUAGE") == "es"
    return (SPANISH.get(text, text) if spanish else text).format(*values)
