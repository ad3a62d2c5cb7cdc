"""Records whose shape changes: a migration is declared once, and everything else is derived from the declaration."""
