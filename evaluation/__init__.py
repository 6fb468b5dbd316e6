"""Scores models and prints the tables: a held-back yardstick, bits per byte, multiple choice through lm-eval and
through lighteval, and one table out of the result records. Tables read records and nothing else."""
