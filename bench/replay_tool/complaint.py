"""The error that ends the program with a message for a person instead of a traceback."""


class Complaint(Exception):
    """What is wrong and what to do about it, in one sentence or two."""
