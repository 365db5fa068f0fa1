"""Operations of the evaluator by theme; every module here is imported when the table is first read."""
