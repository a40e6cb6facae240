"""The laptop world: guess-and-check puzzles with a teacher, a tokenizer and an exact checker.

``families`` has the questions and their solver, ``teacher`` the reasoning traces, ``tokenizer`` the
words, ``corpus`` what the embedded base model is pretrained on.
"""
