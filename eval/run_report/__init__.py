"""Measured models beside each other and beside the papers: one page and tables, from result files and tracked runs."""
