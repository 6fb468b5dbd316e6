"""Refinement: a corpus is cut into units; document programs, chunk programs or rules decide what is left of it."""
