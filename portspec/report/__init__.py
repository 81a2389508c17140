"""Reports: findings and gate results -> text for people or for programs. Nothing is printed here."""
