"""A typical wrong answer to each exercise, which its check must refuse.

The key is the exercise's grade id; the value is the code that stands in place of the solution, between its two markers.
"""

WRONG_ANSWERS: dict[str, str] = {}
