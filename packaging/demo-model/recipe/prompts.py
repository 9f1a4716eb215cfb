"""What follows a document; the first two are also in ../model/dslad.toml."""

QUESTION = "\n\nQuestion: {question}\nAnswer:"
SUMMARY = "\n\nSummary:"
RECITAL = "\n\nEntries:"  # in training only
