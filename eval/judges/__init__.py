"""Judges: what no rule can read is put to a language model, whose every answer is kept."""
