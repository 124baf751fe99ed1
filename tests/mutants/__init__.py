"""Mutants: each oracle has a named way to break its subject, and must go red when it is broken."""
